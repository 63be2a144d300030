"""Making a backup: everything in the database as of one moment, while others read and write it."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from models import backup
from models.dal import AsyncDAL, Options
from models.dal.url import sqlite_url
from models.schema import declare
from services.access.actor import SYSTEM
from services.access.audit import AuditLog, Category, Entry, Result
from services.backup.archive import Manifest, pack
from services.errors import Invalid

DATABASE = "millrace.db"
LONG_S = 24 * 3600.0


async def make(db: Any, target: Path, *, version: str, now: Callable[[], datetime]) -> Manifest:
    """Write a backup of this database to a new file. Needs room for a second copy beside it while it works.

    Raises Invalid when the file is there already or cannot be written, or when there is nothing to back up.
    """
    if await asyncio.to_thread(target.exists):
        raise Invalid(f"{target} is there already; a backup never replaces a file")
    if not await backup.is_ours(db):
        raise Invalid("This database holds nothing of Millrace")
    await AuditLog(db, now=now).write(
        Entry(category=Category.AUDIT, action="backup", result=Result.SUCCESS, actor=SYSTEM, resource=target.name)
    )
    try:
        with tempfile.TemporaryDirectory(prefix=".millrace-backup-", dir=target.parent) as folder:
            manifest = await _copied(db, Path(folder), version, now())
            await asyncio.to_thread(pack, Path(folder), manifest, target)
    except OSError as error:
        raise Invalid(f"{target} cannot be written: {error.strerror}") from error
    return manifest


async def _copied(db: AsyncDAL, folder: Path, version: str, at: datetime) -> Manifest:
    """Copy the database into a folder; what happens behind `at` may or may not be in the copy."""
    if db.engine == "postgres":
        columns = await db.copy_out(folder)
        rows = {name: await asyncio.to_thread(count_lines, folder / f"{name}.copy") for name in columns}
        return _manifest(at, version, engine=db.engine, schema=await backup.schema(db), rows=rows, columns=columns)
    await db.backup(folder / DATABASE)
    async with opened(folder / DATABASE) as copy:
        schema, rows = await backup.schema(copy), await backup.count_rows(copy)
    return _manifest(at, version, engine=db.engine, schema=schema, rows=rows)


def opened(file: Path) -> AsyncDAL:
    """A SQLite file that nobody else uses, for reading, however long that takes."""
    options = Options(readers=1, statement_timeout_s=LONG_S)
    found: AsyncDAL = declare(AsyncDAL(f"{sqlite_url(file)}?mode=ro", options))
    return found


def _manifest(at: datetime, version: str, **facts: Any) -> Manifest:
    return Manifest(made_at=at, product_version=version, **facts)


def count_lines(path: Path) -> int:
    """How many rows a file of COPY text has: a line break inside a value is written as two characters."""
    with path.open("rb") as file:
        return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))
