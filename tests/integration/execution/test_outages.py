"""The database takes nothing while executions are under way: they wait, and nothing is done twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID

import pytest

from models import executions
from models.dal import AsyncDAL, Options
from models.schema import declare
from services.engine.commands import CancelChild
from tests.support.execution import World, world
from tests.support.outages import EVERY, Outage

PAD = "x" * 40_000
"""What does not fit into the pages there are."""
CHAIN = {
    "tasks": [
        {"name": "a", "action": "test.gated", "input": {"n": 1, "pad": PAD}},
        {"name": "b", "action": "test.write", "input": {"n": "{{ task.a.result.n + 1 }}"}},
    ]
}


@pytest.fixture(params=EVERY, ids=lambda param: "-".join(param))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param[1])


@pytest.fixture
def database_engine(request: pytest.FixtureRequest) -> str:
    wanted = request.getfixturevalue("kind")
    return next(engine for engine, kind in EVERY if kind == wanted)


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[AsyncDAL]:
    async with declare(AsyncDAL(database_url, Options(pool_size=8, busy_timeout_s=0.05))) as opened:
        yield opened


@pytest.fixture
async def here(db: AsyncDAL) -> AsyncIterator[World]:
    async with world(db) as made:
        yield made


@pytest.fixture
async def outage(kind: str, database_url: str, databases, db: AsyncDAL, here: World) -> Outage:
    return Outage(kind, database_url, databases, db)


async def waiting(here: World, caplog: pytest.LogCaptureFixture, text: str) -> None:
    """Until the log says so."""
    await here.until(lambda: any(text in record.getMessage() for record in caplog.records), within_s=30)


async def test_executions_under_way_wait_and_end_when_there_is_room_again(
    here: World, outage: Outage, caplog: pytest.LogCaptureFixture
) -> None:
    await here.register(CHAIN)
    started = [await here.start() for _ in range(5)]
    await here.until(lambda: len(here.calls) == 5)
    await outage.begin()

    here.gate.set()
    await waiting(here, caplog, "journal.unavailable")
    await outage.end()
    rows = [await here.ended(one, within_s=30) for one in started]

    assert {row.status for row in rows} == {"completed"}
    keys = [call.key for call in here.calls]
    assert sorted(keys) == sorted(f"{one}/{node}/0" for one in started for node in "ab")


async def test_what_cannot_be_undone_is_not_interrupted_by_it(
    here: World, outage: Outage, caplog: pytest.LogCaptureFixture
) -> None:
    """The database goes away while the action runs, and something wakes the execution meanwhile."""
    await here.register({"tasks": [{"name": "a", "action": "test.once", "input": {"pad": PAD}}]})
    started = await here.start()
    await here.until(lambda: here.calls)
    await outage.begin()

    here.execution.family.herald.woken(started, None)
    here.gate.set()
    await waiting(here, caplog, "journal.unavailable")
    await outage.end()
    row = await here.ended(started, within_s=30)

    assert row.status == "completed"
    assert len(here.calls) == 1


@pytest.mark.parametrize("kind", [("sqlite", "locked"), ("postgres", "refused")], indirect=True)
async def test_a_cancel_reaches_the_child_when_the_database_is_back(
    here: World, outage: Outage, caplog: pytest.LogCaptureFixture
) -> None:
    await here.register({"tasks": [{"name": "a", "action": "test.gated"}]}, "default.child")
    await here.register({"tasks": [{"name": "c", "action": "default.child"}]}, "default.parent")
    parent = await here.start("default.parent")
    await here.until(lambda: here.calls)
    [child] = await executions.children(here.db, UUID(parent))
    await outage.begin()
    asked = CancelChild(child_id=str(child.execution_id))
    asking = asyncio.ensure_future(here.execution.family.pass_on(parent, asked))

    await waiting(here, caplog, "child.cancel_waits")
    await outage.end()
    await asking
    row = await here.ended(str(child.execution_id), within_s=30)

    assert row.status == "cancelled"
    assert here.execution.is_alive
