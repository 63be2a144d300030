"""Pages of executions: by offset near the beginning, by keyset however deep; counted up to a cap."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from models.executions import COLUMNS, ExecutionRow

CAP = 10_000
SORTS = {"start_time": "start_time", "status": "status", "execution_time": "COALESCE(execution_time_seconds, -1)"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionFilter:
    """Which executions of a workflow; fields that are None do not restrict."""

    workflow_id: UUID
    package_id: str | None = None
    status: str | None = None
    community_id: int | None = None
    started_after: datetime | None = None
    started_before: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionPage:
    """Which part of them. `after`: the sort key and the id of the last row seen."""

    limit: int
    offset: int = 0
    sort_by: str = "start_time"
    descending: bool = True
    after: tuple[Any, UUID] | None = None


async def page(db: Any, wanted: ExecutionFilter, at: ExecutionPage) -> list[ExecutionRow]:
    """One page."""
    where, values = _conditions(wanted)
    column, order = SORTS[at.sort_by], "DESC" if at.descending else "ASC"
    if at.after is not None:
        where.append(f"({column}, execution_id) {'<' if at.descending else '>'} (:after_key, :after_id)")
        values |= {"after_key": at.after[0], "after_id": at.after[1]}
    text = (
        f"SELECT {COLUMNS} FROM workflow_executions WHERE {' AND '.join(where)}"
        f" ORDER BY {column} {order}, execution_id {order} LIMIT :limit OFFSET :offset"
    )
    values |= {"limit": at.limit, "offset": at.offset}
    return [ExecutionRow(**row) for row in await db.sql(text, into=db.workflow_executions, **values)]


async def count(db: Any, wanted: ExecutionFilter) -> int:
    """How many there are, at most 10,001."""
    where, values = _conditions(wanted)
    text = (
        f"SELECT count(*) AS n FROM (SELECT 1 FROM workflow_executions WHERE {' AND '.join(where)} LIMIT :cap) AS found"
    )
    return int(await db.sql(text, into=db.workflow_executions, cap=CAP + 1, **values).scalar())


def key_of(row: ExecutionRow, sort_by: str) -> Any:
    """The sort key of a row."""
    if sort_by == "execution_time":
        return -1.0 if row.execution_time_seconds is None else row.execution_time_seconds
    return row.status if sort_by == "status" else row.start_time


def _conditions(wanted: ExecutionFilter) -> tuple[list[str], dict[str, Any]]:
    where, values = ["workflow_id = :workflow_id"], {"workflow_id": wanted.workflow_id}
    tests = (("package_id", "package_id = "), ("status", "status = "), ("community_id", "community_id = "))
    times = (("started_after", "start_time >= "), ("started_before", "start_time < "))
    for name, test in (*tests, *times):
        value = getattr(wanted, name)
        if value is not None:
            where.append(f"{test}:{name}")
            values[name] = value
    return where, values
