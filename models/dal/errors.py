"""What the database can answer besides rows. Services say what each of these means to a user.

DatabaseError
├── Duplicate            a unique constraint; carries its name, the same on both databases
├── Stale                expect() counted other rows than it was told: somebody was faster
├── Violation            any other constraint, or a value its column cannot hold
├── Unavailable          the database cannot answer now; the outcome of a write may be unknown
│   ├── DeadlineExceeded     the statement ran longer than it may, and was stopped
│   ├── ReadOnly             it answers, but takes no writes
│   └── Full                 it answers, but has no room for what should be written
├── MigrationFailed      a numbered file was changed, or does not apply
└── StatementFailed      the statement itself is wrong: a bug of ours
"""

from __future__ import annotations

from typing import Literal

Kind = Literal["foreign_key", "not_null", "check", "value"]


class DatabaseError(Exception):
    """The database refused."""


class Duplicate(DatabaseError):
    """A unique constraint forbids this row.

    `constraint` follows PostgreSQL's naming on both databases: `table_pkey`, `table_column_key`, or the name
    given to a unique index.
    """

    def __init__(self, constraint: str) -> None:
        super().__init__(f"duplicate value for {constraint}")
        self.constraint = constraint


class Stale(DatabaseError):
    """The row was changed by somebody else in between; nothing was written."""

    def __init__(self, *, expected: int, found: int) -> None:
        super().__init__(f"expected {expected} row(s), found {found}")
        self.expected = expected
        self.found = found


class Violation(DatabaseError):
    """A constraint other than uniqueness forbids this; `constraint` is its name where the database tells it."""

    def __init__(self, kind: Kind, constraint: str | None = None, message: str | None = None) -> None:
        super().__init__(message or f"{kind} violated" + (f": {constraint}" if constraint else ""))
        self.kind = kind
        self.constraint = constraint


class Unavailable(DatabaseError):
    """The database cannot answer now."""


class DeadlineExceeded(Unavailable):
    """The statement was stopped at its deadline."""


class ReadOnly(Unavailable):
    """The database takes no writes."""


class Full(Unavailable):
    """The database has no room: its disk is full, or it may not grow any more. Nothing was written."""


class MigrationFailed(DatabaseError):
    """A migration does not apply, or was changed after it had been applied."""


class StatementFailed(DatabaseError):
    """The database does not understand the statement."""
