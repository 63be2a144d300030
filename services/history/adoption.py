"""Runs and signals that were there before us: databases are adopted at the first start, files with `millrace import`.

Nothing of it is deleted by retention before an administrator has allowed it once (`POST /api/v1/retention/run`).
"""

from __future__ import annotations

import asyncio
import sqlite3
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from models import adoption
from models.records import RunStatus, uuid7
from services.errors import Invalid
from services.history.log_round import Report
from services.history.record import ALIASES, parse_run
from services.history.runs import RunLog

PAGE = 500
NAMESPACE = uuid.UUID("5a0f3f5e-2c3b-5d0e-9d55-6d1f6c1b7a11")  # ids of adopted rows that had none of ours
Now = Callable[[], datetime]


@dataclass(slots=True)
class Imported:
    """How many runs and signals were read, and what could not be."""

    runs: int = 0
    signals: int = 0
    rejected: int = 0


async def upgrade(db: Any, migrations: Path, now: Now) -> list[str]:
    """Bring a database to the newest schema, taking over tables that others made; the migrations that were missing."""
    for table in await adoption.tables_of_others(db):
        await adoption.take_over(db, table)
    applied: list[str] = await db.migrate(migrations)
    if db.engine == "postgres":
        await adoption.count_in_place(db)
    for table in await adoption.set_aside(db):
        async for rows in adoption.rows_set_aside(db, table):
            await _keep(db, table, rows, now)
        await adoption.drop_set_aside(db, table)
    return applied


async def import_file(db: Any, path: Path, now: Now) -> Imported:
    """Read the runs and signals of a SQLite file; the same file twice adds nothing. Invalid when it holds neither."""
    tables = await asyncio.to_thread(_tables, path)
    wanted = [table for table in adoption.ADOPTABLE if table in tables]
    if not wanted:
        raise Invalid(f"{path} has no table {' or '.join(adoption.ADOPTABLE)}")
    total = Imported()
    for table in wanted:
        reader = _pages(path, table)
        while rows := await asyncio.to_thread(next, reader, None):
            done = await _keep(db, table, rows, now)
            total.runs += done.runs
            total.signals += done.signals
            total.rejected += done.rejected
    return total


async def _keep(db: Any, table: str, rows: Sequence[Mapping[str, Any]], now: Now) -> Imported:
    if table == "insight_signals":
        return await _keep_signals(db, rows, now)
    reports, rejected = [], 0
    for row in rows:
        try:
            reports.append(_report(row, now))
        except Invalid:
            rejected += 1
    await RunLog(db, now).submit(reports)
    return Imported(runs=len(reports), rejected=rejected)


def _report(row: Mapping[str, Any], now: Now) -> Report:
    body = {name: row.get(name) for name in ("wpk_id", "run_id", "duration_ms")}
    body |= {name: _json(row.get(name)) for name in ("inputs", "outputs", "node_logs")}
    status = str(row.get("status") or "")
    known = status in ALIASES or status in set(RunStatus)
    body["status"] = status if known else RunStatus.INTERRUPTED
    if not isinstance(body["node_logs"], list | None):
        body["node_logs"] = [body["node_logs"]]
    run = parse_run({**body, "created_at": _moment(row.get("created_at"))})
    return Report(id=_id(row.get("id")) or uuid7(), run=run, source="import", received_at=now())


async def _keep_signals(db: Any, rows: Sequence[Mapping[str, Any]], now: Now) -> Imported:
    table, calls, rejected = db.insight_signals, [], 0
    for row in rows:
        try:
            values = {
                "id": _id(row.get("id")) or uuid.uuid5(NAMESPACE, orjson.dumps(dict(row), default=str).decode()),
                "metric": str(row["metric"]),
                "value": float(row["value"]),
                "score": float(row["score"]),
                "hint": row.get("hint"),
                "created_at": _moment(row.get("created_at")) or now(),
                "source": "import",
            }
        except (KeyError, TypeError, ValueError):
            rejected += 1
            continue
        calls.append(table.upsert(table.id, update=(), **values))
    if calls:
        await db.batch(*calls)
    return Imported(signals=len(calls), rejected=rejected)


def _json(value: Any) -> Any:
    if not isinstance(value, str | bytes):
        return value
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        return value if isinstance(value, str) else value.decode("utf-8", "replace")


def _moment(value: Any) -> datetime | None:
    """A time as other programs keep it: text of several kinds, or seconds since 1970; UTC where it says nothing."""
    if value is None:
        return None
    if isinstance(value, int | float):
        return datetime.fromtimestamp(value, UTC)
    try:
        found = datetime.fromisoformat(str(value).strip())
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _id(value: Any) -> uuid.UUID | None:
    try:
        return uuid.UUID(str(value))
    except ValueError:
        return None


def _open(path: Path) -> sqlite3.Connection:
    try:
        connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=10)
        connection.execute("SELECT 1 FROM sqlite_master").fetchall()
    except sqlite3.Error as error:
        raise Invalid(f"{path} is no SQLite file that can be read: {error}") from error
    connection.row_factory = sqlite3.Row
    return connection


def _tables(path: Path) -> set[str]:
    connection = _open(path)
    try:
        return {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    finally:
        connection.close()


def _pages(path: Path, table: str) -> Iterator[list[dict[str, Any]]]:
    last = -1
    while True:
        connection = _open(path)
        try:
            rows = connection.execute(
                f"SELECT rowid AS imported_row, * FROM {table} WHERE rowid > ? ORDER BY rowid LIMIT ?",  # noqa: S608
                (last, PAGE),
            ).fetchall()
        finally:
            connection.close()
        if not rows:
            return
        last = rows[-1]["imported_row"]
        yield [dict(row) for row in rows]
