"""Which transitions of a task fire when it ends, and what they publish."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping
from typing import Any, cast

from msgspec import Struct, field

from models.records import ErrorType
from services.engine.contexts import Context, Variable, Write
from services.engine.events import Fired
from services.engine.expressions_errors import ExpressionError
from services.engine.graph import Assignment, Command, Failure, OnError, Transition, When
from services.engine.scopes import Done, Standpoint
from services.engine.state import Run
from services.engine.statuses import FAILURE, SUCCESS, Outcome
from services.engine.turn import Turn, Unanswered, invalid

_ENDINGS = frozenset({str(Command.END), str(Command.FAIL)})
_OVERLAID = Write(0, ())


class Following(Struct):
    """What follows the end of a task."""

    fired: list[Fired] = field(default_factory=list)
    errors: list[tuple[int, Failure]] = field(default_factory=list)
    """Transitions that could not be evaluated."""
    handled: bool = False
    """Some fired transition leads to a task or to `noop`."""
    fail: tuple[int, Failure] | None = None
    """A fired `fail`."""


def following(turn: Turn, run: Run, done: Done) -> Following:
    """Evaluate every transition of a task that has ended; with an error, none fires."""
    at = turn.after(run, done)
    result = Following()
    chosen: set[int] = set()
    for index, step in enumerate(turn.graph.nodes[run.node].next):
        if (step.on is not None and done.outcome not in step.on) or step.choice in chosen:
            continue
        at.salt = (run.node, run.number, index)
        try:
            if holds(turn, step.when, at):
                if step.choice is not None:
                    chosen.add(step.choice)
                _fire(turn, (index, step), at, result)
        except ExpressionError as error:
            _note(turn, index, error, result)
        except Unanswered:
            continue
    turn.ask()
    if result.errors:
        return Following(errors=result.errors)
    return result


def holds(turn: Turn, when: When, at: Standpoint) -> bool:
    """Whether a condition is true; raises ExpressionError."""
    if when is None:
        return True
    assert at.done is not None
    if isinstance(when, frozenset):
        return at.done.outcome in when
    return bool(turn.evaluate(when, at))


def _note(turn: Turn, index: int, error: ExpressionError, result: Following) -> None:
    if turn.graph.profile.condition_error is OnError.FAIL:
        result.errors.append((index, invalid(error)))


def _fire(turn: Turn, place: tuple[int, Transition], at: Standpoint, result: Following) -> None:
    index, step = place
    delta = published(turn, step.publish, at)
    merges = turn.graph.profile.publish_merges
    merged = tuple(
        entry.name for entry in step.publish if (entry.merge or merges) and isinstance(delta.get(entry.name), Mapping)
    )
    result.fired.append(Fired(index, delta, merged))
    for target in step.do:
        if target == Command.FAIL:
            result.fail = (index, _fail_message(turn, step, at))
        elif target not in _ENDINGS:
            result.handled = True


def published(turn: Turn, entries: tuple[Assignment, ...], at: Standpoint) -> dict[str, Any]:
    """Evaluate assignments in order; later ones see earlier ones."""
    delta: dict[str, Any] = {}
    if not entries:
        return delta
    before = at.context
    try:
        for entry in entries:
            assert entry.value is not None
            try:
                delta[entry.name] = turn.evaluate(entry.value, at)
            except ExpressionError:
                if turn.graph.profile.publish_error is OnError.FAIL:
                    raise
                continue
            if len(entries) > 1:
                at.context = overlaid(before, delta)
    finally:
        at.context = before
    return delta


def overlaid(context: Context, values: Mapping[str, Any]) -> Context:
    """A context that shows these values on top; for looking at only."""
    new = {name: Variable(value, _OVERLAID, 0) for name, value in values.items()}
    return Context(cast("dict[str, Variable]", ChainMap(new, context.variables)))


def _fail_message(turn: Turn, step: Transition, at: Standpoint) -> Failure:
    """Why the execution fails when a `fail` is reached."""
    assert at.run is not None
    node = at.run.node
    if step.message is not None:
        return Failure(type=ErrorType.EXECUTION, message=str(turn.evaluate(step.message, at)), node=node)
    if at.done is not None and at.done.failure is not None:
        return at.done.failure
    return Failure(type=ErrorType.EXECUTION, message=f"the task {node!r} led to fail", node=node)


def failure_of(done: Done, run: Run, attempt: int) -> Failure | None:
    """The failure of an end, filled in where the shell said little."""
    if done.outcome in SUCCESS:
        return None
    kinds = {Outcome.TIMED_OUT: ErrorType.TIMEOUT, Outcome.CANCELLED: ErrorType.CANCELLED}
    words = {Outcome.TIMED_OUT: "did not end in time", Outcome.CANCELLED: "was cancelled", Outcome.FAILED: "failed"}
    given = done.failure
    if given is None:
        kind = kinds.get(done.outcome, ErrorType.EXECUTION)
        return Failure(type=kind, message=f"{run.node} {words[done.outcome]}", node=run.node, attempt=attempt)
    return Failure(
        type=given.type, message=given.message, details=given.details, node=given.node or run.node, attempt=attempt
    )


def is_failure(outcome: Outcome) -> bool:
    """Failed, in time or not."""
    return outcome in FAILURE
