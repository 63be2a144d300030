"""An execution as the API shows it: the summary row and the fold of its events in one object. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from models.executions import ExecutionRow
from services.engine import view
from services.engine.events import Event, Logged
from services.engine.state import State

Place = tuple[str, int, int | None]
Lines = dict[Place, list[dict[str, Any]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Show:
    """What the caller wants to see."""

    logs: bool = True
    io: bool = True
    metrics: bool = False


def summary(row: ExecutionRow) -> dict[str, Any]:
    """One line of a list. `success` is null while it runs."""
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
    failure = state.failure or state.fatal
    return {
        "execution_id": row.execution_id,
        "workflow_id": row.workflow_id,
        "workflow_ref": row.workflow_ref,
        "workflow_version": row.workflow_version,
        "status": row.status,
        "start_time": row.start_time,
        "end_time": row.end_time,
        "execution_time_seconds": row.execution_time_seconds,
        "execution_path": view.execution_path(state),
        "node_states": node_states(state, lines, show),
        "variables": dict(state.parameters) if show.io else None,
        "final_variables": view.final_variables(state) if show.io else None,
        "final_output": state.output if show.io else None,
        "error_message": failure.message if failure is not None else None,
        "error_node_id": failure.node if failure is not None else None,
        "error_type": failure.type if failure is not None else None,
        "waiting_for": view.waiting_for(state),
        "parent_execution_id": row.parent_execution_id,
        "rerun_of": row.rerun_of,
        "triggered_by": row.triggered_by,
        "metadata": row.metadata,
    }


def node_states(state: State, lines: Lines, show: Show) -> dict[str, Any]:
    """Every run of every node, with the lines its actions wrote."""
    entries = view.node_states(state)
    for entry in entries.values():
        metadata = entry["metadata"]
        if show.logs and "run" in metadata:
            entry["logs"] = lines.get((entry["node_id"], metadata["run"], metadata["item_index"]), [])
        if not show.io:
            entry["input_data"] = entry["output_data"] = None
    return entries


def collect_lines(events: Iterable[Event]) -> Lines:
    """What actions wrote into their logs, by the place of the attempt."""
    found: Lines = {}
    for event in events:
        if isinstance(event, Logged):
            kept = found.setdefault((event.node, event.run, event.item), [])
            kept += [{"at": event.at, "attempt": event.attempt, **line} for line in event.lines]
    return found
