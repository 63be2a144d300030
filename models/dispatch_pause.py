"""Whether everything is paused: one row of the database that every process obeys."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

EVERYTHING = "all"
GET = "SELECT paused, reason, changed_at, changed_by FROM dispatch_pause WHERE name = 'all'"


@dataclass(frozen=True, slots=True, kw_only=True)
class PauseRow:
    """What the operator wants, since when, and who said so; nobody yet: not paused."""

    paused: bool = False
    reason: str | None = None
    changed_at: datetime | None = None
    changed_by: str | None = None


async def get(db: Any) -> PauseRow:
    """What holds now."""
    row = await db.sql(GET, into=db.dispatch_pause).first()
    return PauseRow() if row is None else PauseRow(**row)


def put(db: Any, row: PauseRow) -> Any:
    """The statement that lets `row` hold from now on."""
    table = db.dispatch_pause
    return table.upsert(
        table.name,
        name=EVERYTHING,
        paused=row.paused,
        reason=row.reason,
        changed_at=row.changed_at,
        changed_by=row.changed_by,
    )
