"""One database URL in, one description of the database out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, quote, unquote

POSTGRES_SCHEMES = ("postgres", "postgresql", "postgresql+asyncpg", "postgres+asyncpg")


@dataclass(frozen=True, slots=True, kw_only=True)
class SqliteUrl:
    """A SQLite file."""

    path: Path
    read_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresUrl:
    """A PostgreSQL server, as asyncpg and libpq understand it."""

    dsn: str


def sqlite_url(path: Path) -> str:
    """The URL of a SQLite file."""
    return "sqlite:///" + quote(str(path.absolute()))


def parse_url(url: str) -> SqliteUrl | PostgresUrl:
    """Understand `sqlite:///relative.db`, `sqlite:////absolute.db` (`?mode=ro` for reading only) or `postgresql://…`.

    Raises ValueError for anything else, without repeating the URL: it may hold a password.
    """
    scheme, separator, rest = url.partition("://")
    if separator and scheme in POSTGRES_SCHEMES:
        return PostgresUrl(dsn="postgresql://" + rest)
    if separator and scheme == "sqlite":
        return _sqlite(rest)
    raise ValueError("a database URL begins with sqlite:/// or postgresql://")


def _sqlite(rest: str) -> SqliteUrl:
    location, _, query = rest.partition("?")
    path = unquote(location.removeprefix("/"))
    if not path or path == ":memory:":
        raise ValueError("a SQLite URL names a file, for example sqlite:///data/millrace.db")
    options = parse_qs(query)
    if set(options) - {"mode"} or options.get("mode", ["rw"]) not in (["ro"], ["rw"], ["rwc"]):
        raise ValueError("a SQLite URL knows one option, mode=ro")
    return SqliteUrl(path=Path(path), read_only=options.get("mode") == ["ro"])
