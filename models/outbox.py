"""Work that follows a commit: claimed for a while, settled when done, tried again later, or put aside as dead."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from models.dal import Call
from models.records import uuid7

CLAIM_PG = """UPDATE outbox SET next_at = :until WHERE id IN (
  SELECT id FROM outbox WHERE kind = :kind AND dead_at IS NULL AND next_at <= :now
  ORDER BY next_at, id LIMIT :count FOR UPDATE SKIP LOCKED)
RETURNING id, subject, attempts, next_at"""
CLAIM_LITE = """UPDATE outbox SET next_at = :until WHERE id IN (
  SELECT id FROM outbox WHERE kind = :kind AND dead_at IS NULL AND next_at <= :now ORDER BY next_at, id LIMIT :count)
RETURNING id, subject, attempts, next_at"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A claimed piece of work: ours until `next_at`."""

    id: UUID
    subject: UUID
    attempts: int
    next_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """How much of one kind of work waits and how much was given up."""

    waiting: int
    dead: int


async def claim(db: Any, kind: str, *, now: datetime, until: datetime, count: int) -> list[Task]:
    """Take up to `count` due tasks, the oldest first; nobody else gets them before `until`."""
    rows = await db.sql(pg=CLAIM_PG, sqlite=CLAIM_LITE, into=db.outbox, kind=kind, now=now, until=until, count=count)
    return [Task(**row) for row in rows]


async def enqueue(db: Any, kind: str, subjects: Sequence[UUID], *, now: datetime) -> None:
    """Ask for work; what waits already is not asked for twice."""
    outbox = db.outbox
    await db.batch(
        *(
            outbox.upsert(
                [outbox.kind, outbox.subject], update=("next_at",),
                id=uuid7(), kind=kind, subject=subject, next_at=now, created=now,
            )
            for subject in subjects
        )
    )  # fmt: skip


async def settle(db: Any, tasks: Sequence[Task]) -> None:
    """Remove done tasks, except those that were asked for again meanwhile."""
    outbox = db.outbox
    if tasks:
        await db.batch(*(db((outbox.id == task.id) & (outbox.next_at == task.next_at)).delete() for task in tasks))


async def postpone(db: Any, tasks: Sequence[Task], *, at: datetime, error: str) -> None:
    """Try again at `at`."""
    ids = [task.id for task in tasks]
    await db(db.outbox.id.belongs(ids)).update(next_at=at, attempts=db.outbox.attempts + 1, error=error[:1000])


async def bury(db: Any, tasks: Sequence[Task], *, at: datetime, error: str) -> None:
    """Give tasks up until a person asks for them again."""
    ids = [task.id for task in tasks]
    await db(db.outbox.id.belongs(ids)).update(dead_at=at, attempts=db.outbox.attempts + 1, error=error[:1000])


def revive(db: Any, kind: str, *, now: datetime) -> Call[int]:
    """Let dead tasks be tried again; how many there were."""
    outbox = db.outbox
    dead = db((outbox.kind == kind) & (outbox.dead_at != None))  # noqa: E711 - SQL
    call: Call[int] = dead.update(dead_at=None, attempts=0, next_at=now, error=None)
    return call


async def backlog(db: Any, kind: str) -> Backlog:
    """The backlog of one kind of work."""
    row = await db.sql(
        "SELECT COALESCE(SUM(CASE WHEN dead_at IS NULL THEN 1 ELSE 0 END), 0) AS waiting,"
        " COALESCE(SUM(CASE WHEN dead_at IS NULL THEN 0 ELSE 1 END), 0) AS dead FROM outbox WHERE kind = :kind",
        kind=kind,
    ).first()
    return Backlog(waiting=int(row["waiting"]), dead=int(row["dead"]))


async def dead(db: Any, *, count: int) -> list[dict[str, Any]]:
    """The work that was given up, newest first: kind, subject, attempts, error, dead_at."""
    outbox = db.outbox
    rows = await db(outbox.dead_at != None).select(  # noqa: E711 - SQL
        outbox.kind, outbox.subject, outbox.attempts, outbox.error, outbox.dead_at, orderby=~outbox.dead_at, limit=count
    )
    return [dict(row) for row in rows]
