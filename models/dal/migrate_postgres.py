"""Applies migrations to a PostgreSQL database."""

from __future__ import annotations

from collections.abc import Sequence

import asyncpg

from models.dal.errors import MigrationFailed, Unavailable
from models.dal.migrate import LEDGER, Migration
from models.dal.postgres_errors import translate
from models.dal.postgres_pool import Connection

LOCK = 7_305_181  # pg_advisory_lock: one runner at a time
LOCK_TIMEOUT_S = 60.0


async def apply(connection: Connection, migrations: Sequence[Migration]) -> list[str]:
    """Apply what is missing, under an advisory lock; the names of what was applied."""
    await connection.execute("SET statement_timeout = 0")
    await connection.execute(f"SET lock_timeout = '{int(LOCK_TIMEOUT_S)}s'")
    try:
        await connection.execute("SELECT pg_advisory_lock($1)", LOCK, timeout=LOCK_TIMEOUT_S + 5)
    except (asyncpg.LockNotAvailableError, TimeoutError) as error:
        raise MigrationFailed("another process has been migrating for a minute") from error
    await connection.execute(LEDGER.format(integer="bigint", moment="timestamptz", now="now()"))
    rows = await connection.fetch("SELECT version, sha256 FROM schema_migration")
    applied = {row["version"]: row["sha256"] for row in rows}
    missing = [migration for migration in migrations if not migration.already(applied.get(migration.version))]
    for migration in missing:
        await _apply_one(connection, migration)
    return [migration.name for migration in missing]


async def _apply_one(connection: Connection, migration: Migration) -> None:
    try:
        if migration.transactional:
            async with connection.transaction():
                await connection.execute("SET LOCAL lock_timeout = '5s'")
                await connection.execute(migration.sql, timeout=None)
                await _record(connection, migration)
        else:
            await connection.execute(migration.sql, timeout=None)
            await _record(connection, migration)
    except asyncpg.PostgresError as error:
        ours = translate(error)
        if isinstance(ours, Unavailable):  # the file is not to blame
            raise ours from error
        raise MigrationFailed(f"{migration.name}: {error}") from error


async def _record(connection: Connection, migration: Migration) -> None:
    await connection.execute(
        "INSERT INTO schema_migration (version, name, sha256) VALUES ($1, $2, $3)",
        migration.version,
        migration.name,
        migration.sha256,
    )
