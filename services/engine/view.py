"""What readers want to know of a state, as JSON values: path, node states, metrics, trace, what it waits for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from models.records import NodeStatus
from services.engine.expressions import Template
from services.engine.graph import ActionFacts, Failure, Graph, Kind
from services.engine.output import final_context
from services.engine.scopes import time_text
from services.engine.state import ItemRecord, Run, State, Work
from services.engine.statuses import NODE_STATUS, Outcome, Stage

_WAITING = {Stage.DELAYED: "delay", Stage.RETRYING: "retry"}
_KINDS = {Kind.INQUIRY: "inquiry", Kind.WORKFLOW: "child", Kind.WAIT: "timer"}


def execution_path(state: State) -> list[str]:
    """Node ids in the order in which their runs started."""
    return [run.node for run in state.runs.values()]


def node_states(state: State) -> dict[str, dict[str, Any]]:
    """Every run of every node, keyed `node`, `node[1]` …; the items of a list follow the run they belong to.

    Tasks that may start but have not (no slot free, or the execution is paused) are `ready`.
    """
    shown: dict[str, dict[str, Any]] = {}
    numbers: dict[str, int] = {}

    def add(node: str, entry: dict[str, Any]) -> None:
        number = numbers.get(node, 0)
        numbers[node] = number + 1
        shown[f"{node}[{number}]" if number else node] = entry

    for run in state.runs.values():
        add(run.node, _run_state(state, run))
        for entry in _item_states(state, run):
            add(run.node, entry)
    if not state.ended:
        for _, token in sorted(state.staged.items()):
            add(token.node, _entry(token.node, NodeStatus.READY, metadata={"route": token.route or None}))
    return shown


def _run_state(state: State, run: Run) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "route": run.route or None,
        "item_index": None,
        "attempt": run.attempt,
        "run": run.number,
        "kind": run.kind,
    }
    if run.action is not None:
        metadata["action"] = run.action
    if run.items is not None:
        metadata["items"] = len(run.items.values)
    if run.reused:
        metadata["reused"] = True
    if run.undoes is not None:
        metadata["undoes"] = run.undoes[0]
    work = state.work.get((run.node, run.number, None))
    child = None if work is None else work.child_id
    if child is not None:
        metadata["child_execution_id"] = child
    entry = _entry(run.node, _status(state, run, work), metadata=metadata)
    entry |= {
        "started_at": _time(run.started_at),
        "completed_at": _time(run.ended_at or (state.ended_at if state.ended else None)),
        "input_data": run.input,
        "output_data": run.output,
        "retry_count": run.attempt - 1,
        **_error(run.failure),
    }
    return entry


def _status(state: State, run: Run, work: Work | None) -> NodeStatus:
    if run.outcome is not None:
        return NODE_STATUS[run.outcome]
    if state.ended:  # by force: nobody has written what became of it
        return NodeStatus.CANCELLED
    return NodeStatus.PAUSED if work is not None and work.paused else NodeStatus.RUNNING


def _item_states(state: State, run: Run) -> Iterator[dict[str, Any]]:
    """Items that have started, in item order."""
    if run.items is None:
        return
    for index in range(len(run.items.values)):
        record = run.items.records.get(index)
        work = state.work.get((run.node, run.number, index))
        if record is not None:
            yield _ended_item(run, index, record)
        elif work is not None:
            metadata = {"route": run.route or None, "item_index": index, "attempt": work.attempt, "run": run.number}
            entry = _entry(run.node, NodeStatus.PAUSED if work.paused else NodeStatus.RUNNING, metadata=metadata)
            yield entry | {
                "started_at": _time(work.since),
                "input_data": work.input,
                "retry_count": work.attempt - 1,
            }


def _ended_item(run: Run, index: int, record: ItemRecord) -> dict[str, Any]:
    metadata = {"route": run.route or None, "item_index": index, "attempt": record.attempt, "run": run.number}
    if record.reused:
        metadata["reused"] = True
    return _entry(run.node, NODE_STATUS[record.outcome], metadata=metadata) | {
        "started_at": _time(record.started_at),
        "completed_at": _time(record.at),
        "input_data": record.input,
        "output_data": record.output,
        "retry_count": record.attempt - 1,
        **_error(record.failure),
    }


def _entry(node: str, status: NodeStatus, *, metadata: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "node_id": node,
        "status": str(status),
        "started_at": None,
        "completed_at": None,
        "input_data": None,
        "output_data": None,
        "retry_count": 0,
        "logs": [],
        "error": None,
        "error_type": None,
        "metadata": dict(metadata),
    }


def _error(failure: Failure | None) -> dict[str, Any]:
    if failure is None:
        return {"error": None, "error_type": None}
    return {"error": failure.message, "error_type": str(failure.type)}


def _time(at: datetime | None) -> str | None:
    return None if at is None else time_text(at)


def waiting_for(state: State) -> list[dict[str, Any]]:
    """What the execution waits for that is not work of ours: people, times, children."""
    found: list[dict[str, Any]] = []
    for work in () if state.ended else _by_age(state):
        kind = _WAITING.get(work.stage) or (_KINDS[work.kind] if work.stage is Stage.WAITING else None)
        if kind is not None:
            timer = state.timers.get(work.deadline or work.timer or "")
            wait = _wait(kind, work.node, work.since, None if timer is None else timer.due, work.item)
            found.append(wait if work.child_id is None else {**wait, "child_execution_id": work.child_id})
    for key, items in state.lists.items():
        timer = state.timers.get(f"delay/{key[0]}/{key[1]}")
        if items.held and timer is not None:
            found.append(_wait("delay", key[0], state.last_at, timer.due, None))
    return found


def _by_age(state: State) -> list[Work]:
    return sorted(state.work.values(), key=lambda work: (work.since, work.node, work.run, work.item or 0))


def _wait(kind: str, node: str, since: datetime | None, until: datetime | None, item: int | None) -> dict[str, Any]:
    found = {"kind": kind, "node_id": node, "since": _time(since), "until": _time(until)}
    return found if item is None else {**found, "item_index": item}


def next_due(state: State) -> datetime | None:
    """When the earliest timer is due: `wake_at` of a parked execution."""
    return min((timer.due for timer in state.timers.values()), default=None)


def is_parkable(state: State) -> bool:
    """Whether no action is in flight, so that only inputs from outside move this on."""
    return state.slots == 0


def final_variables(state: State) -> dict[str, Any]:
    """The variables of all branches, as the output sees them."""
    return final_context(state).values()


def metrics(state: State, now: datetime) -> dict[str, Any]:
    """The figures of one execution, without those that only the shell knows."""
    runs = [run for run in state.runs.values() if not run.reused]
    times = [
        ((run.ended_at - run.started_at).total_seconds(), run.node)
        for run in runs
        if run.started_at is not None and run.ended_at is not None
    ]
    slowest, slowest_node = max(times, default=(0.0, None))
    began, ended = state.started_at or now, state.ended_at or now
    context = final_context(state)
    return {
        "execution_id": state.execution_id,
        "workflow_id": state.workflow.get("id"),
        "total_duration_seconds": (ended - began).total_seconds(),
        "node_count": len(state.graph.nodes),
        "nodes_executed": nodes_executed(state),
        "nodes_skipped": sum(run.outcome is Outcome.SKIPPED for run in runs),
        "nodes_failed": sum(run.outcome in (Outcome.FAILED, Outcome.TIMED_OUT) for run in runs),
        "average_node_time_seconds": sum(time for time, _ in times) / len(times) if times else 0.0,
        "slowest_node_id": slowest_node,
        "slowest_node_time_seconds": slowest,
        "variable_count": len(context.variables),
        "memory_used_mb": round(context.size / 1_000_000, 3),
        "timestamp": time_text(now),
    }


def nodes_executed(state: State) -> int:
    """Runs of this execution itself that were more than skipped."""
    return sum(not run.reused and run.outcome is not Outcome.SKIPPED for run in state.runs.values())


def trace(state: State) -> list[dict[str, Any]]:
    """What a dry run reports, in the order in which runs started; `simulated` is filled in by the shell."""
    entries: list[dict[str, Any]] = []
    for run in state.runs.values():
        duration = (run.ended_at - run.started_at).total_seconds() if run.ended_at and run.started_at else None
        status = NodeStatus.RUNNING if run.outcome is None else NODE_STATUS[run.outcome]
        entries.append(
            {
                "node_id": run.node,
                "status": str(status),
                "duration_seconds": duration,
                "input": run.input,
                "output": run.output,
                "logs": [],
                **_error(run.failure),
                "simulated": False,
            }
        )
    return entries


def literal_actions(graph: Graph) -> tuple[str, ...]:
    """Every action and workflow ref that tasks name outright, for `Begin.actions`."""
    refs: dict[str, None] = {}
    for node in graph.nodes.values():
        action = node.action
        if isinstance(action, Template) and action.is_literal and isinstance(action.source, str):
            refs[action.source] = None
    return tuple(refs)


def effects(graph: Graph, actions: Mapping[str, ActionFacts]) -> dict[str, str]:
    """The effect of every node whose action is known before it runs."""
    found: dict[str, str] = {}
    for node in graph.nodes.values():
        facts = actions.get(node.action.source) if node.action is not None and _is_text(node.action.source) else None
        if facts is not None:
            found[node.id] = str(facts.effect)
    return found


def _is_text(value: Any) -> bool:
    return isinstance(value, str)
