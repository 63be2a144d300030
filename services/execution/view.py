"""An execution as the API shows it: its nodes, where it stands, what it waited for. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from models.executions import ExecutionRow
from models.records import NodeStatus
from services.engine.events import Event, Logged
from services.engine.graph import Failure
from services.engine.state import ItemRecord, Run, State
from services.engine.statuses import ENDED, NODE_STATUS, Phase, Stage

Lines = Mapping[tuple[str, int, int | None], list[dict[str, Any]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Show:
    """What the caller wants to see."""

    logs: bool = True
    io: bool = True


def summary(row: ExecutionRow) -> dict[str, Any]:
    """One line of a list."""
    return {
        "execution_id": row.execution_id,
        "workflow_id": row.workflow_id,
        "status": row.status,
        "start_time": row.start_time,
        "end_time": row.end_time,
        "execution_time_seconds": row.execution_time_seconds,
        "nodes_executed": row.nodes_executed,
        "error": row.error_message,
        "success": row.status == "completed" if row.ended_at is not None else None,
    }


def execution(row: ExecutionRow, state: State, lines: Lines, show: Show) -> dict[str, Any]:
    """Everything about an execution."""
    variables = dict(state.parameters)
    return {
        "execution_id": row.execution_id,
        "workflow_id": row.workflow_id,
        "workflow_ref": row.workflow_ref,
        "workflow_version": row.workflow_version,
        "status": row.status,
        "start_time": row.start_time,
        "end_time": row.end_time,
        "execution_time_seconds": row.execution_time_seconds,
        "execution_path": execution_path(state),
        "node_states": node_states(state, lines, show),
        "variables": variables if show.io else None,
        "final_variables": final_variables(state) if show.io else None,
        "final_output": state.output if show.io else None,
        "error_message": row.error_message or (state.fatal.message if state.fatal is not None else None),
        "error_node_id": row.error_node_id or (state.fatal.node if state.fatal is not None else None),
        "error_type": row.error_type or (state.fatal.type if state.fatal is not None else None),
        "waiting_for": row.waiting_for or [],
        "parent_execution_id": row.parent_execution_id,
        "rerun_of": row.rerun_of,
        "triggered_by": row.triggered_by,
        "metadata": row.metadata,
    }


def execution_path(state: State) -> list[str]:
    """Node ids in the order in which their runs started."""
    return [run.node for run in state.runs.values()]


def final_variables(state: State) -> dict[str, Any]:
    """The variables of all branches that have ended, joined; while it runs, of those that have ended so far."""
    context = state.leaves if state.leaves is not None else state.root
    return {name: variable.value for name, variable in context.variables.items() if not name.startswith("__")}


# ---- nodes -----------------------------------------------------------------------------------------------------------


def node_states(state: State, lines: Lines, show: Show) -> dict[str, Any]:
    """One entry per run of a node, item by item: `node`, `node[1]`, `node[2]` …"""
    entries: dict[str, Any] = {}
    seen: dict[str, int] = {}
    for run in state.runs.values():
        for entry in _entries(state, run, lines, show):
            number = seen.get(run.node, 0)
            seen[run.node] = number + 1
            entries[run.node if number == 0 else f"{run.node}[{number}]"] = entry
    for token in state.staged.values():
        entries.setdefault(token.node, _waiting(token.node, token.route))
    return entries


def _entries(state: State, run: Run, lines: Lines, show: Show) -> Iterable[dict[str, Any]]:
    if run.items is None or not run.items.values:
        yield _entry(state, run, lines, show)
        return
    for index in range(len(run.items.values)):
        record = run.items.records.get(index)
        if record is not None:
            yield _ended_item(run, index, record, (lines, show))
        elif (run.node, run.number, index) in state.work:
            yield _running_item(state, run, index, (lines, show))


def _entry(state: State, run: Run, lines: Lines, show: Show) -> dict[str, Any]:
    work = state.work.get((run.node, run.number, None))
    attempt = work.attempt if work is not None else run.attempt
    return {
        "node_id": run.node,
        "status": _status(state, run),
        "started_at": run.started_at,
        "completed_at": run.ended_at,
        "input_data": run.input if show.io else None,
        "output_data": run.output if show.io else None,
        "retry_count": attempt - 1,
        "logs": _lines(lines, (run.node, run.number, None), show),
        **_failure(run.failure),
        "metadata": _metadata(run, attempt),
    }


def _ended_item(run: Run, index: int, record: ItemRecord, how: tuple[Lines, Show]) -> dict[str, Any]:
    lines, show = how
    return {
        "node_id": run.node,
        "status": NODE_STATUS[record.outcome],
        "started_at": record.started_at,
        "completed_at": record.at,
        "input_data": record.input if show.io else None,
        "output_data": record.output if show.io else None,
        "retry_count": record.attempt - 1,
        "logs": _lines(lines, (run.node, run.number, index), show),
        **_failure(record.failure),
        "metadata": _metadata(run, record.attempt) | {"item_index": index, "reused": record.reused},
    }


def _running_item(state: State, run: Run, index: int, how: tuple[Lines, Show]) -> dict[str, Any]:
    lines, show = how
    work = state.work[run.node, run.number, index]
    return {
        "node_id": run.node,
        "status": NodeStatus.RUNNING,
        "started_at": work.since,
        "completed_at": None,
        "input_data": work.input if show.io else None,
        "output_data": None,
        "retry_count": work.attempt - 1,
        "logs": _lines(lines, (run.node, run.number, index), show),
        **_failure(None),
        "metadata": _metadata(run, work.attempt) | {"item_index": index},
    }


def _waiting(node: str, route: str) -> dict[str, Any]:
    return {
        "node_id": node,
        "status": NodeStatus.READY,
        "started_at": None,
        "completed_at": None,
        "input_data": None,
        "output_data": None,
        "retry_count": 0,
        "logs": [],
        **_failure(None),
        "metadata": {"route": route, "item_index": None, "attempt": 0},
    }


def _status(state: State, run: Run) -> NodeStatus:
    if run.outcome is not None:
        return NODE_STATUS[run.outcome]
    if state.phase in (Phase.PAUSED, Phase.PAUSING):
        work = state.work.get((run.node, run.number, None))
        if work is None or work.stage in (Stage.DELAYED, Stage.RETRYING):
            return NodeStatus.PAUSED
    return NodeStatus.CANCELLED if state.phase in ENDED else NodeStatus.RUNNING


def _metadata(run: Run, attempt: int) -> dict[str, Any]:
    return {
        "route": run.route,
        "item_index": None,
        "attempt": attempt,
        "kind": run.kind,
        "action": run.action,
        "effect": run.effect,
        "reused": run.reused,
        "timed_out": run.outcome == "timed_out",
    }


def _failure(failure: Failure | None) -> dict[str, Any]:
    return {
        "error": failure.message if failure is not None else None,
        "error_type": failure.type if failure is not None else None,
        "error_details": failure.details if failure is not None else None,
    }


def _lines(lines: Lines, key: tuple[str, int, int | None], show: Show) -> list[dict[str, Any]]:
    return lines.get(key, []) if show.logs else []


def collect_lines(events: Iterable[Event]) -> dict[tuple[str, int, int | None], list[dict[str, Any]]]:
    """What actions wrote into their logs, by attempt's place."""
    found: dict[tuple[str, int, int | None], list[dict[str, Any]]] = {}
    for event in events:
        if isinstance(event, Logged):
            kept = found.setdefault((event.node, event.run, event.item), [])
            kept += [{"at": event.at, "attempt": event.attempt, **line} for line in event.lines]
    return found


# ---- metrics ---------------------------------------------------------------------------------------------------------


def metrics(row: ExecutionRow, state: State, *, now: datetime, memory_mb: float) -> dict[str, Any]:
    """Figures of one execution. `memory_used_mb` is that of the server process."""
    runs = list(state.runs.values())
    took = {f"{run.node}": _seconds(run) for run in runs if run.ended_at is not None and run.started_at is not None}
    slowest = max(took, key=lambda node: took[node], default=None)
    statuses = [_status(state, run) for run in runs]
    total = row.execution_time_seconds
    return {
        "execution_id": row.execution_id,
        "workflow_id": row.workflow_id,
        "total_duration_seconds": total if total is not None else (now - row.start_time).total_seconds(),
        "node_count": len(state.graph.nodes),
        "nodes_executed": len(runs),
        "nodes_skipped": statuses.count(NodeStatus.SKIPPED),
        "nodes_failed": statuses.count(NodeStatus.FAILED),
        "average_node_time_seconds": sum(took.values()) / len(took) if took else 0.0,
        "slowest_node_id": slowest,
        "slowest_node_time_seconds": took[slowest] if slowest is not None else 0.0,
        "variable_count": len(final_variables(state)),
        "memory_used_mb": memory_mb,
        "timestamp": now,
    }


def _seconds(run: Run) -> float:
    assert run.ended_at is not None
    assert run.started_at is not None
    return (run.ended_at - run.started_at).total_seconds()
