"""One program from its start to its end: fed, read within bounds, and gone with everything it started."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

CHUNK = 64 * 1024
GRACE_S = 2.0
GONE_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """What to run. `asked_to_end`: whether it takes its descendants along when it gets SIGTERM."""

    command: Sequence[str]
    environ: Mapping[str, str]
    given: bytes
    asked_to_end: bool


@dataclass(slots=True)
class Output:
    """The beginning of what a program wrote, its last bytes, and how much it was."""

    keep: int
    tail: int
    kept: bytearray
    last: bytes = b""
    size: int = 0

    def take(self, part: bytes) -> None:
        """Add what was read."""
        self.size += len(part)
        self.kept += part[: max(0, self.keep - len(self.kept))]
        self.last = (self.last + part)[-self.tail :]

    @property
    def is_whole(self) -> bool:
        """Whether nothing of it was left out."""
        return self.size == len(self.kept)


@dataclass(frozen=True, slots=True)
class Ended:
    """How it ended: its exit status (128 + n: by signal n), what it wrote, and whether it took too long."""

    code: int
    stdout: Output
    stderr: Output
    timed_out: bool


TAIL = 4 * 1024


async def run(start: Start, *, most_stdout: int, most_stderr: int, timeout_s: float) -> Ended:
    """Run a program. It is killed when it takes too long, writes too much to stdout, or is cancelled."""
    out, err = Output(most_stdout, TAIL, bytearray()), Output(most_stderr, TAIL, bytearray())
    process = await asyncio.create_subprocess_exec(
        *start.command, stdin=PIPE, stdout=PIPE, stderr=PIPE, env=dict(start.environ), cwd="/", start_new_session=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        async with asyncio.timeout(timeout_s):
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(_feed(process.stdin, start.given))
                tasks.create_task(_read(process.stdout, out, lambda: _stop(process, asked=start.asked_to_end)))
                tasks.create_task(_read(process.stderr, err, None))
            await process.wait()
    except TimeoutError:
        timed_out = True
    else:
        timed_out = False
    finally:
        await _end(process, asked=start.asked_to_end)
    code = process.returncode or 0
    return Ended(code if code >= 0 else 128 - code, out, err, timed_out)


async def _feed(stdin: asyncio.StreamWriter, given: bytes) -> None:
    """Write the input; a program need not read it."""
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        stdin.write(given)
        await stdin.drain()
    stdin.close()


async def _read(stream: asyncio.StreamReader, output: Output, too_much: Callable[[], None] | None) -> None:
    """Read to the end, also what is too much: a pipe nobody reads never ends, and the wait for its program neither."""
    while part := await stream.read(CHUNK):
        output.take(part)
        if too_much is not None and not output.is_whole:
            too_much()
            too_much = None


async def _end(process: Process, *, asked: bool) -> None:
    """Leave nothing of it running."""
    if process.returncode is None and asked:
        _stop(process, asked=True)
        with contextlib.suppress(TimeoutError):
            await _over(process, within_s=GRACE_S)
    if process.returncode is None or process.returncode < 0:
        _kill(process)
    await _over(process, within_s=GONE_S)


async def _over(process: Process, *, within_s: float) -> None:
    """Wait for its end, reading what it still writes. Raises TimeoutError."""
    if process.returncode is not None:  # whoever it left behind may hold its pipes for long
        return
    assert process.stdout is not None
    assert process.stderr is not None
    async with asyncio.timeout(within_s):
        await asyncio.gather(_drain(process.stdout), _drain(process.stderr))
        await process.wait()


async def _drain(stream: asyncio.StreamReader) -> None:
    while await stream.read(CHUNK):
        pass


def _stop(process: Process, *, asked: bool) -> None:
    """Let the process end: one that takes its descendants along is asked, any other is killed."""
    if not asked:
        _kill(process)
        return
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)


def _kill(process: Process) -> None:
    """Kill the process and its group."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
