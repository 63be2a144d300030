"""The queue's tables in our migrations are those that the installed PgQueuer declares."""

from __future__ import annotations

from pgqueuer.db import AsyncpgDriver
from pgqueuer.queries import Queries


async def test_our_migrations_make_the_schema_of_the_installed_queue(databases):
    import asyncpg

    url = databases.create("postgres")
    connection = await asyncpg.connect(url)
    try:
        plan = await Queries(AsyncpgDriver(connection)).plan_upgrade()
    finally:
        await connection.close()
        databases.drop(url)

    assert list(plan.statements) == []
