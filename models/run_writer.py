"""Writing runs in grouped rounds: the same five statements on SQLite (writer thread) and PostgreSQL (one transaction)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson

from models.bulk import Row
from models.dal import Round
from models.dal.codecs import dump_json, timestamp_text
from models.journal_statements import AUDIT
from models.records import uuid7
from models.run_facts import KnownRun, RunKey, RunRow, Tally

_INSERTED = (
    "id", "wpk_id", "run_id", "status", "source", "created_at", "updated_at", "inputs", "outputs", "node_logs",
    "duration_ms", "community_id", "workflow_id", "workflow_version", "reported_status", "error",
)  # fmt: skip
_COLUMNS = ", ".join(_INSERTED)

LITE_INSERT = (
    f"INSERT INTO workflow_runs ({_COLUMNS}) VALUES ({', '.join('?' * len(_INSERTED))}) ON CONFLICT DO NOTHING"
)
LITE_LOAD = """SELECT w.wpk_id, w.run_id, COALESCE(w.community_id, 0), w.id, w.status, w.created_at, w.duration_ms,
  w.reported_status, w.error
FROM json_each(?) AS k JOIN workflow_runs AS w
  ON w.wpk_id = k.value->>0 AND w.run_id = k.value->>1 AND COALESCE(w.community_id, 0) = k.value->>2"""
LITE_UPDATE = """UPDATE workflow_runs SET status = ?1, reported_status = ?2, duration_ms = ?3, error = ?4,
  created_at = ?5, updated_at = ?6,
  inputs = CASE WHEN ?7 THEN COALESCE(?8, inputs) ELSE COALESCE(inputs, ?8) END,
  outputs = CASE WHEN ?7 THEN COALESCE(?9, outputs) ELSE COALESCE(outputs, ?9) END,
  node_logs = CASE WHEN ?7 THEN COALESCE(?10, node_logs) ELSE COALESCE(node_logs, ?10) END
WHERE id = ?11"""
LITE_COUNT = """INSERT INTO run_count (wpk_id, community_id, status, runs) VALUES (?, ?, ?, ?)
ON CONFLICT (wpk_id, community_id, status) DO UPDATE SET runs = runs + excluded.runs"""
LITE_DAILY = """INSERT INTO workflow_daily (wpk_id, community_id, day, status, runs, duration_ms_sum)
VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (wpk_id, community_id, day, status)
DO UPDATE SET runs = runs + excluded.runs, duration_ms_sum = duration_ms_sum + excluded.duration_ms_sum"""
LITE_LATEST = """UPDATE workflow SET total_runs = total_runs + ?1,
  latest_run_id = CASE WHEN latest_run_at IS NULL OR ?4 >= latest_run_at OR latest_run_id = ?2 THEN ?2 ELSE latest_run_id END,
  latest_run_status = CASE WHEN latest_run_at IS NULL OR ?4 >= latest_run_at OR latest_run_id = ?2 THEN ?3
    ELSE latest_run_status END,
  latest_run_at = CASE WHEN latest_run_at IS NULL OR ?4 >= latest_run_at OR latest_run_id = ?2 THEN ?4 ELSE latest_run_at END
WHERE id = ?5"""
LITE_ENQUEUE = """INSERT INTO outbox (id, kind, subject, next_at, created) VALUES (?1, ?2, ?3, ?4, ?4)
ON CONFLICT (kind, subject) DO UPDATE SET next_at = excluded.next_at, attempts = 0, error = NULL, dead_at = NULL"""


class SqliteRunWriter:
    """Writes inside a grouped round of SQLite's writer thread."""

    def __init__(self, round_: Round) -> None:
        self._round = round_

    def insert(self, rows: Sequence[RunRow]) -> list[bool]:
        """Insert; which of them were new."""
        return [count == 1 for count in self._round.each(LITE_INSERT, [_lite_row(row) for row in rows])]

    def load(self, keys: Sequence[RunKey]) -> dict[RunKey, KnownRun]:
        """The known runs among the keys."""
        rows = self._round.fetch(LITE_LOAD, (orjson.dumps(keys).decode(),))
        return {
            (row[0], row[1], row[2]): KnownRun(
                id=UUID(row[3]),
                status=row[4],
                created_at=datetime.fromisoformat(row[5]),
                duration_ms=row[6],
                reported_status=row[7],
                error=row[8],
            )
            for row in rows
        }

    def update(self, rows: Sequence[RunRow]) -> None:
        """Write known runs again."""
        self._round.each(
            LITE_UPDATE,
            [
                (r.status, r.reported_status, r.duration_ms, r.error, timestamp_text(r.created_at),
                 timestamp_text(r.updated_at), int(r.prefer_new), _json(r.inputs), _json(r.outputs),
                 _json(r.node_logs), str(r.id))
                for r in rows
            ],
        )  # fmt: skip

    def count(self, tally: Tally) -> None:
        """Add a round to the counters, the daily aggregates and the workflows' summaries."""
        self._round.each(LITE_COUNT, [(*key, runs) for key, runs in tally.changed_counts().items()])
        self._round.each(LITE_DAILY, [(*key, *values) for key, values in tally.changed_days().items()])
        self._round.each(
            LITE_LATEST,
            [
                (last.added, last.run_id, last.status, timestamp_text(last.at), str(workflow))
                for workflow, last in tally.latest.items()
            ],
        )

    def record(self, rows: Sequence[Row]) -> None:
        """Add rows of the audit record."""
        for text, values in AUDIT.sqlite(rows):
            self._round.change(text, values)

    def enqueue(self, kind: str, subjects: Iterable[UUID], now: datetime) -> None:
        """Put work into the outbox; work that waits already is not put twice."""
        at = timestamp_text(now)
        self._round.each(LITE_ENQUEUE, [(str(uuid7()), kind, str(subject), at) for subject in subjects])


_JSON = ("inputs", "outputs", "node_logs")  # as text: an array inside a driver's array would become a dimension of it
_PG_TYPES = {
    "id": "uuid", "created_at": "timestamptz", "updated_at": "timestamptz", "duration_ms": "bigint",
    "community_id": "bigint", "workflow_id": "uuid",
}  # fmt: skip
_PG_ARRAYS = ", ".join(f"${n}::{_PG_TYPES.get(name, 'text')}[]" for n, name in enumerate(_INSERTED, 1))
_PG_VALUES = ", ".join(f"r.{name}::jsonb" if name in _JSON else f"r.{name}" for name in _INSERTED)
PG_INSERT = f"""INSERT INTO workflow_runs ({_COLUMNS}) SELECT {_PG_VALUES} FROM unnest({_PG_ARRAYS}) AS r({_COLUMNS})
ON CONFLICT DO NOTHING RETURNING id"""
PG_LOAD = """SELECT w.wpk_id, w.run_id, COALESCE(w.community_id, 0) AS community, w.id, w.status, w.created_at,
  w.duration_ms, w.reported_status, w.error
FROM unnest($1::text[], $2::text[], $3::bigint[]) AS k(wpk_id, run_id, community) JOIN workflow_runs AS w
  ON w.wpk_id = k.wpk_id AND w.run_id = k.run_id AND COALESCE(w.community_id, 0) = k.community
ORDER BY w.wpk_id, w.run_id FOR UPDATE OF w"""
PG_UPDATE = """UPDATE workflow_runs AS w SET status = r.status, reported_status = r.reported, duration_ms = r.duration,
  error = r.error, created_at = r.created_at, updated_at = r.updated_at,
  inputs = CASE WHEN r.fresh THEN COALESCE(r.inputs::jsonb, w.inputs) ELSE COALESCE(w.inputs, r.inputs::jsonb) END,
  outputs = CASE WHEN r.fresh THEN COALESCE(r.outputs::jsonb, w.outputs) ELSE COALESCE(w.outputs, r.outputs::jsonb) END,
  node_logs = CASE WHEN r.fresh THEN COALESCE(r.logs::jsonb, w.node_logs) ELSE COALESCE(w.node_logs, r.logs::jsonb) END
FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::timestamptz[], $6::timestamptz[], $7::boolean[],
  $8::text[], $9::text[], $10::text[], $11::uuid[])
  AS r(status, reported, duration, error, created_at, updated_at, fresh, inputs, outputs, logs, id)
WHERE w.id = r.id"""
PG_COUNT = """INSERT INTO run_count AS c (wpk_id, community_id, status, runs)
SELECT * FROM unnest($1::text[], $2::bigint[], $3::text[], $4::bigint[])
ON CONFLICT (wpk_id, community_id, status) DO UPDATE SET runs = c.runs + excluded.runs"""
PG_DAILY = """INSERT INTO workflow_daily AS d (wpk_id, community_id, day, status, runs, duration_ms_sum)
SELECT * FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[], $5::bigint[], $6::bigint[])
ON CONFLICT (wpk_id, community_id, day, status)
DO UPDATE SET runs = d.runs + excluded.runs, duration_ms_sum = d.duration_ms_sum + excluded.duration_ms_sum"""
PG_LATEST = """UPDATE workflow AS w SET total_runs = w.total_runs + r.added,
  latest_run_id = CASE WHEN w.latest_run_at IS NULL OR r.at >= w.latest_run_at OR w.latest_run_id = r.run_id THEN r.run_id
    ELSE w.latest_run_id END,
  latest_run_status = CASE WHEN w.latest_run_at IS NULL OR r.at >= w.latest_run_at OR w.latest_run_id = r.run_id
    THEN r.status ELSE w.latest_run_status END,
  latest_run_at = CASE WHEN w.latest_run_at IS NULL OR r.at >= w.latest_run_at OR w.latest_run_id = r.run_id THEN r.at
    ELSE w.latest_run_at END
FROM (SELECT l.id, l.added, l.run_id, l.status, l.at
  FROM unnest($1::uuid[], $2::bigint[], $3::text[], $4::text[], $5::timestamptz[]) AS l(id, added, run_id, status, at)
  JOIN workflow AS x ON x.id = l.id ORDER BY l.id FOR UPDATE OF x) AS r
WHERE w.id = r.id"""
PG_ENQUEUE = """INSERT INTO outbox (id, kind, subject, next_at, created)
SELECT i, $1, s, $4, $4 FROM unnest($2::uuid[], $3::uuid[]) AS n(i, s)
ON CONFLICT (kind, subject) DO UPDATE SET next_at = excluded.next_at, attempts = 0, error = NULL, dead_at = NULL"""


class PostgresRunWriter:
    """Writes inside the transaction of a grouped lane; keys are sorted, so that two rounds never deadlock."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def insert(self, rows: Sequence[RunRow]) -> list[bool]:
        """Insert; which of them were new."""
        if not rows:
            return []
        ordered = sorted(rows, key=_key)
        columns = [[_cell(row, name) for row in ordered] for name in _INSERTED]
        new = {row["id"] for row in await self._connection.fetch(PG_INSERT, *columns)}
        return [row.id in new for row in rows]

    async def load(self, keys: Sequence[RunKey]) -> dict[RunKey, KnownRun]:
        """The known runs among the keys, locked."""
        rows = await self._connection.fetch(PG_LOAD, *_columns(sorted(keys), 3))
        return {
            (row["wpk_id"], row["run_id"], row["community"]): KnownRun(
                id=row["id"],
                status=row["status"],
                created_at=row["created_at"],
                duration_ms=row["duration_ms"],
                reported_status=row["reported_status"],
                error=row["error"],
            )
            for row in rows
        }

    async def update(self, rows: Sequence[RunRow]) -> None:
        """Write known runs again."""
        values = [
            (r.status, r.reported_status, r.duration_ms, r.error, r.created_at, r.updated_at, r.prefer_new,
             _json(r.inputs), _json(r.outputs), _json(r.node_logs), r.id)
            for r in rows
        ]  # fmt: skip
        await self._connection.execute(PG_UPDATE, *_columns(values, 11))

    async def count(self, tally: Tally) -> None:
        """Add a round to the counters, the daily aggregates and the workflows' summaries."""
        if counts := [(*key, runs) for key, runs in tally.changed_counts().items()]:
            await self._connection.execute(PG_COUNT, *_columns(counts, 4))
        if days := [(*key, *values) for key, values in tally.changed_days().items()]:
            await self._connection.execute(PG_DAILY, *_columns(days, 6))
        if latest := [
            (workflow, last.added, last.run_id, last.status, last.at) for workflow, last in tally.latest.items()
        ]:
            await self._connection.execute(PG_LATEST, *_columns(latest, 5))

    async def record(self, rows: Sequence[Row]) -> None:
        """Add rows of the audit record."""
        await self._connection.execute(AUDIT.postgres, *AUDIT.arrays(rows))

    async def enqueue(self, kind: str, subjects: Iterable[UUID], now: datetime) -> None:
        """Put work into the outbox; work that waits already is not put twice."""
        if ordered := sorted(subjects):
            await self._connection.execute(PG_ENQUEUE, kind, [uuid7() for _ in ordered], ordered, now)


def _key(row: RunRow) -> RunKey:
    return row.key


def _cell(row: RunRow, name: str) -> Any:
    value = getattr(row, name)
    return _json(value) if name in _JSON else value


def _columns(rows: Iterable[Sequence[Any]], width: int) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)] or [[] for _ in range(width)]


def _json(value: Any) -> str | None:
    return None if value is None else dump_json(value)


def _lite_row(row: RunRow) -> tuple[Any, ...]:
    return (
        str(row.id), row.wpk_id, row.run_id, row.status, row.source, timestamp_text(row.created_at),
        timestamp_text(row.updated_at), _json(row.inputs), _json(row.outputs), _json(row.node_logs), row.duration_ms,
        row.community_id, None if row.workflow_id is None else str(row.workflow_id), row.workflow_version,
        row.reported_status, row.error,
    )  # fmt: skip
