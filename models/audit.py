"""The audit record: rows go in unchained, one sealer chains them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from models.dal import AsyncDAL, Call, Row


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditFilter:
    """What an entry must be to be listed; everything given must hold."""

    actor_id: int | None = None
    action: str | None = None
    category: str | None = None
    result: str | None = None
    workflow_id: UUID | None = None
    since: datetime | None = None
    until: datetime | None = None


def insert(db: AsyncDAL, values: dict[str, Any]) -> Call[int]:
    """Add one row."""
    call: Call[int] = db.audit_log.insert(**values)
    return call


def _query(db: AsyncDAL, wanted: AuditFilter) -> Any:
    a = db.audit_log
    query = a.at != None  # noqa: E711 - pyDAL's spelling of IS NOT NULL
    equal = {"actor_id": a.actor_id, "action": a.action, "category": a.category, "result": a.result}
    for name, column in {**equal, "workflow_id": a.workflow_id}.items():
        value = getattr(wanted, name)
        if value is not None:
            query &= column == value
    if wanted.since is not None:
        query &= a.at >= wanted.since
    if wanted.until is not None:
        query &= a.at < wanted.until
    return query


async def page(
    db: AsyncDAL, wanted: AuditFilter, *, after: tuple[datetime, UUID] | None, limit: int, offset: int = 0
) -> list[Row]:
    """Entries, newest first."""
    a = db.audit_log
    query = _query(db, wanted)
    if after is not None:
        query &= db.before(a.at | a.id, after)
    rows: list[Row] = await db(query).select(orderby=~a.at | ~a.id, limit=limit, offset=offset)
    return rows


async def count(db: AsyncDAL, wanted: AuditFilter, *, cap: int) -> int:
    """How many entries match, at most `cap`."""
    conditions = [
        f"{column} {sign} :{name}" for name, (column, sign) in _COLUMNS.items() if getattr(wanted, name) is not None
    ]
    where = " AND ".join(conditions) or "1 = 1"
    text = f"SELECT count(*) AS n FROM (SELECT 1 FROM audit_log WHERE {where} LIMIT :cap) AS found"
    values = {name: getattr(wanted, name) for name in _COLUMNS if getattr(wanted, name) is not None}
    return int(await db.sql(text, cap=cap, **values).scalar())


_COLUMNS = {
    "actor_id": ("actor_id", "="),
    "action": ("action", "="),
    "category": ("category", "="),
    "result": ("result", "="),
    "workflow_id": ("workflow_id", "="),
    "since": ("at", ">="),
    "until": ("at", "<"),
}


# ---- the chain -----------------------------------------------------------------------------------------------------


async def last_sealed(db: AsyncDAL) -> Row | None:
    """The end of the chain."""
    a = db.audit_log
    row: Row | None = await db(a.chain_no != None).select(orderby=~a.chain_no, limit=1).first()  # noqa: E711
    return row


async def unsealed(db: AsyncDAL, *, older_than: datetime, limit: int) -> list[Row]:
    """Rows that wait for the sealer, oldest first."""
    a = db.audit_log
    query = (a.chain_no == None) & (a.at < older_than)  # noqa: E711 - pyDAL's spelling of IS NULL
    rows: list[Row] = await db(query).select(orderby=a.id, limit=limit)
    return rows


async def count_unsealed(db: AsyncDAL) -> int:
    """How many rows wait for the sealer."""
    return int(await db(db.audit_log.chain_no == None).count())  # noqa: E711


def seal(db: AsyncDAL, row_id: UUID, *, chain_no: int, digest: str) -> Call[int]:
    """Give a row its place in the chain; a row that has one is left alone."""
    a = db.audit_log
    call: Call[int] = db((a.id == row_id) & (a.chain_no == None)).update(chain_no=chain_no, hash=digest)  # noqa: E711
    return call


async def chain(db: AsyncDAL, *, after: int, limit: int) -> Sequence[Row]:
    """Sealed rows in order, behind a chain number."""
    a = db.audit_log
    rows: list[Row] = await db(a.chain_no > after).select(orderby=a.chain_no, limit=limit)
    return rows


TRY_LOCK = "SELECT pg_try_advisory_xact_lock(7242001) AS held"


async def lock_chain(db: AsyncDAL) -> bool:
    """Become the only sealer until the end of the transaction; SQLite's transaction is alone by nature."""
    if db.engine == "sqlite":
        return True
    row = await db.sql(TRY_LOCK).first()
    return bool(row and row["held"])
