"""The chain over the audit record: who changes, removes or inserts a sealed row is found out.

Rows go in unchained, because a chain written by the callers would put them all in one line. One sealer gives them
their number and their hash afterwards; between two seals only the unsealed tail can be touched unseen.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import orjson

import models.audit
from models.dal import AsyncDAL

GENESIS = "0" * 64
BATCH = 500
SETTLE = timedelta(seconds=1)
"""How old a row must be: a transaction that began before it may still commit an older id."""

SEALED = (
    *("id", "at", "category", "action", "result", "actor_id", "key_id"),
    *("community_id", "workflow_id", "resource", "reason", "request_id", "details"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainReport:
    """What `verify` found. `broken_at`: the first chain number that does not follow from the one before."""

    intact: bool
    sealed: int
    unsealed: int
    broken_at: int | None = None
    broken_id: UUID | None = None
    reason: str | None = None


def row_hash(previous: str, chain_no: int, row: Mapping[str, Any]) -> str:
    """The hash of a row behind the one with hash `previous`. Pure."""
    facts = {name: _canonical(row[name]) for name in SEALED}
    text = orjson.dumps([previous, chain_no, facts], option=orjson.OPT_SORT_KEYS, default=str)
    return hashlib.sha256(text).hexdigest()


def _canonical(value: Any) -> Any:
    if isinstance(value, datetime):
        return f"{value.timestamp():.6f}"
    return str(value) if isinstance(value, UUID) else value


class Sealer:
    """Chains new rows; any number of processes may try, one at a time does."""

    def __init__(self, db: AsyncDAL, *, now: Callable[[], datetime]) -> None:
        self._db = db
        self._now = now

    async def seal(self, *, settle: timedelta = SETTLE) -> int:
        """Chain what waits; how many rows were sealed."""
        done = 0
        while (sealed := await self._seal_batch(self._now() - settle)) > 0:
            done += sealed
            if sealed < BATCH:
                break
        return done

    async def _seal_batch(self, older_than: datetime) -> int:
        if not await models.audit.unsealed(self._db, older_than=older_than, limit=1):
            return 0
        async with self._db.transaction():
            if not await models.audit.lock_chain(self._db):
                return 0
            last = await models.audit.last_sealed(self._db)
            number, digest = (last.chain_no, last.hash) if last else (0, GENESIS)
            rows = await models.audit.unsealed(self._db, older_than=older_than, limit=BATCH)
            calls = []
            for row in rows:
                number += 1
                digest = row_hash(digest, number, row)
                calls.append(models.audit.seal(self._db, row.id, chain_no=number, digest=digest))
            if calls:
                await self._db.batch(*calls)
            return len(rows)

    async def verify(self) -> ChainReport:
        """Follow the whole chain; retention may have cut its beginning at a sealed row."""
        unsealed = await models.audit.count_unsealed(self._db)
        number, digest, sealed = 0, GENESIS, 0
        while rows := await models.audit.chain(self._db, after=number, limit=BATCH):
            if sealed == 0 and rows[0].chain_no > 1:
                number, digest, sealed = rows[0].chain_no, rows[0].hash, 1
                rows = rows[1:]
            for row in rows:
                reason = _break(row, number, digest)
                if reason is not None:
                    return ChainReport(
                        intact=False,
                        sealed=sealed,
                        unsealed=unsealed,
                        broken_at=row.chain_no,
                        broken_id=row.id,
                        reason=reason,
                    )
                number, digest, sealed = row.chain_no, row.hash, sealed + 1
        return ChainReport(intact=True, sealed=sealed, unsealed=unsealed)


def _break(row: Any, number: int, digest: str) -> str | None:
    if row.chain_no != number + 1:
        return f"a row is missing: {number + 1} is not there"
    if row.hash != row_hash(digest, row.chain_no, row):
        return "the row was changed after it was sealed"
    return None
