"""Failing, cancelling, pausing: what becomes of the work in flight."""

from __future__ import annotations

from services.engine import events
from services.engine.commands import CancelChild, ClearTimer, CloseInquiry, InterruptAttempt
from services.engine.graph import Failure, Kind
from services.engine.joins import unreachable
from services.engine.state import State, Work
from services.engine.statuses import Change, Outcome, Phase, Stage
from services.engine.turn import Turn

_STOPPING = frozenset({Phase.FAILING, Phase.CANCELLING})


def is_stopping(state: State) -> bool:
    """Whether the execution is on its way to a bad end."""
    return state.phase in _STOPPING


def fail(turn: Turn, failure: Failure, *, kind: str, transition: int | None = None, by_choice: bool = False) -> None:
    """The execution fails. `by_choice`: a task failed or led to `fail`, so the profile says how fast."""
    state = turn.state
    fatal = not is_stopping(state)
    if kind != "unhandled" or fatal:
        turn.emit(events.Troubled(kind=kind, at=turn.now, failure=failure, transition=transition, fatal=fatal))
    if fatal and (turn.graph.profile.fail_fast or not by_choice):
        turn.emit(events.Changed(change=Change.FAIL, at=turn.now, reason=failure.message))
        _report_joins(turn, failure)
        stop_all(turn, spare_running=not turn.graph.profile.stop_running)
    elif not fatal and kind == "limit":
        stop_all(turn)


def _report_joins(turn: Turn, failure: Failure) -> None:
    """Name the half reached joins that had no hope left when the execution failed."""
    state = turn.state
    idle = not state.staged and not any(work.stage is Stage.RUNNING for work in state.work.values())
    for place, gathering in list(state.gatherings.items()):
        sources = turn.graph.flow.joins[place[0]].sources
        tried = all(source in gathering.arrived or (source, place[1]) in state.latest for source in sources)
        left = unreachable(state, place, gathering)
        if (idle or tried) and left != failure:
            turn.emit(events.Troubled(kind="unreachable_join", at=turn.now, failure=left))


def cancel(turn: Turn, *, by: str | None = None, reason: str | None = None) -> None:
    """The execution is cancelled."""
    if turn.state.phase is not Phase.CANCELLING:
        turn.emit(events.Changed(change=Change.CANCEL, at=turn.now, by=by, reason=reason))
    stop_all(turn)


def stop_all(turn: Turn, *, spare_running: bool = False) -> None:
    """Stop everything in flight but compensations; when failing, clean-up is left alone as well."""
    state = turn.state
    for work in list(state.work.values()):
        run = state.runs[work.node, work.run]
        if state.spares(cleanup=run.cleanup) or run.undo:
            continue
        if spare_running and work.stage is Stage.RUNNING:
            continue
        stop(turn, work)
    for key, items in list(state.lists.items()):
        if items.active == 0 and not state.spares(cleanup=state.runs[key].cleanup):
            end_cancelled(turn, key)


def stop(turn: Turn, work: Work) -> None:
    """Stop one piece of work: what runs is interrupted and reports its end, what waits has ended."""
    if work.stage is Stage.STOPPING:
        return
    if work.stage is Stage.RUNNING or (work.child_id is not None and work.stage is Stage.WAITING):
        turn.emit(events.StopRequested(node=work.node, run=work.run, item=work.item, at=turn.now))
        if work.child_id is not None:
            turn.commands.append(CancelChild(child_id=work.child_id))
        else:
            turn.commands.append(InterruptAttempt(node=work.node, run=work.run, item=work.item, attempt=work.attempt))
        return
    give_up_waiting(turn, work, "cancelled")
    if work.item is None:
        end_cancelled(turn, (work.node, work.run))
    else:
        _end_item(turn, work)


def give_up_waiting(turn: Turn, work: Work, reason: str) -> None:
    """Timers and inquiries of a piece of work are not waited for any more."""
    for timer in (work.timer, work.deadline):
        if timer is not None:
            turn.commands.append(ClearTimer(id=timer))
    if work.kind is Kind.INQUIRY and work.stage is Stage.WAITING:
        turn.commands.append(CloseInquiry(node=work.node, run=work.run, item=work.item, reason=reason))


def end_cancelled(turn: Turn, key: tuple[str, int]) -> None:
    """A run ends as cancelled; nothing follows."""
    run = turn.state.runs[key]
    output = run.items.outputs() if run.items is not None else None
    turn.emit(events.NodeEnded(node=key[0], run=key[1], at=turn.now, outcome=Outcome.CANCELLED, output=output))


def _end_item(turn: Turn, work: Work) -> None:
    turn.emit(
        events.AttemptEnded(
            node=work.node,
            run=work.run,
            item=work.item,
            attempt=work.attempt,
            at=turn.now,
            outcome=Outcome.CANCELLED,
        )
    )
