"""sqlite3's errors in our words."""

from __future__ import annotations

import re
import sqlite3

from models.dal.errors import (
    DatabaseError,
    DeadlineExceeded,
    Duplicate,
    Full,
    Kind,
    ReadOnly,
    StatementFailed,
    Unavailable,
    Violation,
)

_UNIQUE = re.compile(r"UNIQUE constraint failed: (?:index '(?P<index>.+)'|(?P<columns>.+))$")
_KINDS: dict[int, Kind] = {
    sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY: "foreign_key",
    sqlite3.SQLITE_CONSTRAINT_NOTNULL: "not_null",
    sqlite3.SQLITE_CONSTRAINT_CHECK: "check",
}
_KEYS = frozenset({sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY, sqlite3.SQLITE_CONSTRAINT_ROWID})
_BROKEN = frozenset({sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CANTOPEN})
_ELSEWHERE = _BROKEN | {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_NOMEM}
_WRONG_VALUE = frozenset({sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_TOOBIG})


def is_broken(error: BaseException) -> bool:
    """Whether the file itself cannot be written or read: an I/O error, a corrupt or vanished file."""
    return (_code(error) & 0xFF) in _BROKEN


def translate(error: BaseException, connection: sqlite3.Connection | None = None) -> BaseException:
    """Our error for one of sqlite3's, which becomes its cause; any other comes back as it is."""
    if isinstance(error, DatabaseError) or not isinstance(error, sqlite3.Error | OverflowError):
        return error
    ours = _ours(error, connection)
    ours.__cause__ = error
    return ours


def _code(error: BaseException) -> int:
    return getattr(error, "sqlite_errorcode", None) or 0


def _ours(error: Exception, connection: sqlite3.Connection | None) -> DatabaseError:
    code, message = _code(error), str(error)
    primary = code & 0xFF
    if isinstance(error, OverflowError) or primary in _WRONG_VALUE:
        return Violation("value", message=message)
    if primary == sqlite3.SQLITE_CONSTRAINT:
        return _constraint(code, message, connection)
    if primary == sqlite3.SQLITE_INTERRUPT:
        return DeadlineExceeded("the statement ran into its deadline")
    if primary == sqlite3.SQLITE_READONLY:
        return ReadOnly("the database file is read-only")
    if primary in _ELSEWHERE:
        return (Full if primary == sqlite3.SQLITE_FULL else Unavailable)(f"SQLite: {message}")
    return StatementFailed(message)


def _constraint(code: int, message: str, connection: sqlite3.Connection | None) -> DatabaseError:
    unique = _UNIQUE.match(message)
    if unique:
        return Duplicate(unique["index"] or _constraint_name(unique["columns"], code in _KEYS, connection))
    kind = _KINDS.get(code, "value")
    detail = message.partition(": ")[2] or None
    return Violation(kind, detail, message)


def _constraint_name(columns: str, is_key: bool, connection: sqlite3.Connection | None) -> str:
    """SQLite names the columns; PostgreSQL the constraint. Find the index, or follow PostgreSQL's convention."""
    pairs = [column.split(".", 1) for column in columns.split(", ")]
    table, names = pairs[0][0], [name for _, name in pairs]
    if is_key:
        return f"{table}_pkey"
    found = _index_on(table, names, connection) if connection is not None else None
    return found or f"{table}_{'_'.join(names)}_key"


def _index_on(table: str, names: list[str], connection: sqlite3.Connection) -> str | None:
    """The unique index on exactly these columns, `table_pkey` for a key, None for an unnamed constraint."""
    indexes = connection.execute('SELECT name, origin FROM pragma_index_list(?) WHERE "unique"', (table,)).fetchall()
    for index, origin in indexes:
        found = connection.execute("SELECT name FROM pragma_index_info(?) ORDER BY seqno", (index,)).fetchall()
        if [name for (name,) in found] == names:
            return {"pk": f"{table}_pkey", "c": str(index)}.get(origin)
    return None
