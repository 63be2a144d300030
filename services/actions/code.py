"""Python and shell actions: a file of the pack, run in a process of its own, within limits.

stdin is the input as JSON, with the declared secrets under `secrets`; the last line of stdout is the output as JSON,
the lines before it and those of stderr are lines of the node's log.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import orjson

from models.records import Effect, ErrorType
from services.actions.catalogue import ActionSpec, Runner
from services.actions.outcome import ActionFailed, Call
from services.actions.process import Ended, Start, run
from services.actions.sandbox import Limits, Program, Sandbox
from services.actions.secrets import Secrets

OFF = "python and shell actions are off; an operator can allow them with ALLOW_CODE_ACTIONS"
DEFAULT_TIMEOUT_S = 60.0
LOG_BYTES = 64 * 1024
"""What is kept as lines of the node's log, of stdout and of stderr each."""
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

Config = Callable[[str], Awaitable[Mapping[str, Any]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeRules:
    """Whether and how files of packs are run. `refused`: why they are not. `parallel`: how many at once."""

    packs_dir: Path = Path("packs")
    sandbox: Sandbox = field(default_factory=Sandbox)
    refused: str | None = OFF
    parallel: int = 4
    limits: Limits = field(default_factory=Limits)


class CodeRunner:
    """Runs files of packs: a `RunnerOf` for `Runner.PYTHON` and `Runner.SHELL`.

    `config` gives the settings of a pack; `is_ours` says whether this worker's lease is fresh enough to begin what
    cannot be undone.
    """

    def __init__(
        self,
        rules: CodeRules,
        *,
        secrets: Secrets,
        config: Config,
        max_bytes: int,
        is_ours: Callable[[], bool] = lambda: True,
    ) -> None:
        self._rules = rules
        self._is_ours = is_ours
        self._secrets = secrets
        self._config = config
        self._max_bytes = max_bytes
        self._slots = asyncio.Semaphore(rules.parallel)

    def __call__(self, spec: ActionSpec) -> Callable[[Call], Awaitable[Any]]:
        """The function that carries this action out. Raises ActionFailed when code may not be run here."""
        if self._rules.refused is not None:
            raise ActionFailed(f"{spec.ref}: {self._rules.refused}", kind=ErrorType.VALIDATION)

        def begin(call: Call) -> Awaitable[Any]:
            call.times_itself = True  # the time spent waiting for a slot is not the action's
            return self._perform(spec, call)

        return begin

    async def _perform(self, spec: ActionSpec, call: Call) -> Any:
        rules = self._rules
        async with self._slots:
            program = await asyncio.to_thread(_program, spec, rules.packs_dir)
            start = Start(
                command=rules.sandbox.command(program, rules.limits),
                environ=_environ(call, await self._config(spec.pack_ref)),
                given=orjson.dumps(self._given(spec, call)),
                asked_to_end=rules.sandbox.takes_along,
            )
            if spec.effect is Effect.IRREVERSIBLE and not self._is_ours():
                message = f"{spec.ref} was not begun: it waited, and the lease of this worker may have passed on"
                raise ActionFailed(message, kind=ErrorType.INTERRUPTED)
            try:
                ended = await run(start, most_stdout=self._max_bytes, most_stderr=LOG_BYTES, timeout_s=_limit_s(call))
            except OSError as error:
                raise ActionFailed(f"{spec.ref} could not be started: {error}") from error
        return _result(spec, call, ended, rules.limits)

    def _given(self, spec: ActionSpec, call: Call) -> Any:
        if not spec.secrets:
            return call.input
        revealed = {name: self._secrets.reveal(name, pack=spec.pack_ref) for name in spec.secrets}
        return {**(call.input or {}), "secrets": revealed}


def _limit_s(call: Call) -> float:
    return call.timeout_s or DEFAULT_TIMEOUT_S


def _program(spec: ActionSpec, packs_dir: Path) -> Program:
    pack = (packs_dir / spec.pack_ref).resolve()
    file = (pack / str(spec.entry)).resolve()
    if not file.is_relative_to(pack) or not file.is_file():
        raise ActionFailed(f"{spec.ref}: the pack has no file {spec.entry} on this worker")
    return Program(kind=spec.runner.value, pack=pack, entry=file.relative_to(pack).as_posix())


def _environ(call: Call, config: Mapping[str, Any]) -> dict[str, str]:
    """All that the code finds in its environment: nothing of the server's."""
    known = {
        "PATH": PATH,
        "LANG": "C.UTF-8",
        "MILLRACE_ACTION": call.ref,
        "MILLRACE_EXECUTION_ID": call.execution_id,
        "MILLRACE_NODE": call.node,
        "MILLRACE_ATTEMPT": str(call.attempt),
        "MILLRACE_IDEMPOTENCY_KEY": call.key,
        "MILLRACE_CONFIG": orjson.dumps(dict(config)).decode(),
        "TRACEPARENT": call.traceparent or "",
    }
    return {name: text.replace("\0", "") for name, text in known.items()}


# ---- what came of it -------------------------------------------------------------------------------------------------


def _result(spec: ActionSpec, call: Call, ended: Ended, limits: Limits) -> Any:
    lines = bytes(ended.stdout.kept).splitlines()
    while lines and not lines[-1].strip():
        lines.pop()
    failed = ended.code != 0 or ended.timed_out or not ended.stdout.is_whole
    _log(call, lines if failed else lines[:-1], "info")
    _log(call, bytes(ended.stderr.kept).splitlines(), "warning")
    if ended.timed_out:
        message = f"{spec.ref} did not end within {_limit_s(call):g} seconds"
        raise ActionFailed(message, kind=ErrorType.TIMEOUT)
    if not ended.stdout.is_whole:
        message = f"{spec.ref} wrote more than {ended.stdout.keep:,} bytes to stdout"
        raise ActionFailed(message, kind=ErrorType.LIMIT)
    if ended.code != 0:
        _raise_failure(spec, ended, limits)
    if not lines and spec.runner is Runner.PYTHON:
        raise ActionFailed(f"{spec.ref} ended before its function returned")
    return _parsed(spec, lines[-1]) if lines else None


def _log(call: Call, lines: list[bytes], level: str) -> None:
    """Lines into the node's log, as many as fit."""
    size = 0
    for line in lines:
        size += len(line) + 1
        if size > LOG_BYTES:
            call.log("…", level)
            return
        if line.strip():
            call.log(line.decode("utf-8", "replace"), level)


def _parsed(spec: ActionSpec, line: bytes) -> Any:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError as error:
        shown = line[:200].decode("utf-8", "replace")
        message = f"the last line that {spec.ref} writes to stdout must be its output as JSON, not {shown!r}"
        raise ActionFailed(message, kind=ErrorType.VALIDATION) from error


def _raise_failure(spec: ActionSpec, ended: Ended, limits: Limits) -> NoReturn:
    tail = ended.stderr.last.decode("utf-8", "replace").rstrip()
    said = tail.rpartition("\n")[2]
    details = {"exit_code": ended.code, "stderr": tail}
    if ended.code == 128 + signal.SIGXCPU:
        message = f"{spec.ref} used more than {limits.cpu_s} seconds of CPU"
        raise ActionFailed(message, kind=ErrorType.LIMIT, details=details)
    if said.startswith("MemoryError"):
        message = f"{spec.ref} used more than {limits.memory_bytes:,} bytes of memory"
        raise ActionFailed(message, kind=ErrorType.LIMIT, details=details)
    by = f" ({signal.Signals(ended.code - 128).name})" if ended.code - 128 in set(signal.Signals) else ""
    message = f"{spec.ref} ended with exit code {ended.code}{by}" + (f": {said}" if said else "")
    raise ActionFailed(message, details=details)
