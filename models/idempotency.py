"""Idempotency records: which resource a repeated request made the first time."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from models.dal import AsyncDAL, Call, Row


async def find(db: AsyncDAL, user_id: int, key: str) -> Row | None:
    """The record of a key."""
    i = db.idempotency_key
    row: Row | None = await db((i.user_id == user_id) & (i.key == key)).select().first()
    return row


def insert(db: AsyncDAL, values: dict[str, Any]) -> Call[int]:
    """Remember a key, in the transaction of its resource; yields 0 when it is taken."""
    i = db.idempotency_key
    call: Call[int] = i.upsert((i.user_id, i.key), update=(), **values)
    return call


def drop(db: AsyncDAL, user_id: int, key: str, *, before: datetime) -> Call[int]:
    """Forget a key that is older than `before`."""
    i = db.idempotency_key
    call: Call[int] = db((i.user_id == user_id) & (i.key == key) & (i.created < before)).delete()
    return call


async def prune(db: AsyncDAL, *, before: datetime) -> int:
    """Forget everything older than `before`."""
    return int(await db(db.idempotency_key.created < before).delete())
