"""Figures of a workflow's runs from the daily aggregates, which outlive the runs themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from models.runs import RunSql, WorkflowRuns


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """One status on one day: how many runs, how long together (ms), and the histogram of their durations."""

    day: str
    status: str
    runs: int
    duration_ms_sum: int
    durations: Mapping[str, int] | None


async def days(db: Any, wanted: WorkflowRuns, *, since: str) -> list[Day]:
    """The days from `since` (YYYY-MM-DD) on, oldest first; a day may appear once per package id and community."""
    sql = RunSql.of(db)
    where = [sql.any_of("wpk_id", wanted.packages, "text"), f"day >= {sql.bind(since)}"]
    if wanted.communities is not None:
        where.append(sql.any_of("community_id", wanted.communities, "bigint"))
    rows = await db.sql(
        f"SELECT day, status, runs, duration_ms_sum, durations FROM workflow_daily WHERE {' AND '.join(where)}"
        " ORDER BY day, status",
        into=db.workflow_daily,
        **sql.values,
    )
    return [Day(**row) for row in rows]
