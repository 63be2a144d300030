"""What came after a failure: the next success of the same workflow, and what it was given."""

from __future__ import annotations

from typing import Any

from models.runs import SUMMARY, RunSummary


async def next_success(db: Any, run: RunSummary) -> RunSummary | None:
    """The first completed run of the same package id and community that was created after `run`."""
    row = await db.sql(
        f"SELECT {SUMMARY} FROM workflow_runs w WHERE w.wpk_id = :wpk AND w.status = 'completed'"
        " AND (w.created_at, w.id) > (:at, :id) AND COALESCE(w.community_id, 0) = :community"
        " ORDER BY w.created_at, w.id LIMIT 1",
        into=db.workflow_runs,
        wpk=run.wpk_id,
        at=run.created_at,
        id=run.id,
        community=run.community_id or 0,
    ).first()
    return RunSummary(**row) if row else None


async def rerun_success(db: Any, run: RunSummary) -> RunSummary | None:
    """The completed re-run of an execution, where there is one."""
    row = await db.sql(
        f"SELECT {SUMMARY} FROM workflow_executions e JOIN workflow_runs w"
        " ON w.source = 'engine' AND w.run_id = CAST(e.execution_id AS text)"
        " WHERE CAST(e.rerun_of AS text) = :run AND e.status = 'completed' ORDER BY w.created_at LIMIT 1",
        into=db.workflow_runs,
        run=run.run_id,
    ).first()
    return RunSummary(**row) if row else None
