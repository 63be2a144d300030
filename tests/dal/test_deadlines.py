"""Every wait has an end."""

from __future__ import annotations

import asyncio
from contextvars import Context

import pytest

from models.dal import AsyncDAL, DeadlineExceeded, Options, Unavailable
from tests.dal.conftest import MIGRATIONS, declare

ENDLESS = {
    "sqlite": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n",
    "postgres": "SELECT pg_sleep(3600)",
}
ENDLESS_WRITE = {
    "sqlite": "INSERT INTO step (workflow, name)"
    " WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT 'x', i FROM n WHERE i < 0",
    "postgres": "INSERT INTO step (workflow, name) SELECT gen_random_uuid(), '' FROM pg_sleep(3600)",
}


async def test_a_running_statement_is_stopped_at_its_deadline(small):
    with pytest.raises(DeadlineExceeded):
        await small.sql(ENDLESS[small.engine]).within(0.05)

    assert await small(small.workflow).count() == 0


async def test_the_connections_own_deadline_holds_for_every_statement(small_url):
    async with declare(AsyncDAL(small_url, Options(statement_timeout_s=0.1))) as db:
        with pytest.raises(DeadlineExceeded):
            await db.sql(ENDLESS[db.engine])


async def test_a_write_that_is_stopped_harms_nobody_in_its_round(small):
    w = small.workflow
    slow = small.sql(ENDLESS_WRITE[small.engine]).within(0.1)

    outcomes = await asyncio.gather(
        w.insert(ref="before"), slow, w.insert(ref="after"), small.batch(w.insert(ref="b")), return_exceptions=True
    )

    assert [outcomes[0], type(outcomes[1]), outcomes[2], outcomes[3]] == [1, DeadlineExceeded, 1, [1]]
    assert await small(w).count() == 3


async def test_a_statement_stopped_inside_a_transaction_ends_it(small):
    with pytest.raises(DeadlineExceeded):
        async with small.transaction():
            await small.sql(ENDLESS_WRITE[small.engine]).within(0.05)

    assert await small.workflow.insert(ref="a") == 1


async def test_a_grouped_round_has_a_deadline(small_url):
    async with declare(AsyncDAL(small_url, Options(statement_timeout_s=0.1))) as db:

        async def postgres(connection, members):
            await connection.fetch(ENDLESS["postgres"])
            return members

        lane = db.grouped(sqlite=lambda round_, members: round_.fetch(ENDLESS["sqlite"]), postgres=postgres)

        with pytest.raises(DeadlineExceeded):
            await lane.submit("x")
        assert await db.workflow.insert(ref="a") == 1


async def test_cancelling_a_query_stops_it_on_the_server(databases):
    url = databases.create("postgres", MIGRATIONS)
    async with AsyncDAL(url, Options(pool_size=1)) as db:
        task = asyncio.create_task(_await(db.sql(ENDLESS["postgres"])))
        await _until(databases, url, running=True)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

        assert await db.sql("SELECT 1").scalar() == 1
        await _until(databases, url, running=False)
    databases.drop(url)


async def test_waiting_for_a_connection_ends(databases):
    url = databases.create("postgres", MIGRATIONS)
    async with AsyncDAL(url, Options(pool_size=1, acquire_timeout_s=0.05)) as db:
        async with db.transaction():
            task = Context().run(asyncio.get_running_loop().create_task, _outcome(db))
            waiting = await task

        assert isinstance(waiting, Unavailable)
        assert await db.sql("SELECT 1").scalar() == 1
    databases.drop(url)


async def test_a_deadline_passes_while_waiting_for_the_writer(databases):
    async with declare(AsyncDAL(databases.create("sqlite", MIGRATIONS))) as db:
        slow = asyncio.create_task(_await(db.sql(ENDLESS_WRITE["sqlite"]).within(0.2)))
        await asyncio.sleep(0)
        late = db.workflow.insert(ref="late").within(0.01)

        with pytest.raises(DeadlineExceeded, match="waited longer"):
            await late
        with pytest.raises(DeadlineExceeded):
            await slow


async def _await(call):
    return await call


async def _outcome(db):
    try:
        return await db.sql("SELECT 1")
    except Unavailable as error:
        return error


async def _until(databases, url, *, running):
    name = url.rpartition("/")[2]
    query = f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{name}' AND wait_event = 'PgSleep'"
    while bool(await asyncio.to_thread(databases.server.value, query)) is not running:
        await asyncio.sleep(0)
