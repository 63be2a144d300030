"""The helper process that does the arithmetic: numpy and scipy are never loaded into the server.

It is started on first need, is given jobs of `services.insight.compute` one after the other, and ends when it has
been idle for a minute. Messages are pickled frames on private pipes between a parent and its own child.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
import pickle
import struct
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path
from typing import Any

from services.errors import BadRequest, Overloaded, Unavailable

IDLE_S = 60.0
DEADLINE_S = 120.0
MAX_WAITING = 200
_ROOT = str(Path(__file__).parents[2])
_PROGRAM = "import sys; sys.path.insert(0, sys.argv[1]); from services.insight.helper import serve; serve()"
_HEADER = struct.Struct("<Q")


class Helper:
    """`await helper.call("probe", …)` runs `services.insight.compute.probe(…)` in another process."""

    def __init__(self, *, idle_s: float = IDLE_S, deadline_s: float = DEADLINE_S) -> None:
        self._idle_s, self._deadline_s = idle_s, deadline_s
        self._lock = asyncio.Lock()
        self._process: Process | None = None
        self._resting: list[Process] = []  # told to end, perhaps not gone yet
        self._timer: asyncio.TimerHandle | None = None
        self._waiting = 0

    async def call(self, job: str, *arguments: Any) -> Any:
        """The result of a job. BadRequest as the job raised it; Overloaded, Unavailable when it cannot run."""
        if self._waiting >= MAX_WAITING:
            raise Overloaded("Too many computations wait", retry_after_s=5)
        self._waiting += 1
        try:
            async with self._lock:
                return await self._run(pickle.dumps((job, arguments), protocol=5))
        finally:
            self._waiting -= 1

    async def stop(self) -> None:
        """End the process; a job in flight fails with Unavailable."""
        if self._timer is not None:
            self._timer.cancel()
        ending, self._resting = self._resting, []
        if self._process is not None:
            ending.append(self._process)
            self._process = None
        for process in ending:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    @property
    def process_id(self) -> int | None:
        """The process that exists now, if any."""
        return self._process.pid if self._process is not None else None

    async def _run(self, message: bytes) -> Any:
        if self._timer is not None:
            self._timer.cancel()
        try:
            async with asyncio.timeout(self._deadline_s):
                good, answer = await self._exchange(message)
        except TimeoutError:
            await self.stop()
            raise Unavailable(f"The computation took longer than {self._deadline_s:g} s and was ended") from None
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            await self.stop()
            raise Unavailable("The computation's process ended unexpectedly") from error
        except asyncio.CancelledError:
            await self.stop()
            raise
        self._timer = asyncio.get_running_loop().call_later(self._idle_s, self._rest)
        if good:
            return answer
        raise BadRequest(answer)

    async def _exchange(self, message: bytes) -> tuple[bool, Any]:
        process = self._process = self._process or await self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(_HEADER.pack(len(message)))
        process.stdin.write(message)
        await process.stdin.drain()
        (size,) = _HEADER.unpack(await process.stdout.readexactly(_HEADER.size))
        good, answer = pickle.loads(await process.stdout.readexactly(size))  # noqa: S301 - from our own child
        return bool(good), answer

    @staticmethod
    async def _start() -> Process:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-c", _PROGRAM, _ROOT, stdin=PIPE, stdout=PIPE, limit=2**26, start_new_session=True
        )

    def _rest(self) -> None:
        """Close the child's input: it ends by itself."""
        process, self._process = self._process, None
        self._resting = [other for other in self._resting if other.returncode is None]
        if process is not None and process.stdin is not None:
            process.stdin.close()
            self._resting.append(process)


def serve() -> None:
    """The child: read a job, write its result, until the input ends."""
    with contextlib.suppress(OSError):
        os.nice(5)
    compute = importlib.import_module("services.insight.compute")
    stdin, stdout = sys.stdin.buffer, sys.stdout.buffer
    while header := stdin.read(_HEADER.size):
        job, arguments = pickle.loads(stdin.read(_HEADER.unpack(header)[0]))  # noqa: S301 - from our own parent
        try:
            answer = True, getattr(compute, job)(*arguments)
        except BadRequest as error:
            answer = False, error.message
        body = pickle.dumps(answer, protocol=5)
        stdout.write(_HEADER.pack(len(body)) + body)
        stdout.flush()
