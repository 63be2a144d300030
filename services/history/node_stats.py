"""How long single nodes of a workflow take, from its newest runs that are still kept."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any
from uuid import UUID

from models import own_runs, runs
from models.runs import WorkflowRuns
from services.history.node_facts import NodeFacts, of_events, of_logs

NEWEST = 50
"""Runs whose nodes are read: enough for a percentile, few enough to read at every request."""


async def of_workflow(db: Any, wanted: WorkflowRuns) -> list[dict[str, Any]]:
    """`[{node, runs, duration_ms: {p50, p95, average}}]` of the newest runs, the slowest node first."""
    newest = await runs.workflow_page(db, wanted, after=None, skip=0, count=NEWEST)
    ended = [run for run in newest if run.status != "running"]
    engine = {UUID(run.run_id) for run in ended if run.source == "engine"}
    rows: dict[UUID, list[str]] = defaultdict(list)
    for row in await own_runs.events(db, sorted(engine)):
        rows[row["execution_id"]].append(row["events"])
    logs = await own_runs.node_logs(db, [run.id for run in ended if run.source != "engine"])
    facts = [of_events(events) for events in rows.values()] + [of_logs(row["node_logs"]) for row in logs]
    return figures(facts)


def figures(facts: Iterable[NodeFacts]) -> list[dict[str, Any]]:
    """Percentiles by node, in milliseconds, the slowest node first. Pure."""
    seconds: dict[str, list[float]] = defaultdict(list)
    for run in facts:
        for node, took in run.seconds.items():
            seconds[node].append(took)
    found = [
        {
            "node": node,
            "runs": len(times),
            "duration_ms": {
                "p50": _percentile(times, 0.50),
                "p95": _percentile(times, 0.95),
                "average": round(1000 * sum(times) / len(times)),
            },
        }
        for node, times in seconds.items()
    ]
    return sorted(found, key=lambda one: (-one["duration_ms"]["p50"], one["node"]))


def _percentile(seconds: list[float], q: float) -> int:
    return round(1000 * sorted(seconds)[int(q * (len(seconds) - 1))])
