"""What the end of an attempt means: another attempt, the next item, or the end of the task and what follows."""

from __future__ import annotations

from services.engine import events
from services.engine.durations import later
from services.engine.graph import Failure
from services.engine.joins import lost_joins
from services.engine.retry import RetryIn, next_attempt
from services.engine.scopes import Done
from services.engine.state import Run, Work
from services.engine.statuses import SUCCESS, Outcome, Stage
from services.engine.stopping import cancel, fail, is_stopping
from services.engine.transitions import Following, failure_of, following, is_failure
from services.engine.turn import Turn


def conclude(turn: Turn, work: Work, done: Done) -> None:
    """An attempt of a task (not of an item) has ended."""
    run = turn.state.runs[work.node, work.run]
    done.failure = failure_of(done, run, work.attempt)
    verdict = None if work.stage is Stage.STOPPING else next_attempt(turn, run, done, work.attempt)
    if isinstance(verdict, RetryIn):
        repeat(turn, work, done, verdict)
    else:
        end_run(turn, run, done)


def repeat(turn: Turn, work: Work, done: Done, verdict: RetryIn) -> None:
    """The attempt is repeated, now or after a delay."""
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
            retry_s=verdict.delay_s,
        )
    )
    if done.failure is not None:
        turn.emit(events.Troubled(kind="attempt_failed", at=turn.now, failure=done.failure))
    if verdict.delay_s > 0:
        turn.set_timer("retry", work.key, later(turn.now, verdict.delay_s))


def end_run(turn: Turn, run: Run, done: Done) -> None:
    """A task has ended for good: fire its transitions and see to failures nobody handles."""
    if run.undo:
        _end_undo(turn, run, done)
        return
    cut_off = done.outcome is Outcome.CANCELLED and is_stopping(turn.state)
    then = Following(handled=True) if cut_off else following(turn, run, done)
    fired = tuple(then.fired)
    handled = not then.errors and (done.outcome in SUCCESS or then.handled)
    turn.emit(
        events.NodeEnded(
            node=run.node,
            run=run.number,
            at=turn.now,
            outcome=done.outcome,
            output=done.output,
            failure=done.failure,
            fired=fired,
            handled=handled,
        )
    )
    if not handled or done.failure is not None or then.fail is not None:
        _see_to_failures(turn, run, done, then)
    if turn.state.gatherings and turn.graph.profile.lost_join_fails and not is_stopping(turn.state):
        for failure in lost_joins(turn.state, run, fired):
            fail(turn, failure, kind="unreachable_join")


def _see_to_failures(turn: Turn, run: Run, done: Done, then: Following) -> None:
    if is_failure(done.outcome):
        assert done.failure is not None
        usual = "task_failed" if done.outcome is Outcome.FAILED else "task_timed_out"
        turn.emit(events.Troubled(kind=done.kind or usual, at=turn.now, failure=done.failure))
    for index, failure in then.errors:
        named = Failure(type=failure.type, message=failure.message, details=failure.details, node=run.node)
        fail(turn, named, kind="expression", transition=index)
    if then.fail is not None:
        fail(turn, then.fail[1], kind="fail_command", transition=then.fail[0], by_choice=True)
    elif done.outcome is Outcome.CANCELLED and not then.handled and turn.graph.profile.cancelled_task_cancels:
        cancel(turn, reason=f"the task {run.node!r} was cancelled")
    elif not then.handled and done.failure is not None and not then.errors:
        fail(turn, done.failure, kind="unhandled", by_choice=True)


def _end_undo(turn: Turn, run: Run, done: Done) -> None:
    turn.emit(
        events.NodeEnded(
            node=run.node,
            run=run.number,
            at=turn.now,
            outcome=done.outcome,
            output=done.output,
            failure=done.failure,
        )
    )
    if done.failure is not None:
        turn.emit(events.Troubled(kind="undo_failed", at=turn.now, failure=done.failure))
