"""A killable process for expressions that are legal but not known to be harmless.

It is started on first need, answers within a deadline or is killed, and ends when it has been idle for a while.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from services.errors import Overloaded, Unavailable

Answer = dict[str, Any]

MEMORY_BYTES = 512 * 1024 * 1024
MAX_LINE = 24 * 1024 * 1024

_ROOT = str(Path(__file__).parents[2])
_PROGRAM = (
    "import sys; sys.path.insert(0, sys.argv[1]); "
    "from services.adapters.expression_sandbox import serve; "
    "serve(sys.stdin.buffer, sys.stdout.buffer, memory_bytes=int(sys.argv[2]))"
)
_START_SECONDS = 20.0


class ExpressionWorker:
    """Evaluates `NeedsWorker` requests: `answers = await worker.evaluate(need.requests)`.

    Whatever a request does, its answer is `{"value": ...}` or `{"error": "..."}` after at most `deadline_s`
    (plus the start of a process), and the requests of others go on.
    """

    def __init__(
        self, *, deadline_s: float = 1.0, idle_s: float = 60.0, processes: int = 2, max_waiting: int = 1000
    ) -> None:
        self._deadline_s = deadline_s
        self._idle_s = idle_s
        self._max_waiting = max_waiting
        self._slots = asyncio.Semaphore(processes)
        self._idle: list[_Child] = []
        self._children: set[_Child] = set()
        self._waiting = 0
        self._stopped = False

    async def evaluate(self, requests: Sequence[Mapping[str, Any]]) -> dict[str, Answer]:
        """The answers by the ids of the requests. Raises Overloaded when too many wait, Unavailable after `stop`."""
        if self._waiting >= self._max_waiting:
            raise Overloaded("too many expressions wait for the worker")
        self._waiting += 1
        try:
            async with self._slots:
                return {str(request["id"]): await self._answer(request) for request in requests}
        finally:
            self._waiting -= 1

    async def stop(self) -> None:
        """End all processes; requests in flight fail with Unavailable."""
        self._stopped = True
        children, self._children = self._children, set()
        self._idle.clear()
        for child in children:
            child.kill()
        for child in children:
            await child.ended()

    @property
    def process_ids(self) -> list[int]:
        """The processes that exist now."""
        return [child.process.pid for child in self._children if child.alive]

    async def _answer(self, request: Mapping[str, Any]) -> Answer:
        line = orjson.dumps(request) + b"\n"
        if len(line) > MAX_LINE:
            return {"error": "the expression reads too much data"}
        answer = await self._asked(line) if self._idle else None
        return answer or await self._asked(line) or {"error": "the expression ended its worker"}

    async def _asked(self, line: bytes) -> Answer | None:
        """The answer of a process, or None when it died of the request (or had died before)."""
        child = await self._child()
        healthy = False
        try:
            async with asyncio.timeout(self._deadline_s):
                answer = await child.ask(line)
            healthy = "ends" not in answer
        except TimeoutError:
            return {"error": f"the expression took longer than {self._deadline_s:g} s"}
        except (OSError, EOFError, ValueError):
            if self._stopped:
                raise Unavailable("the expression worker is stopped") from None
            return None
        else:
            return {key: answer[key] for key in ("value", "error") if key in answer}
        finally:
            self._give_back(child, healthy)

    async def _child(self) -> _Child:
        if self._stopped:
            raise Unavailable("the expression worker is stopped")
        self._children = {child for child in self._children if child.alive}
        if self._idle:
            child = self._idle.pop()
            child.wanted()
            return child
        child = await _Child.start()
        self._children.add(child)
        await child.ready()
        return child

    def _give_back(self, child: _Child, healthy: bool) -> None:
        if not healthy or self._stopped:
            child.kill()
            return
        self._idle.append(child)
        child.idle_since = asyncio.get_running_loop().call_later(self._idle_s, self._end_idle, child)

    def _end_idle(self, child: _Child) -> None:
        if child in self._idle:
            self._idle.remove(child)
            child.kill()


class _Child:
    """One worker process and its pipes."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.idle_since: asyncio.TimerHandle | None = None
        self.asked = 0

    @classmethod
    async def start(cls) -> _Child:
        """Start a process that knows nothing of our environment."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-I", "-c", _PROGRAM, _ROOT, str(MEMORY_BYTES),
            stdin=PIPE, stdout=PIPE, stderr=DEVNULL, env={}, cwd="/", limit=MAX_LINE,
        )  # fmt: skip
        return cls(process)

    async def ready(self) -> None:
        """Wait until the process has limited itself. Raises Unavailable when it does not come so far."""
        try:
            async with asyncio.timeout(_START_SECONDS):
                await self.read()
        except (OSError, EOFError, ValueError) as error:
            self.kill()
            raise Unavailable("the expression worker cannot be started") from error
        except BaseException:
            self.kill()
            raise

    @property
    def alive(self) -> bool:
        return self.process.returncode is None

    async def ask(self, line: bytes) -> Answer:
        assert self.process.stdin is not None
        self.asked += 1
        self.process.stdin.write(line)
        await self.process.stdin.drain()
        return await self.read()

    async def read(self) -> Answer:
        assert self.process.stdout is not None
        line = await self.process.stdout.readline()
        if not line.endswith(b"\n"):
            raise EOFError
        answer: Answer = orjson.loads(line)
        return answer

    def wanted(self) -> None:
        if self.idle_since is not None:
            self.idle_since.cancel()
            self.idle_since = None

    def kill(self) -> None:
        self.wanted()
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()

    async def ended(self) -> None:
        """Wait until the process is gone; killed processes go at once."""
        async with asyncio.timeout(_START_SECONDS):
            await self.process.wait()
