"""How tasks start: only who drives an execution starts them, so that an irreversible one that nobody has begun is not
given up; and only actions that exist."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from models.dal import AsyncDAL
from services.actions.outcome import Call
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


async def test_a_sub_workflow_that_is_the_first_task_starts_at_once(here: World, monkeypatch) -> None:
    monkeypatch.setattr("services.execution.dispatch.embedded.SWEEP_S", 600.0)
    await here.register({"tasks": [{"name": "a", "action": "test.write"}]}, "default.child")
    await here.register(CHILD)

    assert (await here.run()).status == "completed"


async def test_an_action_that_another_process_has_just_loaded_is_found(here: World) -> None:
    await here.register({"tasks": [{"name": "a", "action": "test.write"}, {"name": "b", "action": "test.write"}]})
    catalogue = here.execution.needs.catalogue
    known = [spec for spec in catalogue.all() if spec.pack_ref == "test"]

    async def refresh() -> None:
        catalogue.add(known)

    here.execution.runners.refresh = refresh
    begin = here.execution.runners.begin

    def late(call: Call) -> Any:
        catalogue.replace_pack("test", ())
        return begin(call)

    here.execution.runners.begin = late  # type: ignore[method-assign]

    assert (await here.run()).status == "completed"


async def test_a_process_that_is_told_to_stop_hands_back_what_can_be_made_again_at_once(db: AsyncDAL) -> None:
    async with world(db) as first:
        await first.register({"tasks": [{"name": "a", "action": "test.gated"}]})
        execution = await first.start()
        await first.until(lambda: first.calls)
        async with asyncio.timeout(10):  # half of what running work gets
            await first.execution.stop()
        row = await first.execution.library.row(execution)
    async with world(db) as second:
        second.gate.set()

        assert (row.status, row.driver, row.ended_at) == ("running", None, None)
        assert (await second.ended(execution)).status == "completed"
