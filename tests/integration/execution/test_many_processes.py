"""Processes that share one PostgreSQL: who answers, who drives, and what each hears of the others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

import pytest

from models.dal import AsyncDAL
from models.executions import ExecutionRow
from services.execution.book import Book
from services.execution.dispatch import pgqueuer
from services.execution.dispatch.rules import Rules
from services.execution.lifecycle import StartRequest
from services.execution.starting import ENGINE_VERSION
from tests.integration.execution.test_lifecycle import chain
from tests.support.execution import ADMIN, World, build, specs, world


@pytest.fixture
def database_engine() -> str:
    """SQLite has one process."""
    return "postgres"


@asynccontextmanager
async def worker_of(db: AsyncDAL, engine_version: int) -> AsyncIterator[World]:
    """A worker of another release."""
    made = build(db)
    made.execution.worker.engine_version = engine_version
    await made.registry.start()
    made.execution.needs.catalogue.add(specs())
    await made.execution.start()
    try:
        yield made
    finally:
        await made.execution.stop()


async def jobs(db: AsyncDAL) -> int:
    return int(await db.sql("SELECT count(*) FROM pgqueuer").scalar())


@asynccontextmanager
async def front(db: AsyncDAL) -> AsyncIterator[World]:
    """A process that only answers."""
    async with world(db, rules=Rules(drives=False)) as made:
        yield made


async def outcome(here: World, **variables: object) -> Book | ExecutionRow | None:
    """What a caller who waits is given."""
    request = StartRequest(identifier="default.flow", variables=variables)
    accepted = await here.execution.lifecycle.start(request, by=ADMIN, wait=True)
    return await here.execution.lifecycle.awaited(accepted, seconds=20)


async def test_who_waits_for_ends_elsewhere_is_given_the_whole_fold(db: AsyncDAL) -> None:
    async with front(db) as here, world(db):
        await here.register(
            chain("test.write", "core.noop", "test.write", output=[{"n": "<% ctx().x %>"}], vars=[{"x": 7}])
        )

        ends = await asyncio.gather(*(outcome(here) for _ in range(20)))
        books = [end for end in ends if isinstance(end, Book)]
        whole = [await here.execution.library.folded(book.facts) for book in books]

    assert len(books) == 20
    assert [book.state.output for book in books] == [{"n": 7}] * 20
    assert [list(book.state.runs) for book in books] == [list(book.state.runs) for book in whole]
    assert not len(here.execution.waiters)


async def test_an_end_with_large_values_is_looked_up_by_who_waits(db: AsyncDAL) -> None:
    async with front(db) as here, world(db):
        await here.register(
            {
                "version": 1.0,
                "input": ["x"],
                "tasks": {"a": {"action": "core.echo", "input": {"message": "<% ctx().x %>"}}},
                "output": [{"x": "<% ctx().x %>"}],
            }
        )

        end = await outcome(here, x="x" * 100_000)

    assert isinstance(end, ExecutionRow)
    assert end.status == "completed"


async def test_jobs_that_were_done_are_removed(db: AsyncDAL) -> None:
    async with front(db) as here:
        await here.register(chain("test.write", "test.write"))
        started = [await here.start() for _ in range(30)]
        assert await jobs(db) == 30

        async with world(db) as there:
            rows = [await there.ended(execution_id) for execution_id in started]
            await there.until(partial(_none_left, db))

    assert {row.status for row in rows} == {"completed"}
    assert {row.epoch for row in rows} == {1}


async def _none_left(db: AsyncDAL) -> bool:
    return await jobs(db) == 0


async def test_what_earlier_releases_left_in_the_tables_of_the_queue_is_pruned(db: AsyncDAL, monkeypatch: Any) -> None:
    monkeypatch.setattr(pgqueuer, "PRUNE_S", 0.0)
    async with world(db) as there:
        await db.sql(
            "INSERT INTO pgqueuer_log (created, job_id, status, priority, entrypoint)"
            " SELECT now() - n * interval '40 minutes', n, 'successful', 0, 'claim' FROM generate_series(0, 3) n"
        )
        await db.sql(
            "INSERT INTO pgqueuer (updated, priority, entrypoint, status)"
            " VALUES (now() - interval '2 hours', 0, 'claim', 'failed')"
        )

        await there.until(partial(_none_left, db))

    assert await db.sql("SELECT count(*) FROM pgqueuer_log").scalar() == 2


async def test_a_consumer_that_lost_its_connection_is_built_anew(db: AsyncDAL) -> None:
    async with front(db) as here, world(db) as there:
        await here.register(chain("test.write"))
        await there.ended(await here.start())

        cut = await db.sql("""
            SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE datname = current_database() AND pid <> pg_backend_pid() 
              AND (query LIKE '%SKIP LOCKED%' OR query LIKE 'DELETE FROM pgqueuer%')
        """)
        ended = await there.ended(await here.start())
        await there.until(partial(_none_left, db))

    assert cut
    assert ended.status == "completed"


async def test_a_worker_of_an_older_engine_leaves_newer_executions_alone(db: AsyncDAL) -> None:
    async with front(db) as here, worker_of(db, ENGINE_VERSION - 1) as old:
        await here.register(chain("test.write"))
        started = [await here.start() for _ in range(10)]
        await old.until(partial(_none_left, db))
        untouched = [await here.execution.library.row(execution_id) for execution_id in started]

        async with worker_of(db, ENGINE_VERSION) as new:
            rows = [await new.ended(execution_id) for execution_id in started]

    assert {(row.driver, row.epoch) for row in untouched} == {(None, 0)}
    assert {row.status for row in rows} == {"completed"}
    assert (len(old.calls), len(new.calls)) == (0, 10)


async def test_what_a_draining_worker_holds_goes_on_at_another_one(db: AsyncDAL) -> None:
    async with front(db) as here, AsyncExitStack() as leaving:
        old = await leaving.enter_async_context(world(db))
        await here.register(chain("test.write", "test.gated"))
        started = [await here.start() for _ in range(10)]
        await old.until(lambda: len(old.calls) == 20)

        async with world(db) as new:
            new.gate.set()
            await leaving.aclose()
            rows = [await new.ended(execution_id) for execution_id in started]

    assert {row.status for row in rows} == {"completed"}
    assert [call.node for call in new.calls] == ["b"] * 10, "what was journaled is not made again"
