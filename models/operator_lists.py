"""What operators look for: executions of every workflow by what is wrong with them, and the workers.

These questions are rare, so that no index is kept for them: those about unfinished executions read the few that are
unfinished, the others read the table.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from models.executions import COLUMNS, LEASE_S, SQLITE_NOW, ExecutionRow

DEAD_PG = f"now() - interval '{LEASE_S} seconds'"
DEAD_SQLITE = f"strftime('%Y-%m-%dT%H:%M:%f000Z', 'now', '-{LEASE_S} seconds')"
ALIVE = "EXISTS (SELECT 1 FROM worker w WHERE w.id = x.driver AND w.heartbeat_at > {dead})"
STUCK = (
    "ended_at IS NULL AND ((driver IS NOT NULL AND NOT {alive})"
    " OR ((driver IS NOT NULL OR wake_at < :idle_since) AND start_time < :idle_since AND NOT EXISTS"
    " (SELECT 1 FROM execution_event e WHERE e.execution_id = x.execution_id AND e.at >= :idle_since)))"
)
WAITS_PG = "ended_at IS NULL AND waiting_for @> jsonb_build_array(jsonb_build_object('kind', CAST(:kind AS text)))"
WAITS_SQLITE = "ended_at IS NULL AND EXISTS (SELECT 1 FROM json_each(x.waiting_for) j WHERE j.value ->> 'kind' = :kind)"
QUARANTINED = "ended_at IS NOT NULL AND error_type = 'interrupted' AND error_node_id IS NULL"


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorFilter:
    """Which executions; what is None or False does not restrict.

    `idle_since`: the stuck ones, which are those whose driver is dead and those that are driven or due and have written
    nothing since. `quarantined`: those that were given up because their drivers died with them.
    """

    status: str | None = None
    unfinished: bool = False
    cancellable: bool = False  # has not ended, and nobody has asked it to
    idle_since: datetime | None = None
    quarantined: bool = False
    waiting_for: str | None = None
    workflow_id: UUID | None = None
    key_id: UUID | None = None
    started_after: datetime | None = None
    started_before: datetime | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """Which part of them: `after` is start time and id of the last row seen."""

    limit: int
    offset: int = 0
    after: tuple[datetime, UUID] | None = None


async def page(db: Any, wanted: OperatorFilter, part: Part) -> list[ExecutionRow]:
    """Some of them, newest first."""
    where, values = _conditions(db, wanted)
    if part.after is not None:
        where.append("(start_time, execution_id) < (:after_time, :after_id)")
        values |= {"after_time": part.after[0], "after_id": part.after[1]}
    text = (
        f"SELECT {COLUMNS} FROM workflow_executions x WHERE {' AND '.join(where)}"
        " ORDER BY start_time DESC, execution_id DESC LIMIT :limit OFFSET :offset"
    )
    values |= {"limit": part.limit, "offset": part.offset}
    return [ExecutionRow(**row) for row in await db.sql(text, into=db.workflow_executions, **values)]


async def count(db: Any, wanted: OperatorFilter, *, cap: int) -> int:
    """How many there are, at most `cap`."""
    where, values = _conditions(db, wanted)
    text = (
        "SELECT count(*) AS n FROM"
        f" (SELECT 1 FROM workflow_executions x WHERE {' AND '.join(where)} LIMIT :cap) AS found"
    )
    return int(await db.sql(text, into=db.workflow_executions, cap=cap, **values).scalar())


def _conditions(db: Any, wanted: OperatorFilter) -> tuple[list[str], dict[str, Any]]:
    postgres = db.engine == "postgres"
    alive = ALIVE.format(dead=DEAD_PG if postgres else DEAD_SQLITE)
    tests: tuple[tuple[str, Any, str], ...] = (
        ("status", wanted.status, "status = :status"),
        ("idle_since", wanted.idle_since, STUCK.format(alive=alive)),
        ("kind", wanted.waiting_for, WAITS_PG if postgres else WAITS_SQLITE),
        ("workflow_id", wanted.workflow_id, "workflow_id = :workflow_id"),
        ("key_id", wanted.key_id, "key_id = :key_id"),
        ("started_after", wanted.started_after, "start_time >= :started_after"),
        ("started_before", wanted.started_before, "start_time < :started_before"),
    )
    where = ["ended_at IS NULL"] if wanted.unfinished else ["1 = 1"]
    where += [QUARANTINED] if wanted.quarantined else []
    where += ["ended_at IS NULL AND status <> 'cancelled'"] if wanted.cancellable else []
    where += [text for _, value, text in tests if value is not None]
    return where, {name: value for name, value, _ in tests if value is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerRow:
    """A process that drives executions. `heartbeat_age_s`: by the database clock; over three seconds it counts as dead."""

    id: UUID
    name: str
    version: str
    engine_version: int
    started_at: datetime
    heartbeat_at: datetime
    heartbeat_age_s: float
    stopping: bool
    driving: int

    @property
    def is_alive(self) -> bool:
        """Whether what it drives is its own."""
        return self.heartbeat_age_s <= LEASE_S


WORKERS = """
SELECT id, name, version, engine_version, started_at, heartbeat_at, {age} AS heartbeat_age_s, stopping,
  (SELECT count(*) FROM workflow_executions x WHERE x.driver = worker.id AND x.ended_at IS NULL) AS driving
FROM worker ORDER BY started_at, id
"""
AGE_PG = "CAST(EXTRACT(EPOCH FROM clock_timestamp() - heartbeat_at) AS double precision)"
AGE_SQLITE = f"(julianday({SQLITE_NOW}) - julianday(heartbeat_at)) * 86400.0"


async def workers(db: Any) -> list[WorkerRow]:
    """Every worker that is known, also dead ones for an hour; how many executions each holds is counted now."""
    sql = WORKERS.format(age=AGE_PG if db.engine == "postgres" else AGE_SQLITE)
    rows = await db.sql(sql, into=db.worker)
    return [WorkerRow(**{**row, "heartbeat_age_s": max(0.0, row["heartbeat_age_s"])}) for row in rows]


NEXT_SEQ = (
    "SELECT (SELECT coalesce(max(v.seq), -1) + 1 FROM execution_event v WHERE v.execution_id = e.execution_id) AS n"
    " FROM workflow_executions e WHERE e.execution_id = :id AND e.ended_at IS NULL"
)


async def next_seq(db: Any, execution_id: UUID) -> int | None:
    """Where the next event row of an execution goes, without reading the others; None when it has ended."""
    found = await db.sql(NEXT_SEQ, into=db.workflow_executions, id=execution_id).scalar()
    return None if found is None else int(found)
