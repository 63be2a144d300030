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
    log = state.log
    _HANDLERS[type(event)](state, event)
    log.set(state, "events", state.events + 1)
    log.set(state, "last_at", event.at)


def _started(state: State, event: events.Started) -> None:
    log = state.log
    for name in ("execution_id", "parameters", "config", "workflow", "actions", "depth", "parent", "rerun_of"):
        log.set(state, name, getattr(event, name))
    log.set(state, "started_at", event.at)
    log.set(state, "limits", Limits(**event.limits))
    log.set(state, "reused_items", event.reused_items)
    log.set(state, "root", state.histories.published(Context(), event.variables))
    log.set(state, "phase", advance(EXECUTION_TRANSITIONS, state.phase, Change.BEGIN))
    state.root.shared = state.graph.profile.scoping is Scoping.BRANCH
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
    run = _enter(state, token, past.node)
    run.reused = True
    run.started_at, run.ended_at = past.started_at, past.at
    run.input, run.output, run.failure = past.input, past.output, past.failure
    run.outcome, run.fired, run.ended_event = past.outcome, past.fired, order
    run.kind, run.action, run.effect = past.kind, past.action, past.effect
    _remember_undo(state, run)
    follow(state, run, past.fired)
    run.context = None
    gone(state, (run.node, run.route))


def _enter(state: State, token: Token, node: str) -> Run:
    """Use a token up and make the next run of its node."""
    log = state.log
    number = state.counts.get(node, 0)
    log.drop(state.staged, token.id)
    run = Run(node, number, token)
    place = (node, token.route)
    log.put(state.counts, node, number + 1)
    log.put(state.rounds, place, state.rounds.get(place, 0) + 1)
    log.put(state.latest, place, run)
    log.put(state.runs, run.key, run)
    return run


def _undo_token(state: State, node: str, undone: tuple[str, int]) -> Token:
    """What a compensation starts from: the variables of the run that it undoes."""
    position = max(at for at, entry in enumerate(state.undoable) if entry[:2] == undone)
    context = state.log.take(state.undoable, position)[2]
    born(state, (node, ""))
    return Token(-1, node, "", (), context)


def _node_started(state: State, event: events.NodeStarted) -> None:
    log = state.log
    token = _undo_token(state, event.node, event.undoes) if event.undoes else state.staged[event.token or 0]
    run = _enter(state, token, event.node)
    log.set(state, "queue_at", _first_staged(state, state.queue, state.queue_at))
    log.set(state, "free_at", _first_staged(state, state.free, state.free_at))
    run.undoes = event.undoes
    run.kind, run.action, run.effect = event.kind, event.action, event.effect
    run.input, run.started_at, run.delay_s = event.input, event.at, event.delay_s
    log.set(state, "operations", state.operations + 1)
    if event.items is not None:
        run.items = ItemList(event.items, event.concurrency)
        _take_reused_items(state, run)
        log.put(state.lists, run.key, run.items)
        run.items.held = event.delay_s > 0
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
    assert run.started_at is not None
    name = item_key(run.node, run.route, state.rounds[run.node, run.route])
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
    log = state.log
    if work.in_slot:
        log.set(state, "slots", state.slots + change)
    if work.stage not in (Stage.WAITING, Stage.STOPPING):
        return
    if work.kind is Kind.INQUIRY:
        log.set(state, "inquiries", state.inquiries + change)
    elif work.child_id is not None and change > 0:
        log.put(state.children, work.child_id, work.key)
    elif work.child_id is not None:
        log.drop(state.children, work.child_id)


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
    log = state.log
    run = state.runs[event.node, event.run]
    work = state.work.get((event.node, event.run, None))
    if work is not None:
        _end_work(state, work)
    if run.items is not None:
        log.drop(state.lists, run.key)
        log.drop(state.timers, f"delay/{event.node}/{event.run}")
    for name in ("outcome", "output", "failure", "fired", "handled"):
        log.set(run, name, getattr(event, name))
    log.set(run, "ended_at", event.at)
    log.set(run, "ended_event", state.events)
    _remember_undo(state, run)
    if not run.undo:
        follow(state, run, event.fired)
    log.set(run, "context", None)
    gone(state, (run.node, run.route))


def _remember_undo(state: State, run: Run) -> None:
    """A completed run with a compensation can be undone later, with the variables it had."""
    compensation = state.graph.nodes[run.node].compensation
    if compensation is not None and run.outcome is Outcome.COMPLETED:
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
        items = state.lists.get(timer.key[:2])
        if items is not None:
            state.log.set(items, "held", False)
    elif timer.purpose in ("delay", "retry"):
        state.log.set(work, "timer", None)
        state.log.put(state.due, timer.key, None)


def _child_paused(state: State, event: events.ChildPaused) -> None:
    key = state.children.get(event.child_id)
    if key is not None:
        state.log.set(state.work[key], "paused", event.paused)


def _changed(state: State, event: events.Changed) -> None:
    state.log.set(state, "phase", advance(EXECUTION_TRANSITIONS, state.phase, event.change))
    if event.change is Change.CANCEL:
        state.log.set(state, "cancelled_by", event.by)


def _stop_requested(state: State, event: events.StopRequested) -> None:
    work = state.work[event.node, event.run, event.item]
    state.log.set(work, "stage", advance(WORK_TRANSITIONS, work.stage, Step.STOP))


def _list_closed(state: State, event: events.ListClosed) -> None:
    state.log.set(state.lists[event.node, event.run], "ended", True)


def _troubled(state: State, event: events.Troubled) -> None:
    state.log.push(state.troubles, event)
    if event.fatal and state.fatal is None:
        state.log.set(state, "fatal", event.failure)


def _noted(state: State, event: Event) -> None:
    """Kept for the reader of the log; changes nothing."""


def _finished(state: State, event: events.Finished) -> None:
    log = state.log
    change = {"completed": Change.COMPLETE, "failed": Change.END_FAILED, "cancelled": Change.END_CANCELLED}
    log.set(state, "phase", advance(EXECUTION_TRANSITIONS, state.phase, change[event.phase]))
    log.set(state, "output", event.output)
    log.set(state, "failure", event.failure)
    log.set(state, "ended_at", event.at)


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
    events.Claimed: _noted,
    events.Finished: _finished,
}
