"""Writing what is derived from ended runs: the keyword index, the percentiles. On SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson

from models.dal import Round
from models.dal.codecs import timestamp_text
from models.outbox import Task

DayKey = tuple[str, int, str, str]
"""wpk_id, community (0 = none), day and status of one row of the daily aggregates."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Indexed:
    """A run as the index sees it, with what the index knew of it before."""

    id: UUID
    wpk_id: str
    community: int
    status: str
    created_at: datetime
    duration_ms: int | None
    outputs: Any
    error: str | None
    text: str | None
    counted: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """What the index shall know of a run."""

    run: UUID
    text: str
    counted: str | None


_FROM = """w.id, w.wpk_id, COALESCE(w.community_id, 0) AS community, w.status, w.created_at, w.duration_ms,
  COALESCE(w.outputs, e.final_output) AS outputs, COALESCE(w.error, e.error_message) AS error, d.text, d.counted"""
LITE_LOAD = f"""SELECT {_FROM} FROM json_each(?) AS k JOIN workflow_runs AS w ON w.id = k.value
LEFT JOIN workflow_executions AS e ON w.source = 'engine' AND e.execution_id = w.run_id
LEFT JOIN run_document AS d ON d.run = w.id"""
LITE_DOCUMENT = """INSERT INTO run_document (run, text, counted) VALUES (?, ?, ?)
ON CONFLICT (run) DO UPDATE SET text = excluded.text, counted = excluded.counted"""
LITE_DAYS = """SELECT d.wpk_id, d.community_id, d.day, d.status, d.durations FROM json_each(?) AS k
JOIN workflow_daily AS d ON d.wpk_id = k.value->>0 AND d.community_id = k.value->>1 AND d.day = k.value->>2
  AND d.status = k.value->>3"""
LITE_DAY = """INSERT INTO workflow_daily (wpk_id, community_id, day, status, durations) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (wpk_id, community_id, day, status) DO UPDATE SET durations = excluded.durations"""
LITE_SETTLE = "DELETE FROM outbox WHERE id = ? AND next_at = ?"


class SqliteIndexWriter:
    """Writes inside a grouped round of SQLite's writer thread."""

    def __init__(self, round_: Round) -> None:
        self._round = round_

    def load(self, ids: Iterable[UUID]) -> list[Indexed]:
        """The runs that are still there."""
        rows = self._round.fetch(LITE_LOAD, (orjson.dumps([str(i) for i in ids]).decode(),))
        return [
            Indexed(
                id=UUID(row[0]), wpk_id=row[1], community=row[2], status=row[3],
                created_at=datetime.fromisoformat(row[4]), duration_ms=row[5],
                outputs=None if row[6] is None else orjson.loads(row[6]), error=row[7], text=row[8], counted=row[9],
            )
            for row in rows
        ]  # fmt: skip

    def write(self, documents: Sequence[Document]) -> None:
        """Keep what the index shall know."""
        self._round.each(LITE_DOCUMENT, [(str(d.run), d.text, d.counted) for d in documents])

    def days(self, keys: Sequence[DayKey]) -> dict[DayKey, Mapping[str, int]]:
        """The histograms of the days."""
        rows = self._round.fetch(LITE_DAYS, (orjson.dumps(keys).decode(),))
        return {(r[0], r[1], r[2], r[3]): orjson.loads(r[4]) if r[4] else {} for r in rows}

    def write_days(self, histograms: Mapping[DayKey, Mapping[str, int]]) -> None:
        """Replace the histograms of the days."""
        self._round.each(LITE_DAY, [(*key, orjson.dumps(value).decode()) for key, value in histograms.items()])

    def settle(self, tasks: Sequence[Task]) -> None:
        """Remove done tasks, except those that were asked for again meanwhile."""
        self._round.each(LITE_SETTLE, [(str(task.id), timestamp_text(task.next_at)) for task in tasks])


PG_LOAD = f"""SELECT {_FROM} FROM workflow_runs AS w
LEFT JOIN workflow_executions AS e
  ON e.execution_id = CASE WHEN w.source = 'engine' THEN w.run_id::uuid END
LEFT JOIN run_document AS d ON d.run = w.id WHERE w.id = ANY($1::uuid[])"""
PG_DOCUMENT = """INSERT INTO run_document (run, text, counted) SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[])
ON CONFLICT (run) DO UPDATE SET text = excluded.text, counted = excluded.counted"""
PG_DAYS = """SELECT d.wpk_id, d.community_id, d.day, d.status, d.durations
FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[]) AS k(wpk_id, community_id, day, status)
JOIN workflow_daily AS d USING (wpk_id, community_id, day, status)
ORDER BY d.wpk_id, d.community_id, d.day, d.status FOR UPDATE OF d"""
PG_DAY = """INSERT INTO workflow_daily (wpk_id, community_id, day, status, durations)
SELECT a, b, c, d, e::jsonb FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[], $5::text[]) AS n(a, b, c, d, e)
ON CONFLICT (wpk_id, community_id, day, status) DO UPDATE SET durations = excluded.durations"""
PG_SETTLE = """DELETE FROM outbox AS o USING unnest($1::uuid[], $2::timestamptz[]) AS k(id, at)
WHERE o.id = k.id AND o.next_at = k.at"""


class PostgresIndexWriter:
    """Writes inside the transaction of a grouped lane."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def load(self, ids: Iterable[UUID]) -> list[Indexed]:
        """The runs that are still there."""
        return [Indexed(**dict(row)) for row in await self._connection.fetch(PG_LOAD, list(ids))]

    async def write(self, documents: Sequence[Document]) -> None:
        """Keep what the index shall know."""
        ordered = sorted(documents, key=lambda document: document.run)
        columns = [d.run for d in ordered], [d.text for d in ordered], [d.counted for d in ordered]
        await self._connection.execute(PG_DOCUMENT, *columns)

    async def days(self, keys: Sequence[DayKey]) -> dict[DayKey, Mapping[str, int]]:
        """The histograms of the days, locked."""
        columns = [[key[n] for key in sorted(keys)] for n in range(4)]
        rows = await self._connection.fetch(PG_DAYS, *columns)
        return {(r["wpk_id"], r["community_id"], r["day"], r["status"]): r["durations"] or {} for r in rows}

    async def write_days(self, histograms: Mapping[DayKey, Mapping[str, int]]) -> None:
        """Replace the histograms of the days."""
        keys = sorted(histograms)
        columns = [[key[n] for key in keys] for n in range(4)]
        await self._connection.execute(PG_DAY, *columns, [orjson.dumps(histograms[key]).decode() for key in keys])

    async def settle(self, tasks: Sequence[Task]) -> None:
        """Remove done tasks, except those that were asked for again meanwhile."""
        await self._connection.execute(PG_SETTLE, [task.id for task in tasks], [task.next_at for task in tasks])
