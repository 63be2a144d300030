"""How tasks start: only who drives an execution starts them, so that an irreversible one that nobody has begun is not
given up; and only actions that exist."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from models.dal import AsyncDAL
from tests.support.execution import ADMIN, World, world

ONCE = {"tasks": [{"name": "a", "action": "test.once"}]}
APPROVED = {
    "tasks": [
        {"name": "ask", "action": "core.inquiry", "input": {"prompt": "Go on?", "requester_may_respond": True}},
        {"name": "a", "action": "test.once"},
    ]
}
CHILD = {"tasks": [{"name": "child", "action": "default.child"}]}


@pytest.fixture
async def here(db: AsyncDAL) -> AsyncIterator[World]:
    async with world(db) as made:
        made.gate.set()
        yield made


async def test_an_irreversible_first_task_of_an_execution_that_waited_for_a_driver_is_performed(here: World) -> None:
    await here.register(ONCE)
    await here.execution.pause_all.order(paused=True, by=ADMIN)
    accepted = await here.start()
    await here.execution.pause_all.order(paused=False, by=ADMIN)

    row = await here.ended(accepted)

    assert (row.status, row.error_message) == ("completed", None)
    assert len(here.calls) == 1


async def test_an_irreversible_task_behind_an_approval_is_performed(here: World) -> None:
    await here.register(APPROVED)
    execution = await here.start()
    ask = here.execution.inquiries

    async def asked() -> bool:
        row = await here.execution.library.row(execution)
        return row.driver is None and row.waiting_for is not None

    await here.until(asked)
    [inquiry] = (await ask.page(by=ADMIN, status="open", after=None, count=5)).rows
    await ask.respond(inquiry.id, {"ok": True}, by=ADMIN)

    row = await here.ended(execution)
    assert (row.status, row.error_message) == ("completed", None)
    assert len(here.calls) == 1


async def test_an_irreversible_first_task_of_a_child_is_performed(here: World) -> None:
    await here.register(ONCE, "default.child")
    await here.register(CHILD)

    row = await here.run()

    assert (row.status, row.error_message) == ("completed", None)
    assert len(here.calls) == 1


async def test_a_task_whose_computed_action_does_not_exist_fails(here: World) -> None:
    await here.register({"tasks": [{"name": "a", "action": "{{ parameters.which }}"}]})

    row = await here.run(which="no.such")

    assert (row.status, row.error_message) == ("failed", "there is no action 'no.such'")
