"""Applies migrations to a SQLite file."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

from models.dal.errors import MigrationFailed, Unavailable
from models.dal.migrate import LEDGER, Migration
from models.dal.sqlite_errors import translate

LOCK_TIMEOUT_S = 60.0
_TOKENS = re.compile(r"'(?:[^']|'')*'|\"[^\"]*\"|--[^\n]*|/\*.*?\*/|;", re.S)  # a semicolon, or what may hide one


def apply(path: Path, migrations: Sequence[Migration]) -> list[str]:
    """Apply what is missing, under the write lock of the file; the names of what was applied."""
    try:
        with closing(sqlite3.connect(path, isolation_level=None, timeout=LOCK_TIMEOUT_S)) as connection:
            connection.execute("PRAGMA foreign_keys=OFF")  # a table may be rebuilt; all keys are checked before COMMIT
            connection.execute(LEDGER.format(integer="INTEGER", moment="TEXT", now="CURRENT_TIMESTAMP"))
            return [migration.name for migration in migrations if _apply_one(connection, migration)]
    except sqlite3.Error as error:
        raise translate(error) from error


def _apply_one(connection: sqlite3.Connection, migration: Migration) -> bool:
    if not migration.transactional:
        return _apply_unguarded(connection, migration)
    connection.execute("BEGIN IMMEDIATE")
    try:
        if _applied(connection, migration):
            connection.execute("ROLLBACK")
            return False
        _run(connection, migration)
        _check_keys(connection, migration)
        _record(connection, migration)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return True


def _apply_unguarded(connection: sqlite3.Connection, migration: Migration) -> bool:
    if _applied(connection, migration):
        return False
    _run(connection, migration)
    _record(connection, migration)
    return True


def _applied(connection: sqlite3.Connection, migration: Migration) -> bool:
    row = connection.execute("SELECT sha256 FROM schema_migration WHERE version = ?", (migration.version,)).fetchone()
    return migration.already(row[0] if row else None)


def _run(connection: sqlite3.Connection, migration: Migration) -> None:
    try:
        for statement in statements(migration.sql):
            connection.execute(statement)
    except sqlite3.Error as error:
        ours = translate(error)
        if isinstance(ours, Unavailable):  # the file is not to blame
            raise ours from error
        raise MigrationFailed(f"{migration.name}: {error}") from error


def _check_keys(connection: sqlite3.Connection, migration: Migration) -> None:
    if connection.execute("PRAGMA foreign_key_check").fetchone():
        raise MigrationFailed(f"{migration.name} leaves broken foreign keys")


def _record(connection: sqlite3.Connection, migration: Migration) -> None:
    connection.execute(
        "INSERT INTO schema_migration (version, name, sha256) VALUES (?, ?, ?)",
        (migration.version, migration.name, migration.sha256),
    )


def statements(text: str) -> Iterator[str]:
    """The single statements of a script: executescript() would commit, and a semicolon may be part of a trigger."""
    begin = 0
    for token in _TOKENS.finditer(text):
        if token[0] == ";" and sqlite3.complete_statement(text[begin : token.end()]):
            yield text[begin : token.end()]
            begin = token.end()
    if text[begin:].strip():
        yield text[begin:]
