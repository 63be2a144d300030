"""What retention deletes, in small batches: a run and everything that belongs to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from models.dal import Round
from models.run_facts import KnownRun, RunKey

IMPORTED = "imported runs"
"""The consent without which adopted and imported runs are never deleted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expired:
    """Runs of these statuses that were created before `before`; imported ones only with consent, pinned ones never."""

    statuses: tuple[str, ...]
    before: datetime
    imported: bool = False
    wpk_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Doomed:
    """A run to be deleted."""

    id: UUID
    key: RunKey
    run: KnownRun
    source: str
    run_id: str


def _where(expired: Expired) -> str:
    return (
        "w.status = {status} AND w.created_at < {before} AND NOT w.pinned"
        + ("" if expired.imported else " AND w.source <> 'import'")
        + ("" if expired.wpk_id is None else " AND w.wpk_id = {wpk}")
    )


_COLUMNS = "w.id, w.wpk_id, w.run_id, COALESCE(w.community_id, 0) AS community, w.status, w.created_at, w.source"


async def preview(db: Any, expired: Expired, *, most: int) -> list[dict[str, Any]]:
    """Per workflow: how many of the oldest `most` runs of each status would go, and about how many bytes."""
    found: dict[str, dict[str, Any]] = {}
    for status in expired.statuses:
        values = {"status": status, "before": expired.before, "most": most}
        values |= {} if expired.wpk_id is None else {"wpk": expired.wpk_id}
        where = _where(expired).format(status=":status", before=":before", wpk=":wpk")
        size = "LENGTH(CAST(COALESCE(w.inputs, '{}') AS text)) + LENGTH(CAST(COALESCE(w.outputs, '{}') AS text))"
        rows = await db.sql(
            f"SELECT s.wpk_id, count(*) AS runs, SUM(s.bytes) AS bytes FROM (SELECT w.wpk_id, {size} + 200 AS bytes"
            f" FROM workflow_runs w WHERE {where} ORDER BY w.created_at LIMIT :most) AS s GROUP BY s.wpk_id",
            **values,
        )
        for row in rows:
            one = found.setdefault(row["wpk_id"], {"wpk_id": row["wpk_id"], "runs": 0, "bytes": 0})
            one["runs"] += int(row["runs"])
            one["bytes"] += int(row["bytes"])
    return sorted(found.values(), key=lambda one: (-one["bytes"], one["wpk_id"]))


async def crowded(db: Any, *, more_than: int, count: int) -> list[tuple[str, datetime]]:
    """Workflows with more ended runs than that, and when the first run that is too many was created."""
    rows = await db.sql(
        "SELECT wpk_id, SUM(runs) AS n FROM run_count WHERE status <> 'running' GROUP BY wpk_id"
        " HAVING SUM(runs) > :most ORDER BY wpk_id LIMIT :count",
        most=more_than,
        count=count,
    )
    found = []
    for row in rows:
        edge = await db.sql(
            "SELECT created_at FROM workflow_runs WHERE wpk_id = :wpk AND status <> 'running'"
            " ORDER BY created_at DESC, id DESC LIMIT 1 OFFSET :skip",
            into=db.workflow_runs,
            wpk=row["wpk_id"],
            skip=more_than - 1,
        ).first()
        if edge:
            found.append((row["wpk_id"], edge["created_at"]))
    return found


async def consent(db: Any, subject: str) -> datetime | None:
    """When an administrator allowed retention to delete these, if ever."""
    table = db.retention_consent
    row = await db(table.subject == subject).select(table.granted_at).first()
    return row["granted_at"] if row else None


async def size_bytes(db: Any) -> int:
    """How much room the database takes, without what it could give back."""
    row = await db.sql(
        pg="SELECT pg_database_size(current_database()) AS n",
        sqlite="SELECT (p.page_count - f.freelist_count) * s.page_size AS n FROM pragma_page_count p,"
        " pragma_freelist_count f, pragma_page_size s",
    ).first()
    return int(row["n"])


async def give_space_back(db: Any, *, pages: int = 2_000) -> None:
    """Let SQLite return free pages to the file system; PostgreSQL does that by itself."""
    if db.engine == "sqlite":
        await db.sql(f"PRAGMA incremental_vacuum({int(pages)})")


async def delete_old_signals(db: Any, *, before: datetime, count: int) -> int:
    """Delete signals nobody judged, the oldest first; how many."""
    table = db.insight_signals
    old = await db((table.created_at < before) & (table.verdict == None)).select(  # noqa: E711 - SQL
        table.id, orderby=table.created_at, limit=count
    )
    return int(await db(table.id.belongs([row["id"] for row in old])).delete()) if old else 0


_BELONGING = (  # table, column; `execution` is the id of the execution, for our own runs
    ("run_document", "run"),
    ("run_embedding", "run"),
    ("outbox", "subject"),
    ("execution_event", "execution_id"),
    ("payload", "execution_id"),
    ("inquiry", "execution_id"),
    ("workflow_executions", "execution_id"),
    ("workflow_runs", "id"),
)


def _doomed(rows: Sequence[Any]) -> list[Doomed]:
    return [
        Doomed(
            id=UUID(str(row[0])),
            key=(row[1], row[2], row[3]),
            run=KnownRun(id=UUID(str(row[0])), status=row[4], created_at=_moment(row[5])),
            source=row[6],
            run_id=row[2],
        )
        for row in rows
    ]


def _moment(value: Any) -> datetime:
    return value if isinstance(value, datetime) else datetime.fromisoformat(value)


def _ids(column: str, doomed: Sequence[Doomed]) -> list[str]:
    if column == "execution_id":
        return [one.run_id for one in doomed if one.source == "engine"]
    return [str(one.id) for one in doomed]


class SqliteReaper:
    """Deletes inside a grouped round of SQLite's writer thread."""

    def __init__(self, round_: Round) -> None:
        self._round = round_

    def choose(self, expired: Expired, status: str, count: int) -> list[Doomed]:
        """The oldest runs to go."""
        from models.dal.codecs import timestamp_text

        where = _where(expired).format(status="?1", before="?2", wpk="?4")
        values = [status, timestamp_text(expired.before), count, *([expired.wpk_id] if expired.wpk_id else [])]
        return _doomed(
            self._round.fetch(
                f"SELECT {_COLUMNS} FROM workflow_runs w WHERE {where} ORDER BY w.created_at LIMIT ?3", values
            )
        )

    def delete(self, doomed: Sequence[Doomed]) -> None:
        """Delete them with everything that belongs to them."""
        for table, column in _BELONGING:
            self._round.each(f"DELETE FROM {table} WHERE {column} = ?", [(one,) for one in _ids(column, doomed)])


class PostgresReaper:
    """Deletes inside the transaction of a grouped lane."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def choose(self, expired: Expired, status: str, count: int) -> list[Doomed]:
        """The oldest runs to go, locked."""
        where = _where(expired).format(status="$1", before="$2", wpk="$4")
        values = [status, expired.before, count, *([expired.wpk_id] if expired.wpk_id else [])]
        text = f"SELECT {_COLUMNS} FROM workflow_runs w WHERE {where} ORDER BY w.created_at LIMIT $3 FOR UPDATE SKIP LOCKED"
        return _doomed(await self._connection.fetch(text, *values))

    async def delete(self, doomed: Sequence[Doomed]) -> None:
        """Delete them with everything that belongs to them."""
        for table, column in _BELONGING:
            await self._connection.execute(
                f"DELETE FROM {table} WHERE {column} = ANY($1::uuid[])", _ids(column, doomed)
            )
