"""Processes that share one PostgreSQL: who answers, who drives, and what each hears of the others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from models.dal import AsyncDAL
from models.executions import ExecutionRow
from services.execution.book import Book
from services.execution.dispatch.rules import Rules
from services.execution.lifecycle import StartRequest
from tests.integration.execution.test_lifecycle import chain
from tests.support.execution import ADMIN, World, world


@pytest.fixture
def database_engine() -> str:
    """SQLite has one process."""
    return "postgres"


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
