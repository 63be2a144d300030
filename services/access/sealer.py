"""The chain over the audit record: who changes, removes or inserts a sealed row is found out.

Rows go in unchained, because a chain written by the callers would put them all in one line. One sealer gives them
their number and their hash afterwards; between two seals only the unsealed tail can be touched unseen.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import orjson

import models.audit
from models.audit import Anchor
from models.audit_chain import COLUMNS, PostgresChain, SqliteChain
from models.dal import AsyncDAL, Round
from services.conversation import Conversation, drive, drive_async

GENESIS = "0" * 64
BATCH = 500
SETTLE = timedelta(seconds=1)
"""How old a row must be: a transaction that began before it may still commit an older id."""


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
    facts = {name: _canonical(row[name]) for name in COLUMNS}
    text = orjson.dumps([previous, chain_no, facts], option=orjson.OPT_SORT_KEYS, default=str)
    return hashlib.sha256(text).hexdigest()


def _canonical(value: Any) -> Any:
    if isinstance(value, datetime):
        return f"{value.timestamp():.6f}"
    return str(value) if isinstance(value, UUID) else value


class Sealer:
    """Chains new rows; any number of processes may try, one at a time does."""

    def __init__(self, db: AsyncDAL, *, now: Callable[[], datetime], keep_days: int = 0) -> None:
        """`keep_days`: how long sealed rows are kept; 0 = for ever."""
        self._db = db
        self._now = now
        self._keep_days = keep_days
        self._lane = db.grouped(sqlite=_sqlite, postgres=_postgres, limit=1)

    async def seal(self, *, settle: timedelta = SETTLE) -> int:
        """Chain what waits; how many rows were sealed."""
        done, sealed = 0, BATCH
        while sealed == BATCH:
            sealed = await self._lane.submit(self._now() - settle)
            done += sealed
        return done

    async def verify(self) -> ChainReport:
        """Follow the whole chain, from where retention has cut it to the end that the sealer remembers."""
        unsealed = await models.audit.count_unsealed(self._db)
        floor = await models.audit.anchor(self._db, "floor") or Anchor(0, GENESIS)
        head = await models.audit.anchor(self._db, "head") or floor
        number, digest, sealed = floor.chain_no, floor.hash, 0
        while rows := await models.audit.chain(self._db, after=number, limit=BATCH):
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
        if number < head.chain_no or (number == head.chain_no and digest != head.hash):
            reason = f"rows are missing at the end: {number + 1} to {head.chain_no}"
            return ChainReport(intact=False, sealed=sealed, unsealed=unsealed, broken_at=number + 1, reason=reason)
        return ChainReport(intact=True, sealed=sealed, unsealed=unsealed)

    async def prune(self) -> int:
        """Cut off what is older than it is to be kept, at a sealed row; how many rows went."""
        if not self._keep_days:
            return 0
        floor = await models.audit.last_before(self._db, self._now() - timedelta(days=self._keep_days))
        return await models.audit.cut(self._db, floor) if floor else 0


def _round(older_than: datetime) -> Conversation[int]:
    """Chain one batch; how many rows."""
    if not (yield ("lock",)):
        return 0
    head: Anchor = (yield ("head",)) or Anchor(0, GENESIS)
    number, digest, sealed = head.chain_no, head.hash, []
    for row in (yield ("waiting", older_than, BATCH)):
        number += 1
        digest = row_hash(digest, number, row)
        sealed.append((row["id"], number, digest))
    if sealed:
        yield "seal", sealed, Anchor(number, digest)
    return len(sealed)


def _sqlite(round_: Round, members: Sequence[datetime]) -> list[int]:
    return [drive(_round(older_than), SqliteChain(round_)) for older_than in members]


async def _postgres(connection: Any, members: Sequence[datetime]) -> list[int]:
    return [await drive_async(_round(older_than), PostgresChain(connection)) for older_than in members]


def _break(row: Any, number: int, digest: str) -> str | None:
    if row.chain_no != number + 1:
        return f"a row is missing: {number + 1} is not there"
    if row.hash != row_hash(digest, row.chain_no, row):
        return "the row was changed after it was sealed"
    return None
