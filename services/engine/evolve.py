"""Fold one event into a state, in place. Evaluates nothing, decides nothing, reads no clock."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from services.engine import events
from services.engine.arrivals import born, follow, gone, stage
from services.engine.contexts import Context
from services.engine.events import Event, Reused
from services.engine.graph import Kind, Limits, Scoping
from services.engine.state import ItemList, ItemRecord, Key, Run, State, Timer, Token, Work
from services.engine.statuses import EXECUTION_TRANSITIONS, WORK_TRANSITIONS, Change, Outcome, Stage, Step, advance


def evolve(state: State, event: Event) -> None:
    """Change the state by what happened."""
    _HANDLERS[type(event)](state, event)
    state.events += 1
    state.last_at = event.at


def _started(state: State, event: events.Started) -> None:
    state.execution_id, state.parent, state.depth = event.execution_id, event.parent, event.depth
    state.parameters, state.config, state.workflow = event.parameters, event.config, event.workflow
    state.actions, state.limits = event.actions, Limits(**event.limits)
    state.rerun_of, state.reused_items = event.rerun_of, event.reused_items
    state.started_at = event.at
    state.root = state.histories.published(Context(), event.variables)
    state.root.shared = state.graph.profile.scoping is Scoping.BRANCH
    state.phase = advance(EXECUTION_TRANSITIONS, state.phase, Change.BEGIN)
    for node in state.graph.flow.starts:
        stage(state, Token(0, node, "", (), state.root))
    for number, run in enumerate(event.reused):
        _reuse(state, run, number - len(event.reused))


class ReuseMismatch(Exception):
    """A run of an earlier execution has no place in this one."""

    def __init__(self, node: str) -> None:
        super().__init__(f"the task {node!r} is reached in another way now")
        self.node = node


def _reuse(state: State, past: Reused, order: int) -> None:
    """Take over a run of an earlier execution: its token is used up and its successors are staged."""
    staged = (token for token in state.staged.values() if (token.node, token.route) == (past.node, past.route))
    token = next(staged, None)
    if token is None:
        raise ReuseMismatch(past.node)
    run = _enter(state, token, past.started())
    run.reused, run.ended_event = True, order
    _leave(state, run, past.ended())


def _enter(state: State, token: Token, started: events.NodeStarted) -> Run:
    """Use a token up and make the next run of its node."""
    log = state.log
    place = (started.node, token.route)
    before = state.latest.get(place)
    run = Run(started, token, 1 if before is None else before.round + 1)
    log.drop(state.staged, token.id)
    log.put(state.counts, run.node, run.number + 1)
    log.put(state.latest, place, run)
    log.put(state.runs, (run.node, run.number), run)
    return run


def _undo_token(state: State, node: str, undone: tuple[str, int]) -> Token:
    """What a compensation starts from: the variables of the run that it undoes."""
    position = max(at for at, entry in enumerate(state.undoable) if entry[:2] == undone)
    context = state.log.take(state.undoable, position)[2]
    born(state, (node, ""))
    return Token(-1, node, "", (), context)


def _node_started(state: State, event: events.NodeStarted) -> None:
    token = _undo_token(state, event.node, event.undoes) if event.undoes else state.staged[event.token or 0]
    run = _enter(state, token, event)
    if state.queue_at < len(state.queue):
        state.queue_at = _first_staged(state, state.queue, state.queue_at)
    if state.free_at < len(state.free):
        state.free_at = _first_staged(state, state.free, state.free_at)
    state.operations += 1
    if event.items is not None:
        run.items = ItemList(event.items, event.concurrency)
        run.items.held = event.delay_s > 0
        _take_reused_items(state, run)
        state.log.put(state.lists, run.key, run.items)
    elif event.kind is not Kind.PASS:
        _begin_work(state, (event.node, event.run, None), event)


def _first_staged(state: State, order: list[int], position: int) -> int:
    """Where a queue begins, now that a token is used up."""
    while position < len(order) and order[position] not in state.staged:
        position += 1
    return position


def _take_reused_items(state: State, run: Run) -> None:
    """Items whose results a re-run takes over are done already."""
    assert run.items is not None
    name = item_key(run.node, run.route, run.round)
    for text, output in state.reused_items.get(name, {}).items():
        if int(text) < len(run.items.values):
            run.items.records[int(text)] = ItemRecord(
                Outcome.COMPLETED, output, None, 1, run.started_at, None, run.started_at, reused=True
            )


def item_key(node: str, route: str, number: int) -> str:
    """How `reused_items` names the nth run of a node on a route, from 1."""
    return f"{node}@{route}#{number}"


def _begin_work(state: State, key: Key, event: events.NodeStarted | events.AttemptStarted) -> None:
    """The first attempt of a node or item."""
    work = Work(key, event.kind or Kind.ACTION, event.at)
    work.action, work.input, work.secrets = event.action, event.input, event.secrets
    work.effect, work.timeout_s = event.effect or work.effect, event.timeout_s
    work.child_id = event.child_id
    if isinstance(event, events.NodeStarted) and event.delay_s:
        work.stage, work.delay_s = Stage.DELAYED, event.delay_s
    elif work.kind is not Kind.ACTION:
        work.stage = Stage.WAITING
    state.log.put(state.work, key, work)
    _count_in(state, work, 1)


def _count_in(state: State, work: Work, change: int) -> None:
    """Keep the counters of what is in flight."""
    if work.kind is Kind.ACTION:
        if work.in_slot:
            state.slots += change
    elif work.stage not in (Stage.WAITING, Stage.STOPPING):
        return
    elif work.kind is Kind.INQUIRY:
        state.inquiries += change
    elif work.child_id is not None and change > 0:
        state.log.put(state.children, work.child_id, work.key)
    elif work.child_id is not None:
        state.log.drop(state.children, work.child_id)


def _attempt_started(state: State, event: events.AttemptStarted) -> None:
    log = state.log
    key = (event.node, event.run, event.item)
    log.drop(state.due, key)
    work = state.work.get(key)
    if work is None:
        _begin_work(state, key, event)
        items = state.lists[event.node, event.run]
        log.set(items, "active", items.active + 1)
        log.set(items, "next", event.item + 1 if event.item is not None else items.next)
        return
    step = Step.START if work.kind is Kind.ACTION else Step.WAIT
    log.set(work, "stage", advance(WORK_TRANSITIONS, work.stage, step))
    log.set(work, "attempt", event.attempt)
    log.set(work, "since", event.at)
    log.set(work, "timer", None)
    if event.child_id is not None:
        log.set(work, "child_id", event.child_id)
    if event.item is None:
        log.set(state.runs[event.node, event.run], "attempt", event.attempt)
    _count_in(state, work, 1)


def _attempt_ended(state: State, event: events.AttemptEnded) -> None:
    log = state.log
    key = (event.node, event.run, event.item)
    work = state.work[key]
    if event.retry_s is not None:
        _count_in(state, work, -1)
        log.set(work, "stage", advance(WORK_TRANSITIONS, work.stage, Step.RETRY))
        log.set(work, "since", event.at)
        _drop_timers(state, work)
        if event.retry_s == 0:
            log.put(state.due, key, None)
        return
    _end_work(state, work)
    items = state.lists[event.node, event.run]
    assert event.item is not None
    record = ItemRecord(event.outcome, event.output, event.failure, event.attempt, event.at, work.input, work.since)
    log.put(items.records, event.item, record)
    log.set(items, "active", items.active - 1)
    if event.outcome is not Outcome.COMPLETED:
        log.set(items, "failed", items.failed + 1)


def _end_work(state: State, work: Work) -> None:
    _count_in(state, work, -1)
    _drop_timers(state, work)
    state.log.drop(state.due, work.key)
    state.log.drop(state.work, work.key)


def _drop_timers(state: State, work: Work) -> None:
    for name in ("timer", "deadline"):
        timer = getattr(work, name)
        if timer is not None:
            state.log.drop(state.timers, timer)
            state.log.set(work, name, None)


def _list_restarted(state: State, event: events.ListRestarted) -> None:
    log = state.log
    run = state.runs[event.node, event.run]
    assert run.items is not None
    items = ItemList(run.items.values, run.items.concurrency)
    items.held = event.retry_s > 0
    log.set(run, "items", items)
    log.set(run, "attempt", event.attempt)
    log.put(state.lists, run.key, items)


def _node_ended(state: State, event: events.NodeEnded) -> None:
    run = state.runs[event.node, event.run]
    work = state.work.get((event.node, event.run, None))
    if work is not None:
        _end_work(state, work)
    if run.items is not None:
        state.log.drop(state.lists, run.key)
        state.log.drop(state.timers, f"delay/{event.node}/{event.run}")
    state.log.set(run, "ended_event", state.events)
    _leave(state, run, event)


def _leave(state: State, run: Run, event: events.NodeEnded) -> None:
    """A run has ended: remember how, and let arrive what it leads to."""
    state.log.set(run, "ended", event)
    if state.graph.nodes[run.node].compensation is not None and event.outcome is Outcome.COMPLETED:
        _remember_undo(state, run)
    if not run.undo:
        follow(state, run, event.fired)
    state.log.set(run, "context", None)
    gone(state, (run.node, run.route))


def _remember_undo(state: State, run: Run) -> None:
    """A completed run with a compensation can be undone later, with the variables it had."""
    assert run.context is not None
    run.context.shared = True
    state.log.push(state.undoable, (run.node, run.number, run.context))


def _timer_set(state: State, event: events.TimerSet) -> None:
    key = (event.node, event.run, event.item)
    state.log.put(state.timers, event.id, Timer(event.id, event.due, event.purpose, key))
    work = state.work.get(key)
    if work is not None:
        state.log.set(work, "deadline" if event.purpose == "timeout" else "timer", event.id)


def _timer_fired(state: State, event: events.TimerFired) -> None:
    """Delays and retries become due; what other timers mean is in the events that follow."""
    timer = state.log.drop(state.timers, event.id)
    if timer is None:
        return
    work = state.work.get(timer.key)
    if work is None:
        state.log.set(state.lists[timer.key[:2]], "held", False)
    elif timer.purpose in ("delay", "retry"):
        state.log.set(work, "timer", None)
        state.log.put(state.due, timer.key, None)


def _child_paused(state: State, event: events.ChildPaused) -> None:
    state.log.set(state.work[state.children[event.child_id]], "paused", event.paused)


def _changed(state: State, event: events.Changed) -> None:
    state.phase = advance(EXECUTION_TRANSITIONS, state.phase, event.change)
    if event.change is Change.CANCEL:
        state.cancelled_by = event.by


def _stop_requested(state: State, event: events.StopRequested) -> None:
    work = state.work[event.node, event.run, event.item]
    state.log.set(work, "stage", advance(WORK_TRANSITIONS, work.stage, Step.STOP))


def _list_closed(state: State, event: events.ListClosed) -> None:
    state.log.set(state.lists[event.node, event.run], "ended", True)


def _troubled(state: State, event: events.Troubled) -> None:
    state.log.push(state.troubles, event)
    if event.kind == "limit":
        state.over_limit = True
    if event.fatal and state.fatal is None:
        state.fatal = event.failure


def _noted(state: State, event: Event) -> None:
    """Kept for the reader of the log; changes nothing."""


def _finished(state: State, event: events.Finished) -> None:
    change = {"completed": Change.COMPLETE, "failed": Change.END_FAILED, "cancelled": Change.END_CANCELLED}
    state.phase = advance(EXECUTION_TRANSITIONS, state.phase, change[event.phase])
    state.output, state.failure, state.ended_at = event.output, event.failure, event.at


_HANDLERS: Mapping[type[Any], Callable[[State, Any], None]] = {
    events.Started: _started,
    events.NodeStarted: _node_started,
    events.AttemptStarted: _attempt_started,
    events.AttemptEnded: _attempt_ended,
    events.ListRestarted: _list_restarted,
    events.ListClosed: _list_closed,
    events.NodeEnded: _node_ended,
    events.TimerSet: _timer_set,
    events.TimerFired: _timer_fired,
    events.InquiryAnswered: _noted,
    events.ChildPaused: _child_paused,
    events.Changed: _changed,
    events.StopRequested: _stop_requested,
    events.Troubled: _troubled,
    events.Logged: _noted,
    events.Claimed: _noted,
    events.Finished: _finished,
}
