"""Statements about executions, their events and the workers that drive them: one function, one statement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any
from uuid import UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionRow:
    """The summary of one execution. `driver` is the worker that holds it, None when nobody does."""

    execution_id: UUID
    workflow_id: UUID | None
    workflow_ref: str
    workflow_version: str
    package_id: str
    version_id: UUID
    community_id: int | None
    status: str
    start_time: datetime
    end_time: datetime | None
    execution_time_seconds: float | None
    nodes_executed: int
    error_message: str | None
    error_node_id: str | None
    error_type: str | None
    final_output: Any
    parent_execution_id: UUID | None
    parent_node: str | None
    depth: int
    rerun_of: UUID | None
    triggered_by: int | None
    key_id: UUID | None
    metadata: Any
    traceparent: str | None
    engine_version: int
    driver: UUID | None
    epoch: int
    wake_no: int
    wake_at: datetime | None
    waiting_for: Any
    takeovers: int
    takeover_seq: int
    max_parallel: int | None
    ended_at: datetime | None


COLUMNS = ", ".join(field.name for field in fields(ExecutionRow))

GET = f"SELECT {COLUMNS} FROM workflow_executions WHERE execution_id = :id"
EVENTS = (
    "SELECT seq, driver, epoch, v, events, at FROM execution_event"
    " WHERE execution_id = :id AND seq > :after ORDER BY seq LIMIT :count"
)
EVENTS_OF_MANY = """
SELECT execution_id, seq, driver, epoch, v, events, at FROM execution_event
WHERE execution_id = ANY(:ids) AND seq > :after ORDER BY execution_id, seq
"""
PAYLOADS = "SELECT n, body FROM payload WHERE execution_id = :id AND n >= :first ORDER BY n"
CHILDREN = f"SELECT {COLUMNS} FROM workflow_executions WHERE parent_execution_id = :id"
OF_KEY = "SELECT route, body_hash, resource_id FROM idempotency_key WHERE user_id = :user AND key = :key"


async def get(db: Any, execution_id: UUID) -> ExecutionRow | None:
    """The execution's row, or None."""
    row = await db.sql(GET, into=db.workflow_executions, id=execution_id).first()
    return None if row is None else ExecutionRow(**row)


async def events_after(db: Any, execution_id: UUID, after: int, *, count: int = 100_000) -> list[Any]:
    """The event rows with a greater `seq`, oldest first: seq, driver, epoch, v, events, at."""
    rows: list[Any] = await db.sql(EVENTS, into=db.execution_event, id=execution_id, after=after, count=count)
    return rows


async def events_of_many(db: Any, ids: Sequence[UUID], after: int) -> list[Any]:
    """The event rows of these executions with a greater `seq`, by execution and oldest first (PostgreSQL)."""
    rows: list[Any] = await db.sql(EVENTS_OF_MANY, into=db.execution_event, ids=list(ids), after=after)
    return rows


async def payloads(db: Any, execution_id: UUID, *, first: int) -> dict[int, str]:
    """Large bodies by number, from `first` on."""
    rows = await db.sql(PAYLOADS, into=db.payload, id=execution_id, first=first)
    return {row["n"]: row["body"] for row in rows}


async def children(db: Any, parent: UUID) -> list[ExecutionRow]:
    """The child executions of a parent."""
    return [ExecutionRow(**row) for row in await db.sql(CHILDREN, into=db.workflow_executions, id=parent)]


async def remembered(db: Any, *, user: int, key: str) -> Any:
    """What an Idempotency-Key of that user was used for: route, body_hash, resource_id; or None."""
    return await db.sql(OF_KEY, into=db.idempotency_key, user=user, key=key).first()


# ---- who drives ------------------------------------------------------------------------------------------------------

LEASE_S = 3
"""A worker whose heartbeat is older than this, by the database clock, is dead."""
SQLITE_NOW = "strftime('%Y-%m-%dT%H:%M:%f000Z', 'now')"

FREE = "driver IS NULL AND (max_parallel IS NULL OR status <> 'running' OR :in_turn)"
"""Nobody drives it, and it needs no turn or was given one. What is to be cancelled or paused needs none: it takes no new
work. Nor does what is taken over: it keeps the place of its dead driver."""

HELD_PG = f"""
SELECT execution_id, driver, wake_no FROM workflow_executions x
WHERE execution_id = ANY(:ids) AND ended_at IS NULL AND engine_version <= :engine AND ({FREE}
  OR driver IS NOT NULL AND NOT EXISTS (SELECT 1 FROM worker w WHERE w.id = x.driver AND w.heartbeat_at > now() - interval '{LEASE_S} seconds'))
ORDER BY execution_id FOR UPDATE
"""
CLAIM_PG = f"""
WITH held AS ({HELD_PG}),
taken AS (
  UPDATE workflow_executions x SET driver = :me, epoch = x.epoch + 1 FROM held
  WHERE x.execution_id = held.execution_id
  RETURNING {", ".join(f"x.{field.name}" for field in fields(ExecutionRow))}, held.driver AS previous)
SELECT taken.*, first.v AS first_v, first.events AS first_events, first.at AS first_at
FROM taken LEFT JOIN execution_event first
  ON first.execution_id = taken.execution_id AND first.seq = 0 AND taken.epoch = 1 AND taken.wake_no = 0
"""
"""With its first row where that is the whole log: nobody drove it before, and whatever else is written wakes it. What
wakes it while this statement runs is seen in `wake_no`, but would not be seen in the log."""
_CLAIMABLE = f"""
WHERE execution_id IN (SELECT value FROM json_each(:ids)) AND ended_at IS NULL AND engine_version <= :engine
  AND ({FREE} OR driver <> :me)
"""
HELD_SQLITE = f"SELECT execution_id, driver AS previous FROM workflow_executions {_CLAIMABLE}"
CLAIM_SQLITE = f"""
UPDATE workflow_executions SET driver = :me, epoch = epoch + 1 {_CLAIMABLE}
RETURNING {COLUMNS}
"""


@dataclass(frozen=True, slots=True)
class First:
    """The first row of a log that has no other."""

    v: int
    events: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Claim:
    """An execution that is ours now. `previous`: the dead worker it was taken from, None when nobody drove it.

    `first`: the first row of its log, if it has no other, where the claim has read it.
    """

    row: ExecutionRow
    previous: UUID | None
    first: First | None = None


async def claim(db: Any, ids: Sequence[UUID], *, me: UUID, engine: int, in_turn: bool = False) -> list[Claim]:
    """Take those of `ids` that nobody alive drives. On SQLite whoever asks is the only one alive: it has the file lock.

    Those under a limit are left alone, unless it is their turn.
    """
    if db.engine == "postgres":
        values = {"ids": list(ids), "me": me, "engine": engine, "in_turn": in_turn}
        rows = await db.sql(CLAIM_PG, into=db.workflow_executions, **values)
        return [_claimed(row) for row in rows]
    values = {"ids": [str(id_) for id_ in ids], "me": me, "engine": engine, "in_turn": in_turn}
    held, rows = await db.batch(
        db.sql(HELD_SQLITE, into=db.workflow_executions, **values),
        db.sql(CLAIM_SQLITE, into=db.workflow_executions, **values),
    )
    previous = {str(row["execution_id"]): row["previous"] for row in held}
    return [Claim(ExecutionRow(**row), _uuid(previous.get(str(row["execution_id"])))) for row in rows]


def _claimed(row: dict[str, Any]) -> Claim:
    previous, v, events, at = (row.pop(name) for name in ("previous", "first_v", "first_events", "first_at"))
    return Claim(ExecutionRow(**row), previous, None if events is None else First(v, events, at))


def _uuid(value: Any) -> UUID | None:
    return value if value is None or isinstance(value, UUID) else UUID(value)


PARK = """
UPDATE workflow_executions SET driver = NULL, wake_at = :wake_at, waiting_for = :waiting_for, status = :status,
  nodes_executed = :nodes
WHERE execution_id = :id AND epoch = :epoch AND wake_no = :wake_no AND ended_at IS NULL
"""
SET_ASIDE = """
UPDATE workflow_executions SET driver = NULL, takeovers = takeovers + 1, error_message = :reason, wake_at = {later}
WHERE execution_id = :id AND driver = :me AND epoch = :epoch AND ended_at IS NULL
"""
LATER_PG = "now() + least(5 << least(takeovers, 8)::int, 900) * interval '1 second'"
LATER_SQLITE = "strftime('%Y-%m-%dT%H:%M:%f000Z', 'now', '+' || min(5 << min(takeovers, 8), 900) || ' seconds')"
RELEASE_SQLITE = """
UPDATE workflow_executions SET driver = NULL, wake_at = :at WHERE driver = :me AND ended_at IS NULL
"""
RELEASE_PG = """
WITH released AS (
  UPDATE workflow_executions SET driver = NULL, wake_at = :at WHERE driver = :me AND ended_at IS NULL
  RETURNING execution_id)
INSERT INTO pgqueuer (priority, entrypoint, payload, status)
SELECT 0, 'claim', uuid_send(execution_id), 'queued' FROM released
"""
LET_GO_PG = """
UPDATE workflow_executions SET driver = NULL, wake_at = now()
WHERE execution_id = ANY(:ids) AND driver = :me AND ended_at IS NULL
"""
LET_GO_SQLITE = f"""
UPDATE workflow_executions SET driver = NULL, wake_at = {SQLITE_NOW}
WHERE execution_id IN (SELECT value FROM json_each(:ids)) AND driver = :me AND ended_at IS NULL
"""
ORPHANS_PG = f"""
SELECT execution_id FROM workflow_executions x
WHERE ended_at IS NULL AND driver IS NOT NULL AND engine_version <= :engine AND NOT EXISTS (
  SELECT 1 FROM worker w WHERE w.id = x.driver AND w.heartbeat_at > now() - interval '{LEASE_S} seconds')
LIMIT :count
"""
ORPHANS_SQLITE = """
SELECT execution_id FROM workflow_executions
WHERE ended_at IS NULL AND driver IS NOT NULL AND driver <> :me LIMIT :count
"""
CHANGED = """
SELECT execution_id, driver, epoch, wake_no, ended_at FROM workflow_executions WHERE execution_id {belongs}
UNION ALL
SELECT execution_id, driver, epoch, wake_no, ended_at FROM workflow_executions
WHERE driver = :me AND ended_at IS NULL AND NOT execution_id {belongs}
"""


async def park(db: Any, **values: Any) -> bool:
    """Let go of an execution that waits, unless something happened since `wake_no` was read."""
    return bool(await db.sql(PARK, into=db.workflow_executions, **values))


async def set_aside(db: Any, execution_id: UUID, *, me: UUID, epoch: int, error: Exception) -> None:
    """Let go of an execution that could not be driven: for five seconds, then for longer each time, up to a quarter of
    an hour; counted as a take-over. Lists show the reason."""
    reason = f"cannot be driven now: {type(error).__name__}: {error}"[:1000]
    sql = SET_ASIDE.format(later=LATER_PG if db.engine == "postgres" else LATER_SQLITE)
    await db.sql(sql, into=db.workflow_executions, id=execution_id, me=me, epoch=epoch, reason=reason)


async def release_all(db: Any, *, me: UUID, at: datetime) -> None:
    """Hand back everything this worker still holds, due at once."""
    await db.sql(pg=RELEASE_PG, sqlite=RELEASE_SQLITE, into=db.workflow_executions, me=me, at=at)


async def let_go(db: Any, ids: Sequence[UUID], *, me: UUID) -> None:
    """Hand back executions that this worker holds and does not drive, due at once."""
    values = list(ids) if db.engine == "postgres" else [str(id_) for id_ in ids]
    await db.sql(pg=LET_GO_PG, sqlite=LET_GO_SQLITE, into=db.workflow_executions, ids=values, me=me)


async def orphans(db: Any, *, me: UUID, engine: int, count: int) -> list[UUID]:
    """Executions whose driver is dead."""
    if db.engine == "postgres":
        rows = await db.sql(ORPHANS_PG, into=db.workflow_executions, engine=engine, count=count)
    else:
        rows = await db.sql(ORPHANS_SQLITE, into=db.workflow_executions, me=me, count=count)
    return [row["execution_id"] for row in rows]


async def changed(db: Any, ids: Sequence[UUID], *, me: UUID) -> list[Any]:
    """execution_id, driver, epoch, wake_no and ended_at of each, and of whatever else this worker holds."""
    sql = CHANGED.format(belongs="= ANY(:ids)" if db.engine == "postgres" else "IN (SELECT value FROM json_each(:ids))")
    values = list(ids) if db.engine == "postgres" else [str(id_) for id_ in ids]
    rows: list[Any] = await db.sql(sql, into=db.workflow_executions, ids=values, me=me)
    return rows


# ---- workers ---------------------------------------------------------------------------------------------------------

ARRIVE = """
INSERT INTO worker (id, name, version, engine_version, started_at, heartbeat_at)
VALUES (:id, :name, :version, :engine, {now}, {now}) ON CONFLICT (id) DO UPDATE SET heartbeat_at = {now}
"""
BEAT = """
UPDATE worker SET heartbeat_at = {now}, driving = :driving, stopping = :stopping WHERE id = :id
"""
LEAVE = "DELETE FROM worker WHERE id = :id"
FORGET_PG = "DELETE FROM worker WHERE heartbeat_at < now() - interval '1 hour'"
FORGET_SQLITE = "DELETE FROM worker WHERE heartbeat_at < strftime('%Y-%m-%dT%H:%M:%f000Z', 'now', '-1 hour')"


def _now(db: Any, text: str) -> str:
    return text.format(now="clock_timestamp()" if db.engine == "postgres" else SQLITE_NOW)


async def arrive(db: Any, **values: Any) -> None:
    """A worker (id, name, version, engine) begins; saying so again, when the answer was lost, changes nothing."""
    await db.batch(
        db.sql(pg=FORGET_PG, sqlite=FORGET_SQLITE, into=db.worker),
        db.sql(_now(db, ARRIVE), into=db.worker, **values),
    )


async def beat(db: Any, *, worker: UUID, driving: int, stopping: bool) -> bool:
    """A worker is alive, by the database clock. False: its row is gone."""
    return bool(await db.sql(_now(db, BEAT), into=db.worker, id=worker, driving=driving, stopping=stopping))


async def leave(db: Any, worker: UUID) -> None:
    """A worker is done."""
    await db.sql(LEAVE, into=db.worker, id=worker)


ALIVE_PG = f"""
SELECT count(*) AS n FROM worker WHERE NOT stopping AND heartbeat_at > now() - interval '{LEASE_S} seconds'
"""


async def count_alive(db: Any) -> int:
    """How many workers live (PostgreSQL); 0 in a database without tables."""
    there = await db.sql("SELECT to_regclass('worker') IS NOT NULL AS there").scalar()
    return int(await db.sql(ALIVE_PG).scalar()) if there else 0
