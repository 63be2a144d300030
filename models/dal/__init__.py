"""The data layer: tables declared once, SQL built once per shape, every value bound, SQLite or PostgreSQL."""

from pydal import Field

from models.dal.call import Call, Row
from models.dal.dal import AsyncDAL
from models.dal.errors import (
    DatabaseError,
    DeadlineExceeded,
    Duplicate,
    Full,
    MigrationFailed,
    ReadOnly,
    Stale,
    StatementFailed,
    Unavailable,
    Violation,
)
from models.dal.options import Options
from models.dal.sqlite_writer import Round
from models.dal.url import sqlite_url

__all__ = [
    "AsyncDAL",
    "Call",
    "DatabaseError",
    "DeadlineExceeded",
    "Duplicate",
    "Field",
    "Full",
    "MigrationFailed",
    "Options",
    "ReadOnly",
    "Round",
    "Row",
    "Stale",
    "StatementFailed",
    "Unavailable",
    "Violation",
    "sqlite_url",
]
