"""What one input leads to: `decide(graph, state, input) -> Decision(events, commands)`.

The state is only read: events are rehearsed on it with `evolve`, the same function that folds them once they are
durable, and every change is taken back before this returns (theory of operation: `state.py`). No clock, no chance, no
I/O; `now` comes with the input, `uuid()` and jitter are hashes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from models.records import Effect, ErrorType
from services.engine import events, inputs
from services.engine.begin import begin
from services.engine.commands import CancelChild, Decision, PauseChild, Perform, ResumeChild, SetTimer
from services.engine.ending import conclude, end_run
from services.engine.finishing import owes_a_start, settle
from services.engine.graph import Failure, Graph, Kind
from services.engine.items import conclude_item
from services.engine.launching import again
from services.engine.limits import passed
from services.engine.scopes import Done
from services.engine.starting import start_all
from services.engine.state import State, Work
from services.engine.statuses import Change, Outcome, Phase, Stage
from services.engine.stopping import cancel, fail, give_up_waiting, is_stopping
from services.engine.turn import Turn, Unanswered

Input = inputs.Input


def decide(graph: Graph, state: State, given: Input, *, hold: bool = False) -> Decision:
    """The events and commands that an input leads to. `state` is the same afterwards.

    `hold`: record what happened and start nothing, because whoever asks does not drive; the driver's next input
    starts what was held back, at the latest `Recovered` or `Released`.
    """
    return _decide(graph, state, given, keep=False, hold=hold)


def advance(graph: Graph, state: State, given: Input, *, hold: bool = False) -> Decision:
    """The same, with the events folded into `state`: `decide`, then `evolve` with each event, in one go."""
    return _decide(graph, state, given, keep=True, hold=hold)


def _decide(graph: Graph, state: State, given: Input, *, keep: bool, hold: bool) -> Decision:
    turn = Turn(graph, state, given_now(given))
    given = _unwrap(turn, given)
    refusal = _refusal(state, given)
    if refusal is not None:
        return Decision(refused=refusal)
    if not _applies(state, given):
        return Decision()
    handle = _HANDLERS[type(given)]

    def play() -> None:
        handle(turn, given)
        if hold:
            _come_to_rest(turn)
        elif turn.events or turn.commands or type(given) in _GOING_ON:
            _run_on(turn)

    try:
        state.rehearse(play, keep=keep)
    except Unanswered:
        return Decision(commands=(turn.question(),))
    return Decision(tuple(turn.events), tuple(turn.commands))


def given_now(given: Input) -> Any:
    """The time of an input, also inside `Evaluated`."""
    while isinstance(given, inputs.Evaluated):
        given = given.of
    return given.now


def _unwrap(turn: Turn, given: Input) -> Input:
    """The input that was meant, with all answers collected so far."""
    answers: dict[str, Mapping[str, Any]] = {}
    facts: dict[str, Any] = {}
    while isinstance(given, inputs.Evaluated):
        answers.update(given.answers)
        facts.update(given.actions)
        given = given.of
    if answers or facts:
        turn.answers, turn.facts = answers, facts
    return given


def _refusal(state: State, given: Input) -> str | None:
    """Why a request cannot be granted."""
    if isinstance(given, inputs.CancelRequested) and state.ended:
        return f"the execution has already ended as {state.phase}"
    if isinstance(given, inputs.PauseRequested) and state.phase is not Phase.RUNNING:
        return f"the execution is {state.phase}, not running"
    if isinstance(given, inputs.ResumeRequested) and state.phase not in (Phase.PAUSING, Phase.PAUSED):
        return f"the execution is {state.phase}, not paused"
    return None


def _applies(state: State, given: Input) -> bool:
    """Whether there is anything to decide at all."""
    return (state.phase is Phase.PENDING) == isinstance(given, inputs.Begin) and not state.ended


def _run_on(turn: Turn) -> None:
    """Start what may start, settle, and again, until nothing changes."""
    start_all(turn)
    while settle(turn):
        start_all(turn)


def _come_to_rest(turn: Turn) -> None:
    """Settle as far as that goes without starting anything."""
    while not owes_a_start(turn.state) and settle(turn):
        continue


def _attempt_ended(turn: Turn, given: inputs.AttemptEnded) -> None:
    work = turn.state.work.get((given.node, given.run, given.item))
    if work is None or not work.in_slot or work.attempt != given.attempt:
        return
    _end(turn, work, Done(given.outcome, given.output, given.failure))


def _end(turn: Turn, work: Work, done: Done) -> None:
    """Something in flight has ended."""
    over_limit = done.failure is not None and done.failure.type is ErrorType.LIMIT and work.child_id is None
    if work.item is None:
        conclude(turn, work, done)
    else:
        conclude_item(turn, work, done)
    if over_limit:
        assert done.failure is not None
        fail(turn, done.failure, kind="limit")


def _timer_fired(turn: Turn, given: inputs.TimerFired) -> None:
    timer = turn.state.timers.get(given.id)
    if timer is None:
        return
    if turn.now < timer.due:
        turn.commands.append(SetTimer(id=timer.id, at=timer.due))
        return
    work = turn.state.work.get(timer.key)
    turn.emit(events.TimerFired(id=timer.id, at=turn.now))
    if work is None:
        return
    if timer.purpose == "wait":
        _end(turn, work, Done(Outcome.COMPLETED, None, None))
    elif timer.purpose == "timeout":
        _expire(turn, work)


def _expire(turn: Turn, work: Work) -> None:
    """Nobody answered, or a child took too long."""
    if work.kind is Kind.INQUIRY:
        give_up_waiting(turn, work, "expired")
        default = _default_answer(turn, work)
        if default is not None:
            _end(turn, work, Done(Outcome.COMPLETED, default, None))
            return
    else:
        assert work.child_id is not None
        turn.commands.append(CancelChild(child_id=work.child_id))
    _end(turn, work, Done(Outcome.TIMED_OUT, None, None))


def _default_answer(turn: Turn, work: Work) -> dict[str, Any] | None:
    request: Mapping[str, Any] = work.input or {}
    declared = request.get("default_outcome", turn.graph.nodes[work.node].default_outcome)
    default = request.get("default", declared)
    return None if default is None else {"response": default, "by": None, "outcome": "default"}


def _open_inquiry(state: State, given: inputs.InquiryAnswered | inputs.InquiryExpired) -> Work | None:
    work = state.work.get((given.node, given.run, given.item))
    waiting = work is not None and work.kind is Kind.INQUIRY and work.stage is Stage.WAITING
    return work if waiting else None


def _inquiry_answered(turn: Turn, given: inputs.InquiryAnswered) -> None:
    work = _open_inquiry(turn.state, given)
    if work is None:
        return
    turn.emit(events.InquiryAnswered(node=given.node, run=given.run, item=given.item, at=turn.now, by=given.by))
    _wake(turn)
    answer = {"response": given.response, "by": given.by, "outcome": "answered"}
    _end(turn, work, Done(Outcome.COMPLETED, answer, None))


def _inquiry_expired(turn: Turn, given: inputs.InquiryExpired) -> None:
    work = _open_inquiry(turn.state, given)
    if work is not None:
        _wake(turn)
        _expire(turn, work)


def _wake(turn: Turn) -> None:
    """Where an open inquiry pauses the execution, its end resumes it."""
    if turn.graph.profile.inquiry_pauses and turn.state.phase in (Phase.PAUSING, Phase.PAUSED):
        turn.emit(events.Changed(change=Change.RESUME, at=turn.now, reason="inquiry"))


def _child_ended(turn: Turn, given: inputs.ChildEnded) -> None:
    key = turn.state.children.get(given.child_id)
    if key is not None:
        _end(turn, turn.state.work[key], Done(given.outcome, given.output, given.failure))


def _child_paused(turn: Turn, given: inputs.ChildPaused) -> None:
    key = turn.state.children.get(given.child_id)
    if key is not None and turn.state.work[key].paused is not given.paused:
        turn.emit(events.ChildPaused(child_id=given.child_id, at=turn.now, paused=given.paused))


def _cancel(turn: Turn, given: inputs.CancelRequested) -> None:
    cancel(turn, by=given.by, reason=given.reason)


def _pause(turn: Turn, given: inputs.PauseRequested) -> None:
    turn.emit(events.Changed(change=Change.PAUSE, at=turn.now, by=given.by))
    turn.commands.extend(PauseChild(child_id=child) for child in turn.state.children)


def _resume(turn: Turn, given: inputs.ResumeRequested) -> None:
    turn.emit(events.Changed(change=Change.RESUME, at=turn.now, by=given.by))
    turn.commands.extend(ResumeChild(child_id=child) for child in turn.state.children)


def _limit_passed(turn: Turn, given: inputs.LimitPassed) -> None:
    message = given.message or "the execution ran too long"
    bound = turn.state.limits.workflow_timeout_s if given.limit == "WORKFLOW_TIMEOUT_SECONDS" else None
    if not is_stopping(turn.state):
        fail(turn, passed(given.limit, message, limit=bound), kind="limit")


def _recovered(turn: Turn, _given: inputs.Recovered) -> None:
    """Ask again for everything in flight; what must not be repeated has failed."""
    state = turn.state
    for timer in sorted(state.timers.values()):
        turn.commands.append(SetTimer(id=timer.id, at=timer.due))
    for work in sorted(state.work.values(), key=lambda work: (work.since, work.node, work.run, work.item or 0)):
        if work.key not in state.work:
            continue
        if work.in_slot and (work.effect is Effect.IRREVERSIBLE or work.stage is Stage.STOPPING):
            _end(turn, work, _interrupted(work))
        elif work.stage in (Stage.RUNNING, Stage.WAITING):
            again(turn, work)
        elif work.stage is Stage.STOPPING and work.child_id is not None:
            turn.commands.append(CancelChild(child_id=work.child_id))
    if state.phase in (Phase.PAUSING, Phase.PAUSED):
        unpaused = (child for child, key in state.children.items() if not state.work[key].paused)
        turn.commands.extend(PauseChild(child_id=child) for child in unpaused)


def _released(_turn: Turn, _given: inputs.Released) -> None:
    """Nothing has happened but that things may start."""


def _interrupted(work: Work) -> Done:
    if work.effect is not Effect.IRREVERSIBLE:
        return Done(Outcome.CANCELLED, None, None)
    message = f"{work.node} was interrupted; whether it took effect is not known, so it is not repeated"
    return Done(Outcome.FAILED, None, Failure(type=ErrorType.INTERRUPTED, message=message, node=work.node))


_HANDLERS: Mapping[type[Any], Callable[[Turn, Any], None]] = {
    inputs.Begin: begin,
    inputs.AttemptEnded: _attempt_ended,
    inputs.TimerFired: _timer_fired,
    inputs.InquiryAnswered: _inquiry_answered,
    inputs.InquiryExpired: _inquiry_expired,
    inputs.ChildEnded: _child_ended,
    inputs.ChildPaused: _child_paused,
    inputs.CancelRequested: _cancel,
    inputs.PauseRequested: _pause,
    inputs.ResumeRequested: _resume,
    inputs.LimitPassed: _limit_passed,
    inputs.Recovered: _recovered,
    inputs.Released: _released,
}
_GOING_ON = frozenset({inputs.Recovered, inputs.Released})
"""After these, what was held back starts, although nothing else happened."""

__all__ = ["Decision", "Perform", "advance", "decide", "end_run"]
