"""Runs and executions as series over time: counted by the database, step by step."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from models.run_facts import RunFilter
from models.runs import RunSql, conditions

MOST = 200_000
"""Rows one answer may have: steps times workflows."""


def _epoch(sql: RunSql, column: str) -> str:
    if sql.postgres:
        return f"floor(extract(epoch FROM {column}))::bigint"
    return f"CAST(strftime('%s', {column}) AS INTEGER)"


async def counted(db: Any, runs: RunFilter, *, step_s: int) -> list[Any]:
    """Per step and workflow, oldest first: `step, wpk_id, runs, failures, timed, duration_ms` (sum of the timed)."""
    sql = RunSql.of(db)
    step = f"{_epoch(sql, 'w.created_at')} / CAST({sql.bind(step_s)} AS bigint)"
    where = " AND ".join(conditions(sql, runs)) or "1 = 1"
    text = (
        f"SELECT {step} AS step, w.wpk_id AS wpk_id, count(*) AS runs,"
        " sum(CASE WHEN w.status IN ('failed', 'interrupted') THEN 1 ELSE 0 END) AS failures,"
        " count(w.duration_ms) AS timed, COALESCE(sum(w.duration_ms), 0) AS duration_ms"
        f" FROM workflow_runs w WHERE {where} GROUP BY 1, 2 ORDER BY 1, 2 LIMIT {sql.bind(MOST)}"
    )
    return list(await db.sql(text, **sql.values))


async def first_created(db: Any, runs: RunFilter) -> datetime | None:
    """When the oldest of these runs was created."""
    sql = RunSql.of(db)
    where = " AND ".join(conditions(sql, runs)) or "1 = 1"
    text = f"SELECT w.created_at FROM workflow_runs w WHERE {where} ORDER BY w.created_at LIMIT 1"
    row = await db.sql(text, into=db.workflow_runs, **sql.values).first()
    return row["created_at"] if row else None


async def spans(db: Any, runs: RunFilter, *, start: datetime, end: datetime) -> list[tuple[datetime, datetime | None]]:
    """Start and end of the executions alive at some time between `start` and `end`."""
    sql = RunSql.of(db)
    where = [f"w.start_time <= {sql.bind(end)}", f"(w.end_time IS NULL OR w.end_time >= {sql.bind(start)})"]
    if not runs.visible.everything:
        members = sql.any_of("COALESCE(w.community_id, 0)", {0, *runs.visible.communities}, "bigint")
        workflows = sql.any_of("w.workflow_id", [str(w) for w in runs.visible.workflows], "uuid")
        where.append(f"((w.workflow_id IS NULL AND {members}) OR {workflows})")
    if runs.wpk_id is not None:
        where.append(f"w.package_id = {sql.bind(runs.wpk_id)}")
    text = (
        f"SELECT w.start_time, w.end_time FROM workflow_executions w WHERE {' AND '.join(where)}"
        f" ORDER BY w.start_time LIMIT {sql.bind(MOST)}"
    )
    return [
        (row["start_time"], row["end_time"]) for row in await db.sql(text, into=db.workflow_executions, **sql.values)
    ]
