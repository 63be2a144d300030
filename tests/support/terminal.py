"""The command line in this process: same code, same exit codes, on a database and packs of its own."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cli import main

FORGOTTEN = ("POSTGRES_DSN", "DATABASE_URL", "MILLRACE_KEY", "MILLRACE_URL", "MILLRACE_ADMIN_KEY")


class Millrace:
    """`millrace("user", "list")` runs a command; what it is told is kept apart: `output` and `stderr`."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = dict(environ)

    def __call__(self, *arguments: object, given: str | None = None, **environ: str) -> Result:
        env = {**dict.fromkeys(FORGOTTEN), **self.environ, **environ}
        return CliRunner().invoke(main, [str(a) for a in arguments], input=given, env=env, catch_exceptions=False)


@contextmanager
def quiet() -> Iterator[None]:
    """Commands set up logging for their process; this one is shared."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    yield
    root.handlers[:] = before
    root.setLevel(level)
    logging.captureWarnings(False)
    logging.getLogger("asyncio").setLevel(logging.NOTSET)


@pytest.fixture
def millrace(tmp_path: Path, database_engine: str, databases) -> Iterator[Millrace]:
    """The command line on an empty database, SQLite and PostgreSQL."""
    environ = {"DATA_DIR": str(tmp_path / "new" / "data"), "PACKS_DIR": str(tmp_path / "packs"), "PORT": "1"}
    url = databases.create(database_engine, None) if database_engine == "postgres" else None
    with quiet():
        yield Millrace(environ | ({"POSTGRES_DSN": url} if url else {}))
    if url:
        databases.drop(url)
