"""Restoring a backup: checked as a whole before anything is replaced, paused before anything can drive it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from models import backup, executions
from models.dal import DatabaseError
from models.dal.migrate import Migration, read_migrations
from services.access.actor import SYSTEM
from services.access.audit import AuditLog, Category, Entry, Result
from services.backup.archive import Manifest, sync_folder
from services.backup.backup import DATABASE, count_lines, opened
from services.errors import Conflict, Invalid
from services.execution.pause_all import PauseAll

REASON = "restored from a backup of {made_at}: look at what may have been done since, then resume"


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What a restore did. `set_aside`: where the database that was there before is now (SQLite)."""

    made_at: datetime
    rows: int
    unfinished: int
    set_aside: str | None = None


def check_schema(manifest: Manifest, migrations: Path) -> None:
    """Raises Invalid when this version cannot read that schema."""
    known = {str(entry.version): entry for entry in _known(manifest.engine, migrations)}
    newer = sorted(set(manifest.schema) - set(known), key=int)
    if newer:
        raise Invalid(
            f"The backup was made by version {manifest.product_version}, whose schema ({manifest.schema_version}) this "
            f"version does not know; install that version or a newer one"
        )
    changed = [known[number].name for number, digest in manifest.schema.items() if known[number].sha256 != digest]
    if changed or not manifest.schema:
        raise Invalid(f"The schema of the backup is not ours: {', '.join(changed) or 'no migration is recorded'}")


def _known(engine: str, migrations: Path) -> Sequence[Migration]:
    return read_migrations(migrations / engine)


async def check_file(folder: Path, manifest: Manifest) -> None:
    """Raises Invalid when the SQLite file in a folder is not whole, or holds other rows than were backed up."""
    try:
        async with opened(folder / DATABASE) as db:
            problems = await backup.problems_of_file(db)
            rows = {} if problems else await backup.count_rows(db)
    except DatabaseError as error:
        raise Invalid(f"The backup cannot be read: {error}") from error
    wrong = [name for name, count in manifest.rows.items() if not problems and rows.get(name) != count]
    if problems or wrong:
        raise Invalid("The backup is damaged", errors=[{"loc": (), "message": text} for text in problems or wrong])


async def check_tables(db: Any, folder: Path, manifest: Manifest) -> None:
    """Raises Invalid when the files in a folder are not the tables of the manifest, each with all its rows."""
    wrong = []
    for name in manifest.columns:
        file = folder / f"{name}.copy"
        there = name in db.tables and await asyncio.to_thread(file.exists)
        if not there or await asyncio.to_thread(count_lines, file) != manifest.rows.get(name):
            wrong.append(name)
    if wrong or manifest.columns.keys() != manifest.rows.keys():
        raise Invalid("The backup is damaged", errors=[{"loc": (), "message": name} for name in wrong])


async def load_tables(db: Any, folder: Path, manifest: Manifest, *, migrations: Path, force: bool) -> None:
    """Fill a PostgreSQL database. Raises Conflict when somebody works on it, or it holds something and not `force`."""
    await check_tables(db, folder, manifest)
    alive = await executions.count_alive(db)
    if alive:
        raise Conflict(f"{alive} workers drive executions of this database: stop servers and workers first")
    held = await backup.holds_anything(db)
    if held and not force:
        raise Conflict(f"The database is not empty ({', '.join(held[:5])} …); --force replaces everything in it")
    known = await backup.schema(db)
    if max(map(int, known), default=0) > manifest.schema_version:
        raise Conflict(
            f"The database has a newer schema ({max(map(int, known))}) than the backup ({manifest.schema_version}): "
            "restore into an empty database"
        )
    await db.migrate(migrations, upto=manifest.schema_version)
    await db.copy_in(folder, manifest.columns, emptied=await backup.tables(db))


async def is_full(db: Any) -> bool:
    """Whether a database holds anything of ours."""
    return bool(await backup.holds_anything(db))


async def settle(manifest: Manifest, *, audit: AuditLog, pause: PauseAll) -> None:
    """Pause everything and say in the record what was done; the schema is the newest by now."""
    await pause.order(paused=True, by=SYSTEM, reason=REASON.format(made_at=f"{manifest.made_at:%Y-%m-%dT%H:%M:%SZ}"))
    entry = Entry(
        category=Category.AUDIT,
        action="restore",
        result=Result.SUCCESS,
        actor=SYSTEM,
        details={"made_at": manifest.made_at.isoformat(), "version": manifest.product_version},
    )
    await audit.write(entry)


async def put_in_place(folder: Path, target: Path, at: datetime) -> str | None:
    """Make the file in a folder the database; what was there is set aside, its new name is the answer."""
    return await asyncio.to_thread(_put_in_place, folder, target, at)


def _put_in_place(folder: Path, target: Path, at: datetime) -> str | None:
    unfolded = folder / f"{DATABASE}-wal"
    if unfolded.exists() and unfolded.stat().st_size:
        raise Invalid("The restored database was not written to its end; nothing was replaced")
    aside = None
    if target.exists():
        aside = target.with_name(f"{target.stem}.before-restore-{at:%Y%m%dT%H%M%SZ}{target.suffix}")
        target.rename(aside)
        for tail in ("-wal", "-shm"):  # what was written last stands there, and must never meet the new file
            with suppress(FileNotFoundError):
                target.with_name(target.name + tail).rename(aside.with_name(aside.name + tail))
    (folder / DATABASE).replace(target)
    sync_folder(target.parent)
    return None if aside is None else str(aside)


def total(rows: Mapping[str, int]) -> int:
    """How many rows that are."""
    return sum(rows.values())
