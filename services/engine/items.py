"""Item lists: which item starts next, what the end of one means for the rest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from models.records import ErrorType
from services.engine import events
from services.engine.durations import later
from services.engine.ending import end_run, repeat
from services.engine.expressions_errors import ExpressionError
from services.engine.graph import Failure, ItemPolicy, Items, Kind
from services.engine.launching import launch
from services.engine.rendering import Call, child_id, render_call
from services.engine.retry import RetryIn, next_attempt
from services.engine.scopes import Done, Standpoint
from services.engine.state import ItemList, Run, Work
from services.engine.statuses import SUCCESS, Outcome, Phase, Stage
from services.engine.stopping import fail, is_stopping, stop
from services.engine.transitions import failure_of
from services.engine.turn import BadValue, LimitReached, Turn, Unanswered, invalid


def start_items(turn: Turn) -> None:
    """Start every item that may start now."""
    for key, items in list(turn.state.lists.items()):
        run = turn.state.runs[key]
        if not turn.state.lets_start(cleanup=run.cleanup):
            continue
        chosen = _startable(turn, items)
        calls: list[tuple[int, Call | Failure]] = []
        for index in chosen:
            try:
                calls.append((index, _rendered(turn, run, index)))
            except Unanswered:
                continue
        turn.ask()
        for index, call in calls:
            if not items.ended and run.ended is None and turn.state.lets_start(cleanup=run.cleanup):
                _start(turn, run, index, call)
        if not calls:
            settle_list(turn, run, items)


def _startable(turn: Turn, items: ItemList) -> list[int]:
    """Indexes of the items that fit now."""
    if items.held or items.ended:
        return []
    room = len(items.values) if items.concurrency is None else items.concurrency - items.active
    room = min(room, turn.state.limits.max_parallel_nodes - turn.state.slots)
    chosen: list[int] = []
    index = items.next
    while index < len(items.values) and len(chosen) < room:
        if index not in items.records:
            chosen.append(index)
        index += 1
    return chosen


def _stops_when_idle(turn: Turn, run: Run) -> bool:
    return _spec(turn, run).policy is ItemPolicy.WHILE_ACTIVE


def _spec(turn: Turn, run: Run) -> Items:
    spec = turn.graph.nodes[run.node].items
    assert spec is not None
    return spec


def _rendered(turn: Turn, run: Run, index: int) -> Call | Failure:
    at = standpoint(turn, run, index)
    try:
        return render_call(turn, turn.graph.nodes[run.node], at)
    except (ExpressionError, BadValue, ValueError) as error:
        return invalid(error, run.node)
    except LimitReached as reached:
        return reached.failure


def standpoint(turn: Turn, run: Run, index: int) -> Standpoint:
    """Where the expressions of an item look from."""
    assert run.items is not None
    at = turn.before(run)
    value = run.items.values[index]
    names = _spec(turn, run).names
    parts = named_parts(names, value)
    at.locals = {**parts, "item": parts if names else value, "index": index}
    at.salt = (run.node, run.number, index)
    return at


def named_parts(names: tuple[str, ...], value: Any) -> Mapping[str, Any]:
    """An element spread over names: one name takes it whole, several take its parts in order."""
    if len(names) == 1:
        return {names[0]: value}
    if not names:
        return {}
    parts = value if isinstance(value, list | tuple) else [value]
    return {name: parts[position] if position < len(parts) else None for position, name in enumerate(names)}


def _start(turn: Turn, run: Run, index: int, call: Call | Failure) -> None:
    key = (run.node, run.number, index)
    if isinstance(call, Failure):
        _reject(turn, run, index, call)
        return
    turn.emit(
        events.AttemptStarted(
            node=run.node,
            run=run.number,
            item=index,
            attempt=1,
            at=turn.now,
            action=call.action,
            input=call.input,
            secrets=call.secrets,
            kind=call.kind,
            effect=call.effect,
            timeout_s=call.timeout_s,
            child_id=child_id(turn.state.execution_id, key, 1) if call.kind is Kind.WORKFLOW else None,
        )
    )
    launch(turn, turn.state.work[key], run.delay_s)


def _reject(turn: Turn, run: Run, index: int, failure: Failure) -> None:
    """An item that cannot be rendered has failed without being performed."""
    turn.emit(events.AttemptStarted(node=run.node, run=run.number, item=index, attempt=1, at=turn.now))
    if failure.type is ErrorType.LIMIT:
        fail(turn, failure, kind="limit")
    elif turn.graph.profile.input_error_fails:
        fail(turn, failure, kind="expression")
    finish_item(turn, turn.state.work[run.node, run.number, index], Done(Outcome.FAILED, None, failure))


def conclude_item(turn: Turn, work: Work, done: Done) -> None:
    """An attempt of an item has ended."""
    run = turn.state.runs[work.node, work.run]
    done.failure = failure_of(done, run, work.attempt)
    if not turn.graph.profile.retry_whole_list and work.stage is not Stage.STOPPING:
        verdict = next_attempt(turn, run, done, work.attempt)
        if isinstance(verdict, RetryIn):
            repeat(turn, work, done, verdict)
            return
    finish_item(turn, work, done)


def finish_item(turn: Turn, work: Work, done: Done) -> None:
    """An item has ended for good."""
    run = turn.state.runs[work.node, work.run]
    turn.emit(
        events.AttemptEnded(
            node=work.node,
            run=work.run,
            item=work.item,
            attempt=work.attempt,
            at=turn.now,
            outcome=done.outcome,
            output=done.output,
            failure=done.failure,
        )
    )
    items = run.items
    assert items is not None
    policy = _spec(turn, run).policy
    if done.outcome not in SUCCESS and not items.ended and policy in (ItemPolicy.STOP, ItemPolicy.DRAIN):
        turn.emit(events.ListClosed(node=run.node, run=run.number, at=turn.now))
        if policy is ItemPolicy.STOP:
            for other in [work for work in turn.state.work.values() if (work.node, work.run) == run.key]:
                stop(turn, other)
    settle_list(turn, run, items)


def settle_list(turn: Turn, run: Run, items: ItemList) -> None:
    """End the list when nothing of it is in flight and nothing more will start."""
    if items.active or items.held or run.outcome is not None:
        return
    stopping = is_stopping(turn.state) and not turn.state.spares(cleanup=run.cleanup)
    left = len(items.values) - len(items.records)
    if left and not (items.ended or stopping or (items.failed and _stops_when_idle(turn, run))):
        return
    done = _result(run, items, cut_off=_is_cut_off(turn, items, left=left, stopping=stopping))
    verdict = next_attempt(turn, run, done, run.attempt) if turn.graph.profile.retry_whole_list else None
    if not isinstance(verdict, RetryIn):
        end_run(turn, run, done)
        return
    if done.failure is not None:
        turn.emit(events.Troubled(kind="attempt_failed", at=turn.now, failure=done.failure))
    turn.emit(
        events.ListRestarted(
            node=run.node, run=run.number, attempt=run.attempt + 1, at=turn.now, retry_s=verdict.delay_s
        )
    )
    if verdict.delay_s > 0:
        turn.set_timer("delay", (run.node, run.number, None), later(turn.now, verdict.delay_s))


def _is_cut_off(turn: Turn, items: ItemList, *, left: int, stopping: bool) -> bool:
    """Whether a list counts as cancelled; where a cancelled task cancels, that comes before failed items."""
    if not turn.graph.profile.cancelled_task_cancels:
        return bool(left) and stopping
    outcomes = {record.outcome for record in items.records.values()}
    cancelling = turn.state.phase is Phase.CANCELLING and (bool(left) or bool(items.failed))
    if not (cancelling or Outcome.CANCELLED in outcomes):
        return bool(left) and stopping and not items.failed
    for index, record in items.records.items():
        if record.outcome is Outcome.FAILED and record.failure is not None:
            failure = replace(record.failure, message=f"item {index}: {record.failure.message}")
            turn.emit(events.Troubled(kind="attempt_failed", at=turn.now, failure=failure))
    return True


def _result(run: Run, items: ItemList, *, cut_off: bool) -> Done:
    """How a list has ended, from how its items did."""
    outputs = items.outputs()
    bad = sorted(index for index, record in items.records.items() if record.outcome not in SUCCESS)
    outcomes = {items.records[index].outcome for index in bad}
    if not cut_off and (Outcome.FAILED in outcomes or Outcome.TIMED_OUT in outcomes):
        first = next(index for index in bad if items.records[index].outcome is not Outcome.CANCELLED)
        cause = items.records[first].failure or Failure(type=ErrorType.EXECUTION, message="the item failed")
        details = {**(cause.details or {}), "item": first, "failed_items": bad}
        message = f"item {first}: {cause.message}"
        return Done(Outcome.FAILED, outputs, replace(cause, message=message, details=details, attempt=run.attempt))
    if outcomes or cut_off:
        failure = Failure(type=ErrorType.CANCELLED, message=f"{run.node} was cancelled", node=run.node)
        return Done(Outcome.CANCELLED, outputs, failure)
    return Done(Outcome.COMPLETED, outputs, None)
