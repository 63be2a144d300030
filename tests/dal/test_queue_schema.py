"""The queue's tables in our migrations are those that the installed PgQueuer declares."""

from __future__ import annotations

from pgqueuer.db import AsyncpgDriver
from pgqueuer.queries import Queries

OPTIONS = """
SELECT relname, unnest(reloptions) AS option FROM pg_class WHERE relname LIKE 'pgqueuer%' AND relkind = 'r' ORDER BY 1, 2
"""


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


async def test_the_queue_is_vacuumed_as_the_installed_one_would_have_it(databases):
    import asyncpg

    url = databases.create("postgres")
    connection = await asyncpg.connect(url)
    try:
        ours = await connection.fetch(OPTIONS)
        await Queries(AsyncpgDriver(connection)).optimize_autovacuum()
        theirs = await connection.fetch(OPTIONS)
    finally:
        await connection.close()
        databases.drop(url)

    assert len(ours) == 22
    assert ours == theirs
