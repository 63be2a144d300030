"""Whose turn it is: executions that wait to be driven, by workflow, and what is driven now. One function, one statement.

All of it reads small parts of indexes that hold only executions nobody drives: a hundred thousand that are due cost a
sweep no more than a hundred.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from models.dal import AsyncDAL

FIRST = UUID(int=0)
"""Before every workflow."""
WAITS = "ended_at IS NULL AND driver IS NULL AND wake_at <= {soon} AND engine_version <= :engine"
SOON_PG = "now() + interval '1 second'"
SOON_SQLITE = "strftime('%Y-%m-%dT%H:%M:%f000Z', 'now', '+1 second')"
COLUMNS = "execution_id, workflow_id, key_id, max_parallel"
_NEXT = """(
  SELECT x.workflow_id FROM workflow_executions x
  WHERE x.workflow_id > {after} AND x.ended_at IS NULL AND x.driver IS NULL AND x.wake_at IS NOT NULL
  ORDER BY x.workflow_id LIMIT 1)"""
WORKFLOWS = f"""
WITH RECURSIVE found(id) AS (
  SELECT {_NEXT.format(after=":after")}
  UNION ALL
  SELECT {_NEXT.format(after="found.id")} FROM found WHERE found.id IS NOT NULL
)
SELECT id AS workflow_id FROM found
WHERE id IS NOT NULL AND (SELECT 1 FROM workflow_executions WHERE workflow_id = found.id AND {WAITS} LIMIT 1) = 1
LIMIT :count
"""
"""In order of their id, which the next call continues behind: as EXISTS, PostgreSQL may make a join of it, in any order."""
_SHARE = f"""
SELECT {COLUMNS} FROM workflow_executions
WHERE workflow_id = {{workflow}} AND {WAITS} AND (key_id IS NULL OR NOT {{full}})
ORDER BY wake_at, execution_id LIMIT :each
"""
SHARES_PG = f"""
SELECT share.* FROM unnest(CAST(:workflows AS uuid[])) AS w(id)
CROSS JOIN LATERAL ({_SHARE.format(workflow="w.id", full="key_id = ANY(:full)", soon=SOON_PG)}) AS share
"""
SHARES_SQLITE = f"""
SELECT {", ".join(f"x.{name}" for name in COLUMNS.split(", "))} FROM json_each(:workflows) AS w
JOIN workflow_executions x ON x.execution_id IN (SELECT execution_id FROM (
  {_SHARE.format(workflow="w.value", full="key_id IN (SELECT value FROM json_each(:full))", soon=SOON_SQLITE)}))
ORDER BY w.id, x.wake_at, x.execution_id
"""
DUE = f"SELECT {COLUMNS} FROM workflow_executions WHERE {WAITS} ORDER BY wake_at LIMIT :count"
BACKLOG = f"SELECT count(*) FROM (SELECT 1 FROM workflow_executions WHERE {WAITS} LIMIT :most) AS waiting"
LIVE = """
SELECT workflow_id, key_id, count(*) AS n FROM workflow_executions {index}
WHERE ended_at IS NULL AND driver IS NOT NULL GROUP BY workflow_id, key_id
"""
OF_DRIVERS = "INDEXED BY workflow_executions_driver"
"""SQLite would rather group by an index of everything there ever was."""
ASKED = f"""
SELECT {COLUMNS} FROM workflow_executions WHERE execution_id {{belongs}}
  AND ended_at IS NULL AND driver IS NULL AND status = 'running' AND max_parallel IS NOT NULL AND engine_version <= :engine
ORDER BY wake_at, execution_id
"""
ONE_AT_A_TIME = """
SELECT set_config('idle_in_transaction_session_timeout', '3000', true), pg_advisory_xact_lock(7205759403792793)
"""
"""Held while turns are given out, so that two workers never give out the same one; a frozen worker loses it after 3 s."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """An execution that could be driven. `most`: executions of its workflow at once, 0 = any number; None = no limit holds
    for it at all, its key's neither."""

    execution_id: UUID
    workflow_id: UUID | None
    key_id: UUID | None
    most: int | None


@dataclass(frozen=True, slots=True)
class Live:
    """How many executions of one workflow and key are driven now."""

    workflow_id: UUID | None
    key_id: UUID | None
    n: int


def _text(db: AsyncDAL, sql: str) -> str:
    return sql.format(soon=SOON_PG if db.engine == "postgres" else SOON_SQLITE)


def _ids(db: AsyncDAL, ids: Sequence[UUID]) -> list[Any]:
    return list(ids) if db.engine == "postgres" else [str(id_) for id_ in ids]


def _waiting(rows: Sequence[Any]) -> list[Waiting]:
    return [Waiting(row["execution_id"], row["workflow_id"], row["key_id"], row["max_parallel"]) for row in rows]


async def due(db: AsyncDAL, *, engine: int, count: int) -> list[Waiting]:
    """Executions nobody drives whose time has come (or comes within a second), the oldest first."""
    return _waiting(await db.sql(_text(db, DUE), into=db.workflow_executions, engine=engine, count=count))


async def workflows(db: AsyncDAL, *, engine: int, after: UUID, count: int) -> list[UUID]:
    """The next workflows behind `after` that have something due."""
    sql = _text(db, WORKFLOWS)
    rows = await db.sql(sql, into=db.workflow_executions, engine=engine, after=after, count=count)
    return [row["workflow_id"] for row in rows]


async def shares(db: AsyncDAL, ids: Sequence[UUID], *, engine: int, each: int, full: Sequence[UUID]) -> list[Waiting]:
    """The oldest `each` that are due of every one of these workflows, but none of the keys in `full`."""
    values = {"workflows": _ids(db, ids), "full": _ids(db, full), "engine": engine, "each": each}
    return _waiting(await db.sql(pg=SHARES_PG, sqlite=SHARES_SQLITE, into=db.workflow_executions, **values))


async def live(db: AsyncDAL) -> list[Live]:
    """What is driven now. An execution whose driver has died keeps its place until somebody takes it over."""
    sql = LIVE.format(index="" if db.engine == "postgres" else OF_DRIVERS)
    rows = await db.sql(sql, into=db.workflow_executions)
    return [Live(row["workflow_id"], row["key_id"], row["n"]) for row in rows]


async def asked(db: AsyncDAL, ids: Sequence[UUID], *, engine: int) -> list[Waiting]:
    """Those of `ids` that wait under a limit, the oldest first."""
    belongs = "= ANY(:ids)" if db.engine == "postgres" else "IN (SELECT value FROM json_each(:ids))"
    sql = ASKED.format(belongs=belongs)
    return _waiting(await db.sql(sql, into=db.workflow_executions, ids=_ids(db, ids), engine=engine))


async def one_at_a_time(db: AsyncDAL) -> None:
    """Wait until no other worker gives out turns, for the rest of the transaction (PostgreSQL)."""
    await db.sql(ONE_AT_A_TIME)


async def backlog(db: AsyncDAL, *, engine: int, most: int) -> int:
    """How many executions are due and nobody drives them; at most `most` are counted."""
    return int(await db.sql(_text(db, BACKLOG), engine=engine, most=most).scalar())
