"""Backup and restore of the database of these settings: which files, which services, in which order."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from app import build_services
from composition.base import open_database
from composition.execution import lock_path
from composition.life import MIGRATIONS
from config import VERSION, Settings
from controllers.context import Services
from services.access.authentication import utc_now
from services.backup import archive, backup, restore, since
from services.backup.archive import Manifest
from services.errors import Conflict
from services.execution.file_lock import DatabaseLocked, FileLock
from services.history.adoption import upgrade
from services.metrics import Metrics
from services.readiness import Readiness


async def back_up(settings: Settings, target: Path) -> dict[str, Any]:
    """Write a backup, also while a server works on the database."""
    if not settings.postgres_dsn and not (settings.data_dir / backup.DATABASE).exists():
        raise Conflict(f"There is no database at {settings.data_dir / backup.DATABASE}; DATA_DIR says where it is")
    async with open_database(settings, Readiness(), Metrics()) as db:
        made = await backup.make(db, target, version=VERSION, now=utc_now)
    size = await asyncio.to_thread(target.stat)
    return {
        "file": str(target),
        "database": made.engine,
        "made_at": made.made_at,
        "schema": made.schema_version,
        "rows": restore.total(made.rows),
        "bytes": size.st_size,
    }


async def put_back(settings: Settings, source: Path, *, force: bool) -> dict[str, Any]:
    """Restore a backup, paused. The answer says what was done and, in `effects`, what may have been done since."""
    manifest = await asyncio.to_thread(archive.read_manifest, source)
    engine = "postgres" if settings.postgres_dsn else "sqlite"
    if manifest.engine != engine:
        raise Conflict(f"This is a backup of {manifest.engine}, and the settings name a {engine} database")
    restore.check_schema(manifest, MIGRATIONS)
    settings.make_data_dir()
    with tempfile.TemporaryDirectory(prefix=".millrace-restore-", dir=settings.data_dir) as name:
        folder = Path(name)
        await asyncio.to_thread(archive.unpack, source, folder)
        if engine == "postgres":
            return await _into_postgres(settings, folder, manifest, force=force)
        return await _into_file(settings, folder, manifest, force=force)


async def _into_postgres(settings: Settings, folder: Path, manifest: Manifest, *, force: bool) -> dict[str, Any]:
    async with open_database(settings, Readiness(), Metrics()) as db:
        await restore.load_tables(db, folder, manifest, migrations=MIGRATIONS, force=force)
    return await _settled(settings, manifest)


async def _into_file(settings: Settings, folder: Path, manifest: Manifest, *, force: bool) -> dict[str, Any]:
    target = settings.data_dir / backup.DATABASE
    await restore.check_file(folder, manifest)
    async with _alone(settings):
        if target.exists() and not force:
            await _refuse_full(settings, target)
        found = await _settled(replace(settings, data_dir=folder), manifest)
        aside = await restore.put_in_place(folder, target, utc_now())
    return {**found, "set_aside": aside}


@asynccontextmanager
async def _alone(settings: Settings) -> AsyncIterator[None]:
    lock = FileLock(lock_path(settings))
    try:
        lock.take()
    except DatabaseLocked as error:
        raise Conflict(f"Stop the server first: {error}") from error
    try:
        yield
    finally:
        lock.release()


async def _refuse_full(settings: Settings, target: Path) -> None:
    async with open_database(settings, Readiness(), Metrics()) as db:
        if await restore.is_full(db):
            raise Conflict(f"{target} is not empty; --force sets it aside and puts the backup in its place")


async def _settled(settings: Settings, manifest: Manifest) -> dict[str, Any]:
    """Bring the restored database to the newest schema, pause it, and see what is open in it."""
    here: Services = build_services(settings)
    async with here.db:
        await upgrade(here.db, MIGRATIONS, utc_now)
        await restore.settle(manifest, audit=here.audit, pause=here.execution.pause_all)
        effects, unfinished = await since.effects_since(here.db, here.execution.library)
    facts = asdict(restore.Restored(made_at=manifest.made_at, rows=restore.total(manifest.rows), unfinished=unfinished))
    return {**facts, "paused": True, "effects": effects}
