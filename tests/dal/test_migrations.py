"""Numbered files: applied once, in order, whole, and never changed afterwards."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from models.dal import AsyncDAL, MigrationFailed, StatementFailed


@pytest.fixture
def folder(tmp_path: Path, database_engine: str):
    """Writes a migration file."""
    (tmp_path / database_engine).mkdir()

    def write(name: str, sql: str) -> Path:
        (tmp_path / database_engine / name).write_text(sql)
        return tmp_path

    return write


@pytest.fixture
async def empty(database_engine, databases):
    url = databases.create(database_engine, None)
    async with AsyncDAL(url) as db:
        yield db
    databases.drop(url)


async def test_files_are_applied_once_and_in_order(empty, folder):
    folder("0002_b.sql", "INSERT INTO thing VALUES (1); INSERT INTO thing VALUES (2);")
    path = folder("0001_a.sql", "CREATE TABLE thing (a bigint)")

    applied = [await empty.migrate(path), await empty.migrate(path)]

    assert applied == [["0001_a", "0002_b"], []]
    assert await empty.sql("SELECT count(*) FROM thing").scalar() == 2


async def test_four_runners_at_once_apply_a_file_once(empty, folder):
    folder("0001_a.sql", "CREATE TABLE thing (a bigint)")
    path = folder("0002_b.sql", "INSERT INTO thing VALUES (1)")

    applied = await asyncio.gather(*[empty.migrate(path) for _ in range(4)])

    assert sorted(name for names in applied for name in names) == ["0001_a", "0002_b"]
    assert await empty.sql("SELECT count(*) FROM thing").scalar() == 1


async def test_a_changed_file_stops_the_start(empty, folder):
    await empty.migrate(folder("0001_a.sql", "CREATE TABLE thing (a bigint)"))

    with pytest.raises(MigrationFailed, match="0001_a was changed after it had been applied"):
        await empty.migrate(folder("0001_a.sql", "CREATE TABLE thing (a bigint, b bigint)"))


async def test_a_broken_file_leaves_nothing_behind(empty, folder):
    path = folder("0001_a.sql", "CREATE TABLE thing (a bigint); INSERT INTO nowhere VALUES (1);")

    with pytest.raises(MigrationFailed, match=r"0001_a: .*nowhere"):
        await empty.migrate(path)

    with pytest.raises(StatementFailed):
        await empty.sql("SELECT * FROM thing")


async def test_a_file_may_run_outside_a_transaction(empty, folder):
    concurrently = "CONCURRENTLY " if empty.engine == "postgres" else ""
    folder("0001_a.sql", "CREATE TABLE thing (a bigint)")
    path = folder("0002_b.sql", f"-- no transaction\nCREATE INDEX {concurrently}things ON thing (a)")

    assert await empty.migrate(path) == ["0001_a", "0002_b"]


async def test_a_trigger_with_semicolons_is_one_statement(databases, tmp_path):
    (tmp_path / "sqlite").mkdir()
    (tmp_path / "sqlite" / "0001_a.sql").write_text(
        "CREATE TABLE thing (a); -- a; comment\n"
        "CREATE TRIGGER twice AFTER INSERT ON thing WHEN new.a = 1 BEGIN\n"
        "  INSERT INTO thing VALUES (2);\n  INSERT INTO thing VALUES ('; --');\nEND;\n"
    )
    async with AsyncDAL(databases.create("sqlite", None)) as db:
        await db.migrate(tmp_path)
        await db.sql("INSERT INTO thing VALUES (1)")

        assert await db.sql("SELECT count(*) FROM thing").scalar() == 3


async def test_broken_foreign_keys_are_not_committed(databases, tmp_path):
    (tmp_path / "sqlite").mkdir()
    (tmp_path / "sqlite" / "0001_a.sql").write_text(
        "CREATE TABLE parent (id INTEGER PRIMARY KEY);\n"
        "CREATE TABLE child (id INTEGER PRIMARY KEY, parent INTEGER REFERENCES parent (id));\n"
        "INSERT INTO child VALUES (1, 7);\n"
    )
    async with AsyncDAL(databases.create("sqlite", None)) as db:
        with pytest.raises(MigrationFailed, match="broken foreign keys"):
            await db.migrate(tmp_path)


@pytest.mark.parametrize(
    ("names", "message"),
    [(["init.sql"], "is not named like"), (["0001_a.sql", "001_b.sql"], "have the same number"), ([], "no migrations")],
)
async def test_a_folder_that_makes_no_sense_is_refused(tmp_path, names, message):
    for name in names:
        (tmp_path / "sqlite").mkdir(exist_ok=True)
        (tmp_path / "sqlite" / name).write_text("SELECT 1")

    with pytest.raises(MigrationFailed, match=message):
        await AsyncDAL(f"sqlite:///{tmp_path}/x.db").migrate(tmp_path)


async def test_a_new_file_can_give_space_back(databases):
    async with AsyncDAL(databases.create("sqlite")) as db:
        modes = await db.batch(
            db.sql("SELECT auto_vacuum FROM pragma_auto_vacuum").scalar(),
            db.sql("SELECT journal_mode FROM pragma_journal_mode").scalar(),
        )

    assert modes == [2, "wal"]
