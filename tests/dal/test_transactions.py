"""Units: batches, interactive transactions, who owns them, and what cancelling does."""

from __future__ import annotations

import asyncio
from contextvars import Context

import pytest

from models.dal import AsyncDAL, Options, StatementFailed, Unavailable
from tests.dal.conftest import declare


async def test_a_batch_answers_each_of_its_calls(small):
    w = small.workflow

    results = await small.batch(w.insert(ref="a"), small(w).count(), small(w.ref == "a").select(w.ref).first())

    assert results == [1, 1, {"ref": "a"}]


async def test_an_empty_batch_is_nothing(small):
    assert await small.batch() == []


async def test_an_error_rolls_a_transaction_back(small):
    w = small.workflow

    with pytest.raises(KeyError):
        async with small.transaction():
            await w.insert(ref="tx")
            assert await small(w.ref == "tx").count() == 1
            raise KeyError

    assert await small(w).count() == 0


async def test_a_transaction_commits_what_its_statements_decided(small):
    w = small.workflow

    async with small.transaction():
        await w.insert(ref="tx")
        if await small(w.ref == "tx").count():
            await small.batch(small(w.ref == "tx").update(n=1), w.insert(ref="second"))

    assert await small(w).count() == 2


async def test_a_child_task_may_not_use_its_parents_transaction(small):
    async def child():
        return await small(small.workflow).count()

    async with small.transaction():
        with pytest.raises(RuntimeError, match="another task"):
            await asyncio.gather(child())


async def test_a_task_that_outlives_the_transaction_works_on_its_own(small):
    ended = asyncio.Event()

    async def child():
        await ended.wait()
        return await small(small.workflow).count()

    async with small.transaction():
        task = asyncio.create_task(child())
        await small.workflow.insert(ref="a")
    ended.set()

    assert await task == 1


async def test_transactions_do_not_nest(small):
    async with small.transaction():
        with pytest.raises(RuntimeError, match="do not nest"):
            async with small.transaction():
                pass


async def test_two_databases_may_be_in_transactions_together(small, tmp_path):
    async with AsyncDAL(f"sqlite:///{tmp_path}/other.db") as other:
        await other.sql("CREATE TABLE thing (a)")
        async with small.transaction(), other.transaction():
            await small.workflow.insert(ref="a")
            await other.sql("INSERT INTO thing VALUES (1)")

        assert await small(small.workflow).count() == 1
        assert await other.sql("SELECT count(*) FROM thing").scalar() == 1


async def test_a_cancelled_transaction_is_rolled_back_and_frees_its_connection(small):
    inside = asyncio.Event()

    async def work():
        async with small.transaction():
            await small.workflow.insert(ref="a")
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert await small(small.workflow).count() == 0
    assert await small.workflow.insert(ref="a") == 1


async def test_cancelling_while_waiting_for_the_writer_leaves_it_usable(small_url):
    async with declare(AsyncDAL(small_url, Options(pool_size=1))) as db:

        async def wait_for_it():
            async with db.transaction():
                pass

        inside = Context()
        async with db.transaction():
            second = inside.run(asyncio.get_running_loop().create_task, wait_for_it())
            await asyncio.sleep(0)
            second.cancel()
            with pytest.raises(asyncio.CancelledError):
                await second
            await db.workflow.insert(ref="a")

        assert await db.workflow.insert(ref="b") == 1


async def test_cancelled_writes_break_nobody_elses_commit(small):
    w = small.workflow
    tasks = [asyncio.create_task(small.batch(w.insert(ref=str(i)), w.insert(ref=f"x{i}"))) for i in range(30)]
    await asyncio.sleep(0)
    for task in tasks[::3]:
        task.cancel()

    outcomes = await asyncio.gather(*tasks, return_exceptions=True)

    kept = [i for i, outcome in enumerate(outcomes) if outcome == [1, 1]]
    assert len(kept) == 20
    assert {row.ref for row in await small(w).select(w.ref)} >= {str(i) for i in kept}


async def test_a_silent_sqlite_transaction_loses_the_writer(databases):
    url = databases.create("sqlite")
    async with AsyncDAL(url, Options(idle_transaction_s=0.02)) as db:
        with pytest.raises(Unavailable, match="silent"):
            async with db.transaction():
                await db.sql("DELETE FROM workflow")
                await asyncio.to_thread(_until_the_writer_is_free, db)
                await db.sql("DELETE FROM workflow")

        assert await db.sql("DELETE FROM workflow") == 0


def _until_the_writer_is_free(db):
    handle = db._backend._writer
    while handle.connection.in_transaction:
        pass


async def test_a_batch_is_run_again_after_a_deadlock(databases):
    url = databases.create("postgres", None)
    async with AsyncDAL(url) as db:
        await db.sql("CREATE TABLE thing (id bigint PRIMARY KEY, n bigint NOT NULL)")
        await db.sql("INSERT INTO thing SELECT i, 0 FROM generate_series(1, 2) i")
        add = [
            db.compiled(lambda n, key=key: db.sql("UPDATE thing SET n = n + :n WHERE id = :k", n=n, k=key))
            for key in (1, 2)
        ]
        await db.sql("ALTER SYSTEM SET deadlock_timeout = '20ms'")
        await db.sql("SELECT pg_reload_conf()")

        await asyncio.gather(*[db.batch(*[add[(i + j) % 2](1) for j in range(2)]) for i in range(12)])

        assert [row.n for row in await db.sql("SELECT n FROM thing ORDER BY id")] == [12, 12]
        await db.sql("ALTER SYSTEM RESET deadlock_timeout")
    databases.drop(url)


async def test_a_serialization_failure_in_a_transaction_is_reported(databases):
    url = databases.create("postgres", None)
    async with AsyncDAL(url) as db:
        await db.sql("CREATE TABLE thing (n bigint)")
        await db.sql("INSERT INTO thing VALUES (1)")
        with pytest.raises(Unavailable):
            async with db.transaction(isolation="repeatable_read"):
                await db.sql("SELECT n FROM thing")
                await asyncio.create_task(_outside(url))
                await db.sql("UPDATE thing SET n = 3")
    databases.drop(url)


async def _outside(url):
    async with AsyncDAL(url) as other:
        await other.sql("UPDATE thing SET n = 2")


async def test_reads_of_a_batch_see_one_snapshot(small):
    w = small.workflow
    await w.insert(ref="a")

    first, second = await small.batch(small(w).count(), small(w).select(w.ref))

    assert (first, [row.ref for row in second]) == (1, ["a"])


async def test_a_failed_statement_leaves_no_connection_behind(small):
    for _ in range(20):
        with pytest.raises(StatementFailed):
            await small.sql("SELECT nothing FROM nowhere")

    assert await small(small.workflow).count() == 0


async def test_a_statement_nobody_awaited_is_reported(small):
    with pytest.warns(RuntimeWarning, match="never awaited: INSERT"):
        small.workflow.insert(ref="a")
