"""Carries out what `Perform` asks for, and says how it ended in the engine's words."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, NamedTuple

from msgspec import Struct

from models.records import Effect, ErrorType
from services.actions.outcome import ActionFailed, Call, Outcome
from services.actions.runners import Runners
from services.actions.secrets import Secrets
from services.engine.commands import Perform
from services.engine.events import Logged
from services.engine.expressions_secrets import insert_secrets
from services.engine.graph import Failure
from services.engine.inputs import AttemptEnded
from services.engine.statuses import Outcome as End
from services.execution.book import Book
from services.execution.storable import Unstorable, to_journal
from services.execution.telemetry import Telemetry

Key = tuple[str, int, int | None]
MOST_LINES = 1_000
MOST_TEXT = 1 << 20


class Attempt(Struct):
    """An attempt that was begun: `outcome` when it ended at once, else `rest` has to be awaited."""

    command: Perform
    call: Call
    outcome: Outcome | None
    rest: Awaitable[Any] | None


class Attempts:
    """Begins and ends attempts for every drive of this process."""

    def __init__(self, runners: Runners, secrets: Secrets, now: Callable[[], datetime], telemetry: Telemetry) -> None:
        self._runners = runners
        self._secrets = secrets
        self._now = now
        self._telemetry = telemetry

    def ends_at_once(self, command: Perform) -> bool:
        """Whether the action has no effect and needs no waiting, so that its result may ride with the next append."""
        return command.effect is Effect.NONE and self._runners.is_immediate(command.action)

    def begin(self, book: Book, command: Perform) -> Attempt:
        """Call the action, with its secrets put in."""
        facts = book.facts
        call = Call(
            ref=command.action,
            input=command.input,
            key=f"{facts.execution_id}/{command.key}",
            attempt=command.attempt,
            execution_id=facts.execution_id,
            node=command.node,
            timeout_s=command.timeout_s,
            traceparent=self._telemetry.attempt_header(facts, _key(command), command.attempt),
            workflow={"id": facts.workflow_id, "ref": facts.workflow_ref, "triggered_by": facts.triggered_by},
        )
        try:
            if command.secrets:
                pack = facts.workflow_ref.split(".", 1)[0]
                call.input = insert_secrets(
                    call.input, command.secrets, lambda name: self._secrets.reveal(name, pack=pack)
                )
        except ActionFailed as failure:
            return Attempt(command, call, failure.outcome(call.logs), None)
        begun = self._runners.begin(call)
        if isinstance(begun, Outcome):
            return Attempt(command, call, begun, None)
        return Attempt(command, call, None, begun)

    async def finish(self, book: Book, attempt: Attempt) -> AttemptEnded:
        """Wait for the end of an attempt, at most as long as it may take."""
        assert attempt.rest is not None
        command = attempt.command
        outcome = await self._runners.finish(attempt.call, attempt.rest, timeout_s=command.timeout_s)
        return self.ended(book, command, outcome)

    def ended(self, book: Book, command: Perform, outcome: Outcome) -> AttemptEnded:
        """The end of an attempt as the engine takes it: storable, and without secrets."""
        limit = book.state.limits.max_result_bytes
        try:
            output = self._secrets.scrub(to_journal(outcome.output, max_bytes=limit))
            failure = None if outcome.error is None else self._failure(command, outcome, limit)
        except Unstorable as problem:
            kind = ErrorType.LIMIT if problem.too_large else ErrorType.VALIDATION
            output, failure = None, Failure(type=kind, message=str(problem), node=command.node, attempt=command.attempt)
        ended = _ended(self._now(), _key(command), command.attempt, _End(output, failure))
        self._telemetry.attempt_ended(ended)
        return ended

    def lines(self, attempt: Attempt) -> Logged:
        """What the action wrote into its log, at most a thousand lines."""
        command = attempt.command
        kept = [
            {"level": line["level"], "message": self._secrets.scrub(to_journal(line["message"], max_bytes=MOST_TEXT))}
            for line in attempt.call.logs[:MOST_LINES]
        ]
        return Logged(
            node=command.node,
            run=command.run,
            item=command.item,
            attempt=command.attempt,
            at=self._now(),
            lines=tuple(kept),
        )

    def cancelled(self, key: Key, attempt: int) -> AttemptEnded:
        """The end of an attempt that was interrupted on request."""
        failure = Failure(type=ErrorType.CANCELLED, message="interrupted on request", node=key[0], attempt=attempt)
        ended = _ended(self._now(), key, attempt, _End(None, failure))
        self._telemetry.attempt_ended(ended)
        return ended

    def broken(self, key: Key, attempt: int, error: Exception) -> AttemptEnded:
        """The end of an attempt that broke outside the action: a defect of ours."""
        message = f"{type(error).__name__}: {error}"
        failure = Failure(type=ErrorType.EXECUTION, message=message, node=key[0], attempt=attempt)
        return _ended(self._now(), key, attempt, _End(None, failure))

    def _failure(self, command: Perform, outcome: Outcome, limit: int) -> Failure:
        assert outcome.error is not None
        error = self._secrets.scrub(to_journal(dict(outcome.error), max_bytes=limit))
        details = error.get("details")
        if details is not None and not isinstance(details, dict):
            details = {"value": details}
        return Failure(
            type=ErrorType(error["type"]),
            message=str(error["message"]),
            details=details,
            node=command.node,
            attempt=command.attempt,
        )


OUTCOMES = {ErrorType.TIMEOUT: End.TIMED_OUT, ErrorType.CANCELLED: End.CANCELLED}


class _End(NamedTuple):
    output: Any
    failure: Failure | None


def _key(command: Perform) -> Key:
    return (command.node, command.run, command.item)


def _ended(now: datetime, key: Key, attempt: int, end: _End) -> AttemptEnded:
    outcome = End.COMPLETED if end.failure is None else OUTCOMES.get(end.failure.type, End.FAILED)
    return AttemptEnded(
        now=now,
        node=key[0],
        run=key[1],
        item=key[2],
        attempt=attempt,
        outcome=outcome,
        output=end.output,
        failure=end.failure,
    )
