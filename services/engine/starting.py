"""Starting what may start: staged tasks, attempts whose delay is over, items."""

from __future__ import annotations

from datetime import datetime
from itertools import islice
from typing import Any

from msgspec import Struct

from services.engine import events
from services.engine.durations import later, moment, seconds, whole
from services.engine.ending import end_run
from services.engine.expressions_errors import ExpressionError
from services.engine.graph import Failure, Kind, Node
from services.engine.items import start_items
from services.engine.launching import launch
from services.engine.limits import check_items, passed_by
from services.engine.rendering import Call, child_id, render_call
from services.engine.scopes import Done, Standpoint
from services.engine.state import Run, Token, Work
from services.engine.statuses import Outcome, Phase, Stage
from services.engine.stopping import fail, is_stopping
from services.engine.turn import BadValue, LimitReached, Turn, Unanswered, invalid

_MAY_START = frozenset({Phase.RUNNING, Phase.FAILING})


class Plan(Struct):
    """A staged task, rendered."""

    token: Token
    call: Call
    skipped: bool = False
    delay_s: float = 0.0
    due: datetime | None = None
    items: tuple[Any, ...] | None = None
    concurrency: int | None = None
    failure: Failure | None = None
    wrong_type: bool = False
    limit: Failure | None = None


def start_all(turn: Turn) -> None:
    """Start everything that may start, until nothing more can."""
    progress = True
    while progress and turn.state.phase in _MAY_START:
        seen = len(turn.events)
        if turn.state.due:
            _start_due(turn)
        if turn.state.staged:
            _start_staged(turn)
        if turn.state.lists:
            start_items(turn)
        progress = len(turn.events) > seen


def _start_due(turn: Turn) -> None:
    """Attempts whose delay is over."""
    state = turn.state
    for key in list(state.due):
        work = state.work[key]
        if work.kind is Kind.ACTION and state.slots >= state.limits.max_parallel_nodes:
            continue
        _start_attempt(turn, work)


def _start_attempt(turn: Turn, work: Work) -> None:
    delayed = work.delay_s if work.stage is Stage.DELAYED else 0.0
    attempt = work.attempt if work.stage is Stage.DELAYED else work.attempt + 1
    again = work.kind is Kind.WORKFLOW and attempt > 1
    turn.emit(
        events.AttemptStarted(
            node=work.node,
            run=work.run,
            item=work.item,
            attempt=attempt,
            at=turn.now,
            child_id=child_id(turn.state.execution_id, work.key, attempt) if again else None,
        )
    )
    launch(turn, work, delayed)


def _start_staged(turn: Turn) -> None:
    """Staged tasks, as many as there are slots; all that are due are rendered before the first one starts."""
    plans: list[Plan] = []
    for token in _startable(turn):
        try:
            plans.append(_plan(turn, token))
        except Unanswered:
            continue
    turn.ask()
    if any(plan.failure or plan.limit for plan in plans):
        if _refused(turn, plans):
            return
        plans.sort(key=lambda plan: plan.failure is None)
    for plan in plans:
        if plan.failure is not None or turn.state.lets_start(cleanup=plan.token.cleanup):
            _start(turn, plan)


def _refused(turn: Turn, plans: list[Plan]) -> bool:
    """Whether something about these tasks fails the whole execution, so that none of them starts."""
    failed = [plan for plan in plans if plan.failure is not None]
    limits = [plan.limit for plan in plans if plan.limit is not None]
    for limit in limits:
        fail(turn, limit, kind="limit")
    if not turn.graph.profile.input_error_fails or is_stopping(turn.state):
        return bool(limits)
    for plan in failed:
        assert plan.failure is not None
        fail(turn, plan.failure, kind="value_type" if plan.wrong_type else "expression")
    return bool(limits or failed)


def _startable(turn: Turn) -> list[Token]:
    """Tokens that fit now: all that need no slot, and the oldest others."""
    state = turn.state
    room = state.limits.max_parallel_nodes - state.slots
    tokens = list(state.tokens(state.free, state.free_at)) if state.free_at < len(state.free) else []
    if room > 0 and state.queue_at < len(state.queue):
        queued = state.tokens(state.queue, state.queue_at)
        if state.phase is Phase.FAILING:
            queued = (token for token in queued if state.lets_start(cleanup=token.cleanup))
        tokens += islice(queued, room)
    if state.phase is Phase.FAILING:
        return [token for token in tokens if state.lets_start(cleanup=token.cleanup)]
    return tokens


def _plan(turn: Turn, token: Token) -> Plan:
    node = turn.graph.nodes[token.node]
    at = turn.standpoint(token.context)
    at.route, at.error = token.route, token.error
    at.salt = (node.id, turn.state.counts.get(node.id, 0), token.id)
    plan = Plan(token, Call(kind=Kind.PASS))
    try:
        if node.guard is not None and not turn.evaluate(node.guard, at):
            plan.skipped = True
        else:
            _fill(turn, node, at, plan)
    except LimitReached as reached:
        plan.limit = reached.failure
    except (ExpressionError, BadValue, ValueError) as error:
        plan.failure = invalid(error, node.id)
        plan.wrong_type = not isinstance(error, ExpressionError)
    return plan


def _fill(turn: Turn, node: Node, at: Standpoint, plan: Plan) -> None:
    """Evaluate everything a task needs to start."""
    if node.delay is not None:
        value = turn.evaluate(node.delay, at)
        plan.delay_s = float(whole(value)) if turn.graph.profile.strict_numbers else seconds(value)
    if node.items is not None:
        plan.items, plan.concurrency = _list(turn, node, at)
        return
    plan.call = render_call(turn, node, at)
    if node.wait is not None:
        plan.due = later(_due(turn, node, at), plan.delay_s)
        plan.delay_s = 0.0


def _list(turn: Turn, node: Node, at: Standpoint) -> tuple[tuple[Any, ...], int | None]:
    spec = node.items
    assert spec is not None
    values = turn.evaluate(spec.values, at)
    if not isinstance(values, list | tuple):
        if not spec.wrap:
            raise BadValue(f"the items of {node.id!r} are not a list")
        values = [values]
    check_items(turn, node.id, len(values))
    concurrency = turn.graph.profile.items_concurrency
    if spec.concurrency is not None:
        concurrency = max(whole(turn.evaluate(spec.concurrency, at)), 1)
    return tuple(values), concurrency


def _due(turn: Turn, node: Node, at: Standpoint) -> datetime:
    assert node.wait is not None
    if node.wait.until is not None:
        return moment(turn.evaluate(node.wait.until, at))
    assert node.wait.seconds is not None
    return later(turn.now, seconds(turn.evaluate(node.wait.seconds, at)))


def _start(turn: Turn, plan: Plan) -> None:
    """Enter a task."""
    state, token, call = turn.state, plan.token, plan.call
    limit = passed_by(turn, token)
    if limit is not None:
        fail(turn, limit, kind="limit")
        return
    number = state.counts.get(token.node, 0)
    child = child_id(state.execution_id, (token.node, number, None), 1) if call.kind is Kind.WORKFLOW else None
    turn.emit(
        events.NodeStarted(
            token=token.id,
            node=token.node,
            run=number,
            route=token.route,
            at=turn.now,
            kind=turn.graph.nodes[token.node].kind if plan.items is not None else call.kind,
            action=call.action,
            input=call.input,
            secrets=call.secrets,
            effect=call.effect,
            timeout_s=call.timeout_s,
            delay_s=plan.delay_s,
            items=plan.items,
            concurrency=plan.concurrency,
            child_id=child,
        )
    )
    _proceed(turn, plan, state.runs[token.node, number])


def _proceed(turn: Turn, plan: Plan, run: Run) -> None:
    """Whatever comes after entering: an end at once, a timer, or the first attempt."""
    key = (run.node, run.number, None)
    if plan.failure is not None:
        kind = "value_type" if plan.wrong_type else "expression"
        end_run(turn, run, Done(Outcome.FAILED, None, plan.failure, kind))
    elif plan.skipped:
        end_run(turn, run, Done(Outcome.SKIPPED, None, None))
    elif plan.delay_s > 0:
        turn.set_timer("delay", key, later(turn.now, plan.delay_s))
    elif plan.items is not None:
        return
    elif run.kind is Kind.PASS:
        end_run(turn, run, _passed(turn, run))
    elif plan.due is not None:
        turn.set_timer("wait", key, plan.due)
    else:
        launch(turn, turn.state.work[key])


def _passed(turn: Turn, run: Run) -> Done:
    """The end of a task without action; one that gathers has failed when something it gathers has."""
    names = turn.graph.nodes[run.node].gather
    if not names:
        return Done(Outcome.COMPLETED, None, None)
    at = turn.before(run)
    found = {name: at.find(name) for name in names}
    output = {name: None if other is None else other.output for name, other in found.items()}
    bad = [other for other in found.values() if other is not None and other.failure is not None]
    if not bad:
        return Done(Outcome.COMPLETED, output, None)
    cause = bad[0].failure
    assert cause is not None
    message = f"failed in {', '.join(other.node for other in bad)}: {cause.message}"
    return Done(Outcome.FAILED, output, Failure(type=cause.type, message=message, node=run.node))
