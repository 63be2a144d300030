"""Opening a SQLite file with the settings everything else relies on."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path

from models.dal.options import Options
from models.dal.sqlite_errors import translate

WRITER_PRAGMAS = (
    "PRAGMA auto_vacuum=INCREMENTAL",  # before the first table, so that retention can give space back
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous={synchronous}",
    "PRAGMA wal_autocheckpoint=8000",  # pages: about 32 MB of WAL before it is folded back; each fold stops the writer
    "PRAGMA journal_size_limit=67108864",
)
PRAGMAS = (
    "PRAGMA foreign_keys=ON",
    "PRAGMA temp_store=MEMORY",
    "PRAGMA case_sensitive_like=ON",  # LIKE then means what it means on PostgreSQL
    "PRAGMA cache_size=-8000",  # KiB for each connection; what does not fit is in the system's own cache, once for all
)
STEPS_BETWEEN_LOOKS = 20_000  # virtual machine steps between two looks at the clock: under a millisecond


class Deadline:
    """When the running statement of one connection has to stop."""

    __slots__ = ("at",)

    def __init__(self) -> None:
        self.at = float("inf")

    def passed(self) -> bool:
        """Whether it is over; SQLite asks while a statement runs and stops it then."""
        return time.monotonic() > self.at


def connect(
    path: Path, *, options: Options, writer: bool, read_only: bool = False
) -> tuple[sqlite3.Connection, Deadline]:
    """A connection for one thread. The deadline is looked at inside SQLite, so no other thread has to interrupt."""
    mode = "ro" if read_only else "rw"
    if writer and not read_only:  # the files beside it get the same mode
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    connection = sqlite3.connect(
        f"file:{_escaped(path)}?mode={mode}",
        uri=True,
        isolation_level=None,
        cached_statements=512,
        timeout=options.busy_timeout_s,
    )
    try:
        for pragma in (WRITER_PRAGMAS if writer and not read_only else ()) + PRAGMAS:
            connection.execute(pragma.format(synchronous=options.synchronous)).fetchall()
        if not writer:
            connection.execute("PRAGMA query_only=ON")
    except BaseException:
        connection.close()
        raise
    deadline = Deadline()
    connection.set_progress_handler(deadline.passed, STEPS_BETWEEN_LOOKS)
    return connection, deadline


def copy_database(source: Path, target: Path) -> None:
    """Write a compact copy of a database into a new file. Raises FileExistsError when it is there already."""
    if target.exists():
        raise FileExistsError(target)
    try:
        with closing(sqlite3.connect(f"file:{_escaped(source)}?mode=ro", uri=True)) as connection:
            connection.execute("VACUUM INTO ?", (str(target),))
    except sqlite3.Error as error:
        raise translate(error) from error


def _escaped(path: Path) -> str:
    return str(path.absolute()).replace("%", "%25").replace("?", "%3f").replace("#", "%23")
