"""Sealing in grouped rounds: read what waits, chain it, write numbers and hashes, all in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson

from models.audit import Anchor
from models.dal import AsyncDAL, Round
from models.dal.codecs import timestamp_text

COLUMNS = (
    *("id", "at", "category", "action", "result", "actor_id", "key_id"),
    *("community_id", "workflow_id", "resource", "reason", "request_id", "details"),
)
_LIST = ", ".join(COLUMNS)
Sealed = tuple[UUID, int, str]

LITE_WAITING = f"SELECT {_LIST} FROM audit_log WHERE chain_no IS NULL AND at < ? ORDER BY id LIMIT ?"
LITE_SEAL = "UPDATE audit_log SET chain_no = ?, hash = ? WHERE id = ? AND chain_no IS NULL"
LITE_HEAD = "SELECT chain_no, hash FROM audit_anchor WHERE name = 'head'"
LITE_ANCHOR = """INSERT INTO audit_anchor (name, chain_no, hash) VALUES ('head', ?, ?)
ON CONFLICT (name) DO UPDATE SET chain_no = excluded.chain_no, hash = excluded.hash"""


class SqliteChain:
    """Seals inside a grouped round of SQLite's writer thread."""

    def __init__(self, round_: Round) -> None:
        self._round = round_

    def lock(self) -> bool:
        """The writer is alone by nature."""
        return True

    def head(self) -> Anchor | None:
        """The end of the chain."""
        rows = self._round.fetch(LITE_HEAD)
        return Anchor(*rows[0]) if rows else None

    def waiting(self, older_than: datetime, count: int) -> list[dict[str, Any]]:
        """Rows without a place, oldest first."""
        rows = self._round.fetch(LITE_WAITING, (timestamp_text(older_than), count))
        return [_decoded(dict(zip(COLUMNS, row, strict=True))) for row in rows]

    def seal(self, sealed: Sequence[Sealed], head: Anchor) -> None:
        """Give rows their place and remember the new end."""
        self._round.each(LITE_SEAL, [(number, digest, str(row)) for row, number, digest in sealed])
        self._round.change(LITE_ANCHOR, (head.chain_no, head.hash))


LINKS = (
    f"SELECT chain_no, hash, {_LIST} FROM audit_log WHERE chain_no > :after AND chain_no <= :last"
    " ORDER BY chain_no LIMIT :count"
)


async def links(db: AsyncDAL, *, after: int, last: int, count: int) -> list[dict[str, Any]]:
    """Sealed rows in order, from behind a chain number to the last one.

    A row that cannot be read, as somebody may leave one in a SQLite file, has `unreadable` with what is wrong.
    """
    rows = [dict(row) for row in await db.sql(LINKS, after=after, last=last, count=count)]
    return rows if db.engine == "postgres" else [_readable(row) for row in rows]


def _readable(row: dict[str, Any]) -> dict[str, Any]:
    try:
        return _decoded(dict(row))
    except (ValueError, TypeError, AttributeError) as error:
        return {**row, "unreadable": str(error)}


def _decoded(row: dict[str, Any]) -> dict[str, Any]:
    for name in ("id", "key_id", "workflow_id"):
        row[name] = None if row[name] is None else UUID(row[name])
    row["at"] = datetime.fromisoformat(row["at"])
    row["details"] = None if row["details"] is None else orjson.loads(row["details"])
    return row


PG_LOCK = "SELECT pg_try_advisory_xact_lock(7242001)"
PG_WAITING = f"SELECT {_LIST} FROM audit_log WHERE chain_no IS NULL AND at < $1 ORDER BY id LIMIT $2"
PG_SEAL = """UPDATE audit_log AS a SET chain_no = s.n, hash = s.h
FROM unnest($1::uuid[], $2::bigint[], $3::text[]) AS s(id, n, h) WHERE a.id = s.id AND a.chain_no IS NULL"""
PG_ANCHOR = """INSERT INTO audit_anchor (name, chain_no, hash) VALUES ('head', $1, $2)
ON CONFLICT (name) DO UPDATE SET chain_no = excluded.chain_no, hash = excluded.hash"""


class PostgresChain:
    """Seals inside the transaction of a grouped lane."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def lock(self) -> bool:
        """Become the only sealer until the end of the transaction."""
        return bool(await self._connection.fetchval(PG_LOCK))

    async def head(self) -> Anchor | None:
        """The end of the chain."""
        row = await self._connection.fetchrow(LITE_HEAD)
        return Anchor(row["chain_no"], row["hash"]) if row else None

    async def waiting(self, older_than: datetime, count: int) -> list[dict[str, Any]]:
        """Rows without a place, oldest first."""
        return [dict(row) for row in await self._connection.fetch(PG_WAITING, older_than, count)]

    async def seal(self, sealed: Sequence[Sealed], head: Anchor) -> None:
        """Give rows their place and remember the new end."""
        columns = [list(column) for column in zip(*sealed, strict=True)]
        await self._connection.execute(PG_SEAL, *columns)
        await self._connection.execute(PG_ANCHOR, head.chain_no, head.hash)
