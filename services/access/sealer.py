"""The chain over the audit record: who changes, removes or inserts a sealed row is found out.

Rows go in unchained, because a chain written by the callers would put them all in one line. One sealer gives them
their number and their hash afterwards; between two seals only the unsealed tail can be touched unseen.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import orjson

import models.audit
from models.audit import Anchor, Ends
from models.audit_chain import COLUMNS, PostgresChain, SqliteChain, links
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
        """Follow the whole chain, from where retention has cut it to the end that the sealer remembers.

        What is sealed meanwhile is left for the next time, so the counts are those of one moment.
        """
        ends = await models.audit.ends(self._db)
        found = await self._follow(ends)
        if found.intact or (later := await models.audit.ends(self._db)).floor == ends.floor:
            return found
        return await self._follow(later)  # retention has cut the beginning off meanwhile

    async def _follow(self, ends: Ends) -> ChainReport:
        floor = ends.floor or Anchor(0, GENESIS)
        head = ends.head or floor
        found = ChainReport(intact=True, sealed=0, unsealed=ends.unsealed)
        place = _outside(ends, floor, head)
        if place is not None:
            return replace(found, intact=False, broken_at=place[0], reason=place[1])
        number, digest = floor.chain_no, floor.hash
        while rows := await links(self._db, after=number, last=head.chain_no, count=BATCH):
            for row in rows:
                reason = _break(row, number, digest)
                if reason is not None:
                    return replace(
                        found, intact=False, broken_at=row["chain_no"], broken_id=_id(row["id"]), reason=reason
                    )
                number, digest = row["chain_no"], row["hash"]
                found = replace(found, sealed=found.sealed + 1)
        if (number, digest) != (head.chain_no, head.hash):
            reason = f"rows are missing at the end: {number + 1} to {head.chain_no}"
            return replace(found, intact=False, broken_at=number + 1, reason=reason)
        return found

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


def _outside(ends: Ends, floor: Anchor, head: Anchor) -> tuple[int, str] | None:
    """What stands before the beginning of the chain or behind its end, where nobody who follows it would come by."""
    if ends.lowest is not None and ends.lowest <= floor.chain_no:
        return ends.lowest, f"a row stands before the beginning of the chain, which is {floor.chain_no + 1}"
    if ends.highest is not None and ends.head is None:
        return ends.highest, "the end of the chain is not on record, although rows are sealed"
    if ends.highest is not None and ends.highest > head.chain_no:
        return head.chain_no + 1, f"a row stands behind the end of the chain, which is {head.chain_no}"
    return None


def _break(row: Mapping[str, Any], number: int, digest: str) -> str | None:
    if row["chain_no"] != number + 1:
        return f"a row is missing: {number + 1} is not there"
    if "unreadable" in row:
        return f"the row cannot be read: {row['unreadable']}"
    if row["hash"] != row_hash(digest, row["chain_no"], row):
        return "the row was changed after it was sealed"
    return None


def _id(value: Any) -> UUID | None:
    try:
        return UUID(str(value))
    except ValueError:
        return None
