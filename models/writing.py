"""Whether the database has room to write, found out by writing: what a ping cannot see."""

from __future__ import annotations

from secrets import token_hex
from typing import Any
from uuid import UUID

NOBODY = UUID(int=0)
FILL = "INSERT INTO payload (execution_id, n, body) VALUES (:id, 0, :body)"
EMPTY = "DELETE FROM payload WHERE execution_id = :id"
PROBE_BYTES = 64 * 1024


async def probe(db: Any) -> None:
    """Write so much that it takes new pages, and take it back in the same transaction. Raises Full, ReadOnly."""
    body = token_hex(PROBE_BYTES // 2)  # not to be compressed
    await db.batch(
        db.sql(FILL, into=db.payload, id=NOBODY, body=body),
        db.sql(EMPTY, into=db.payload, id=NOBODY),
    )
