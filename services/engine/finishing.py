"""When nothing is in flight any more: paused, undone, or finished with an output."""

from __future__ import annotations

from services.engine import events
from services.engine.ending import end_run
from services.engine.expressions_errors import ExpressionError
from services.engine.graph import Failure, Kind
from services.engine.joins import unreachable
from services.engine.launching import launch
from services.engine.output import render_output
from services.engine.rendering import Call, child_id, render_call
from services.engine.scopes import Done
from services.engine.state import Run, State
from services.engine.statuses import Change, Outcome, Phase
from services.engine.stopping import fail
from services.engine.turn import BadValue, LimitReached, Turn, invalid

_ENDS = {Phase.FAILING: Phase.FAILED, Phase.CANCELLING: Phase.CANCELLED}
_REASONS = {Phase.FAILING: Outcome.FAILED, Phase.CANCELLING: Outcome.CANCELLED}


def settle(turn: Turn) -> bool:
    """See whether the execution comes to rest; True when something may have become startable."""
    state = turn.state
    if state.phase is Phase.RUNNING:
        if state.inquiries and turn.graph.profile.inquiry_pauses:
            turn.emit(events.Changed(change=Change.PAUSE, at=turn.now, reason="inquiry"))
        elif state.alive == 0:
            return _close(turn)
    if state.phase is Phase.PAUSING and not is_active(state):
        turn.emit(events.Changed(change=Change.QUIET, at=turn.now))
    elif state.phase in _ENDS and not state.work and not state.lists:
        return _undo_next(turn) or _finish(turn, _ENDS[state.phase])
    return False


def owes_a_start(state: State) -> bool:
    """Whether something would have to start before the execution may come to its end: clean-up or compensation."""
    if state.phase not in _ENDS or state.work or state.lists:
        return False
    return any(state.lets_start(cleanup=token.cleanup) for token in state.staged.values()) or _undoable(state)


def _undoable(state: State) -> bool:
    reason = _REASONS[state.phase]
    found = (state.graph.nodes[node].compensation for node, _, _ in state.undoable)
    return any(compensation is not None and reason in compensation.on for compensation in found)


def is_active(state: State) -> bool:
    """Whether some action or child runs right now."""
    running = sum(1 for key in state.children.values() if not state.work[key].paused)
    return state.slots > 0 or running > 0


def _close(turn: Turn) -> bool:
    """Everything has ended: well, unless a join was left waiting or a failure was drained."""
    for place, gathering in list(turn.state.gatherings.items()):
        fail(turn, unreachable(turn.state, place, gathering), kind="unreachable_join")
    if turn.state.phase is Phase.RUNNING and turn.state.fatal is not None:
        turn.emit(events.Changed(change=Change.FAIL, at=turn.now, reason=turn.state.fatal.message))
    if turn.state.phase is not Phase.RUNNING:
        return True
    return _finish(turn, Phase.COMPLETED)


def _undo_next(turn: Turn) -> bool:
    """Start the next compensation, latest run first; False when there is none left."""
    state = turn.state
    for node, number, _ in reversed(state.undoable):
        compensation = turn.graph.nodes[node].compensation
        assert compensation is not None
        if _REASONS[state.phase] in compensation.on:
            _start_undo(turn, state.runs[node, number], compensation.node)
            return True
    return False


def _start_undo(turn: Turn, undone: Run, name: str) -> None:
    node = turn.graph.nodes[name]
    context = next(entry[2] for entry in turn.state.undoable if entry[:2] == undone.key)
    at = turn.before(undone, context)
    at.done = Done(Outcome.COMPLETED, undone.output, None)
    number = turn.state.counts.get(name, 0)
    at.salt = (name, number)
    call = Call(kind=Kind.PASS)
    failure: Failure | None = None
    try:
        call = render_call(turn, node, at)
    except LimitReached as reached:
        failure = reached.failure
    except (ExpressionError, BadValue, ValueError) as error:
        failure = invalid(error, name)
    key = (name, number, None)
    turn.emit(
        events.NodeStarted(
            token=None,
            undoes=undone.key,
            node=name,
            run=number,
            route="",
            at=turn.now,
            kind=call.kind,
            action=call.action,
            input=call.input,
            secrets=call.secrets,
            effect=call.effect,
            timeout_s=call.timeout_s,
            child_id=child_id(turn.state.execution_id, key, 1) if call.kind is Kind.WORKFLOW else None,
        )
    )
    if failure is not None:
        end_run(turn, turn.state.runs[name, number], Done(Outcome.FAILED, None, failure))
    elif call.kind is Kind.PASS:
        end_run(turn, turn.state.runs[name, number], Done(Outcome.COMPLETED, None, None))
    else:
        launch(turn, turn.state.work[key])


def _finish(turn: Turn, phase: Phase) -> bool:
    """Render the output and end; an output that breaks its promise may still turn success into failure."""
    rendered = render_output(turn, phase)
    for failure in rendered.errors:
        turn.emit(events.Troubled(kind="output", at=turn.now, failure=failure))
    if rendered.broken is not None and phase is Phase.COMPLETED:
        fail(turn, rendered.broken, kind=rendered.kind)
        return True
    reason = turn.state.fatal if phase is Phase.FAILED else None
    turn.emit(events.Finished(phase=phase, at=turn.now, output=rendered.value, failure=reason))
    return False
