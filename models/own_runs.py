"""Runs of one workflow as the own-run insights read them: the newest, without payloads."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from models.dal import AsyncDAL, Call
from models.runs import RunSql

LEASE = "lease"


async def recent(
    db: Any, packages: Sequence[str], *, since: datetime, count: int, communities: frozenset[int] | None = None
) -> list[Any]:
    """The newest ended runs, newest first: `id, run_id, created_at, status, duration_ms, workflow_version, error, source`.

    `communities` (0 = none): only those of no registered workflow in one of these.
    """
    sql = RunSql.of(db)
    where = (
        f"{sql.any_of('w.wpk_id', packages, 'text')} AND w.created_at >= {sql.bind(since)} AND w.status <> 'running'"
    )
    if communities is not None:
        where += f" AND w.workflow_id IS NULL AND {sql.any_of('COALESCE(w.community_id, 0)', communities, 'bigint')}"
    text = (
        "SELECT w.id, w.run_id, w.created_at, w.status, w.duration_ms, w.workflow_version, w.error, w.source"
        f" FROM workflow_runs w WHERE {where} ORDER BY w.created_at DESC, w.id DESC LIMIT {sql.bind(count)}"
    )
    return list(await db.sql(text, into=db.workflow_runs, **sql.values))


async def node_logs(db: Any, runs: Sequence[UUID]) -> list[Any]:
    """What other runners told of their nodes: `id, node_logs`."""
    w = db.workflow_runs
    return list(await db(w.id.belongs(list(runs))).select(w.id, w.node_logs)) if runs else []


async def events(db: Any, executions: Sequence[UUID]) -> list[Any]:
    """What our own executions did: `execution_id, events` (JSON text), in order."""
    e = db.execution_event
    if not executions:
        return []
    rows = await db(e.execution_id.belongs(list(executions))).select(
        e.execution_id, e.events, orderby=e.execution_id | e.seq
    )
    return list(rows)


async def changed(db: Any, *, since: datetime) -> list[Any]:
    """Packages with runs since then: `wpk_id, latest`."""
    return list(
        await db.sql(
            "SELECT w.wpk_id AS wpk_id, max(w.created_at) AS created_at FROM workflow_runs w"
            " WHERE w.created_at >= :since GROUP BY w.wpk_id",
            into=db.workflow_runs,
            since=since,
        )
    )


async def known(db: Any, *, since_day: str) -> list[str]:
    """Packages that ran on or after a day (YYYY-MM-DD), at most 20,000."""
    rows = await db.sql(
        "SELECT DISTINCT wpk_id FROM workflow_daily WHERE day >= :day ORDER BY wpk_id LIMIT 20000", day=since_day
    )
    return [row["wpk_id"] for row in rows]


async def signalled(db: Any, series: Sequence[str], *, since: datetime) -> set[str]:
    """Which of these series have a signal since then."""
    s = db.insight_signals
    if not series:
        return set()
    rows = await db(s.series.belongs(list(series)) & (s.created_at >= since)).select(s.series)
    return {row.series for row in rows}


def first_turn(db: AsyncDAL, name: str, *, at: datetime) -> Call[int]:
    """Make the row that workers take turns with; nothing when it is there."""
    s = db.series_state
    call: Call[int] = s.upsert((s.series, s.kind), update=(), series=name, kind=LEASE, bar=0.0, updated_at=at)
    return call


def take_turn(db: AsyncDAL, name: str, *, at: datetime, last_before: datetime) -> Call[int]:
    """Take the turn if nobody has since `last_before`: of all workers only one changes a row."""
    s = db.series_state
    mine = (s.series == name) & (s.kind == LEASE) & (s.updated_at <= last_before)
    call: Call[int] = db(mine).update(updated_at=at)
    return call


async def published(db: Any, workflow_id: UUID, version: str) -> Any | None:
    """When and by whom a version was published first: `created, name`."""
    return await db.sql(
        "SELECT v.created AS created, u.name AS name FROM workflow_version v LEFT JOIN app_user u ON u.id = v.created_by"
        " WHERE v.workflow_id = :workflow AND v.version = :version ORDER BY v.revision DESC LIMIT 1",
        into=(db.workflow_version, db.app_user),
        workflow=workflow_id,
        version=version,
    ).first()
