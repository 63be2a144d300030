"""Databases that other services left behind, as their documents describe them."""

import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from models.dal import AsyncDAL, sqlite_url
from models.runs import WorkflowRuns, by_run_id, payloads, workflow_page, workflow_total
from models.schema import declare
from services.errors import Invalid
from services.history.adoption import import_file, upgrade
from services.history.outbox import Indexer
from services.history.retention import Policy, Retention

ROOT = Path(__file__).parents[3]
NOW = datetime(2026, 6, 1, tzinfo=UTC)
PG_RUNS = """CREATE TABLE workflow_runs (id UUID PRIMARY KEY DEFAULT gen_random_uuid(), wpk_id TEXT NOT NULL,
  run_id TEXT NOT NULL, inputs JSONB, outputs JSONB, status TEXT NOT NULL, duration_ms INTEGER, node_logs JSONB,
  created_at TIMESTAMPTZ DEFAULT NOW(), updated_at TIMESTAMPTZ DEFAULT NOW())"""
PG_SIGNALS = """CREATE TABLE insight_signals (id UUID PRIMARY KEY, metric TEXT NOT NULL, value DOUBLE PRECISION NOT NULL,
  score DOUBLE PRECISION NOT NULL, hint TEXT, created_at TIMESTAMPTZ DEFAULT NOW())"""
LITE_RUNS = """CREATE TABLE workflow_runs (id TEXT PRIMARY KEY, wpk_id TEXT NOT NULL, run_id TEXT NOT NULL, inputs TEXT,
  outputs TEXT, status TEXT NOT NULL, duration_ms INTEGER, node_logs TEXT, created_at TEXT DEFAULT CURRENT_TIMESTAMP,
  updated_at TEXT DEFAULT CURRENT_TIMESTAMP)"""
LITE_SIGNALS = """CREATE TABLE insight_signals (id TEXT PRIMARY KEY, metric TEXT NOT NULL, value REAL NOT NULL,
  score REAL NOT NULL, hint TEXT, created_at TEXT DEFAULT CURRENT_TIMESTAMP)"""
ROWS = [  # run_id, status, outputs, duration, created
    ("r1", "running", None, None, "2024-01-15 10:00:00"),
    ("r1", "success", '{"text": "done"}', 1500, "2024-01-15 10:05:00"),
    ("r2", "failed", '"plain"', 20, "2024-01-16 10:00:00"),
    ("r3", "weird", None, None, "2024-01-17 10:00:00"),
]
ADD_RUN = (
    "INSERT INTO workflow_runs (id, wpk_id, run_id, status, outputs, duration_ms, created_at) VALUES (?,?,?,?,?,?,?)"
)
WANTED = WorkflowRuns(packages=["w-1.0.0"])


def fill(connection: sqlite3.Connection) -> None:
    connection.execute(LITE_RUNS)
    connection.execute(LITE_SIGNALS)
    for run_id, status, outputs, duration, created in ROWS:
        connection.execute(ADD_RUN, (str(uuid4()), "w-1.0.0", run_id, status, outputs, duration, created))
    connection.execute(
        "INSERT INTO insight_signals (id, metric, value, score, hint) VALUES ('x', 'cpu', 0.8, 2.3, 'h')"
    )
    connection.commit()


@pytest.fixture
async def old(database_engine, databases, tmp_path):
    """An open database that only has the old tables."""
    if database_engine == "sqlite":
        connection = sqlite3.connect(tmp_path / "old.db")
        fill(connection)
        connection.close()
        url = sqlite_url(tmp_path / "old.db")
    else:
        url = databases.create("postgres", migrations=None)
    async with declare(AsyncDAL(url)) as db:
        if database_engine == "postgres":
            await db.sql(PG_RUNS)
            await db.sql(PG_SIGNALS)
            for run_id, status, outputs, duration, created in ROWS:
                await db.sql(
                    "INSERT INTO workflow_runs (wpk_id, run_id, status, outputs, duration_ms, created_at)"
                    " VALUES ('w-1.0.0', :r, :s, CAST(:o AS jsonb), :d, CAST(CAST(:c AS text) AS timestamp) AT TIME ZONE 'UTC')",
                    r=run_id, s=status, o=None if outputs is None else __import__("json").loads(outputs), d=duration, c=created,
                )  # fmt: skip
            await db.sql(
                "INSERT INTO insight_signals (id, metric, value, score) VALUES (gen_random_uuid(), 'cpu', 0.8, 2.3)"
            )
        yield db
    if database_engine == "postgres":
        databases.drop(url)


async def adopt(db) -> None:
    await upgrade(db, ROOT / "migrations", lambda: NOW)


async def test_old_runs_are_kept_merged_and_counted(old):
    await adopt(old)

    rows = await workflow_page(old, WANTED, after=None, skip=0, count=10)
    [merged] = await by_run_id(old, "r1", None)
    assert [(row.run_id, row.status) for row in rows] == [("r3", "interrupted"), ("r2", "failed"), ("r1", "completed")]
    assert (merged.duration_ms, merged.reported_status, merged.source) == (1500, "success", "import")
    assert (await payloads(old, merged.id)).outputs == {"text": "done"}
    assert await workflow_total(old, WANTED) == 3
    assert await old.check_schema() == []


async def test_old_signals_are_kept(old):
    await adopt(old)

    [signal] = await old(old.insight_signals).select()
    assert (signal["metric"], signal["score"]) == ("cpu", 2.3)


async def test_adopting_again_changes_nothing(old):
    await adopt(old)

    await adopt(old)

    assert await workflow_total(old, WANTED) == 3


async def test_retention_leaves_adopted_runs_alone(old):
    await adopt(old)

    assert await Retention(old, Policy(), lambda: NOW).run() == 0


async def test_adopted_runs_are_indexed(old):
    await adopt(old)

    await Indexer(old, lambda: datetime.now(UTC) + timedelta(days=400), embed=False).catch_up()

    assert {row["text"] for row in await old(old.run_document).select()} == {"done", "plain", ""}


async def test_others_go_on_writing_to_the_adopted_table(old):
    await adopt(old)
    if old.engine == "sqlite":
        await old.sql(
            "INSERT INTO workflow_runs (id, wpk_id, run_id, status) VALUES (:i, 'w-1.0.0', 'r9', 'completed')",
            i=uuid4(),
        )
    else:
        await old.sql("INSERT INTO workflow_runs (wpk_id, run_id, status) VALUES ('w-1.0.0', 'r9', 'completed')")

    [found] = await by_run_id(old, "r9", None)

    assert (found.source, found.pinned) == ("import", False)
    assert found.created_at is not None


async def test_a_file_is_imported_once_however_often(db, tmp_path):
    connection = sqlite3.connect(tmp_path / "test_runs.db")
    fill(connection)
    connection.close()

    first = await import_file(db, tmp_path / "test_runs.db", lambda: NOW)
    await import_file(db, tmp_path / "test_runs.db", lambda: NOW)

    assert (first.runs, first.signals, first.rejected) == (4, 1, 0)
    assert await workflow_total(db, WANTED) == 3
    assert await db(db.insight_signals).count() == 1


@pytest.mark.parametrize("content", [b"no database at all, but long enough to be read", b""])
async def test_what_is_no_such_file_is_refused(db, tmp_path, content):
    path = tmp_path / "x.db"
    path.write_bytes(content)

    with pytest.raises(Invalid, match=r"x\.db"):
        await import_file(db, path, lambda: NOW)
