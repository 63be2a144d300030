"""Pause all and resume all: one row that every process obeys."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from models.dal import AsyncDAL
from services.execution.pause_all import PauseAll
from services.execution.view import Show
from tests.support.execution import ADMIN, World, build, now, specs, world

ONE = {"version": 1.0, "tasks": {"a": {"action": "test.write"}}}


@pytest.fixture
async def here(db: AsyncDAL) -> AsyncIterator[World]:
    async with world(db) as made:
        yield made


def elsewhere(here: World) -> PauseAll:
    """The order as another process gives it."""
    return PauseAll(here.db, audit=here.execution.needs.audit, now=now)


def node_reads(here: World, execution: str, node: str, status: str) -> Any:
    async def found() -> bool:
        shown = await here.execution.lifecycle.show(execution, Show(), by=ADMIN)
        return bool(shown["node_states"].get(node, {}).get("status") == status)

    return found


async def test_what_is_accepted_while_all_is_paused_waits_until_all_is_resumed(here: World) -> None:
    await here.register(ONE)
    await here.execution.pause_all.order(paused=True, by=ADMIN, reason="maintenance")

    accepted = [await here.start() for _ in range(3)]
    await here.execution.pause_all.refresh()  # a round of the database later: still nothing

    why = await here.execution.lifecycle.explain(accepted[0], by=ADMIN)
    assert "admin has paused everything: maintenance" in why["explanation"]
    assert here.execution.driving == 0
    assert here.calls == []
    assert {(await here.execution.library.row(one)).driver for one in accepted} == {None}
    await here.execution.pause_all.order(paused=False, by=ADMIN)
    assert [(await here.ended(one)).status for one in accepted] == ["completed"] * 3
    assert len(here.calls) == 3


async def test_running_tasks_end_and_nothing_new_starts_until_all_is_resumed(here: World) -> None:
    tasks = {"a": {"action": "test.gated", "next": [{"do": "b"}]}, "b": {"action": "test.write"}}
    await here.register({"version": 1.0, "tasks": tasks})
    execution = await here.start()
    await here.until(lambda: len(here.calls) == 1)

    await here.execution.pause_all.order(paused=True, by=ADMIN)
    here.gate.set()
    await here.until(lambda: here.execution.driving == 0)

    shown = await here.execution.lifecycle.show(execution, Show(), by=ADMIN)
    assert {name: node["status"] for name, node in shown["node_states"].items()} == {"a": "completed", "b": "ready"}
    assert len(here.calls) == 1
    await here.execution.pause_all.order(paused=False, by=ADMIN)
    assert (await here.ended(execution)).status == "completed"
    assert len(here.calls) == 2


async def test_what_is_still_driven_goes_on_at_once_when_all_is_resumed(here: World) -> None:
    await here.register(
        {
            "tasks": {
                "long": {"action": "test.gated"},
                "short": {"action": "core.sleep", "input": {"seconds": 0.1}},
                "next": {"action": "test.write", "depends_on": ["short"]},
            }
        }
    )
    execution = await here.start()
    await here.until(lambda: len(here.calls) == 1)

    await here.execution.pause_all.order(paused=True, by=ADMIN)
    await here.until(node_reads(here, execution, "short", "completed"))
    await here.execution.pause_all.order(paused=False, by=ADMIN)

    await here.until(lambda: len(here.calls) == 2)  # beside the task that still runs
    here.gate.set()
    assert (await here.ended(execution)).status == "completed"


async def test_an_order_given_elsewhere_is_obeyed_with_the_next_sweep(here: World) -> None:
    await here.register(ONE)
    order = elsewhere(here)

    await order.order(paused=True, by=ADMIN)
    await here.until(lambda: here.execution.pause_all.is_on, within_s=5)
    accepted = await here.start()
    assert (await here.execution.library.row(accepted)).driver is None
    await order.order(paused=False, by=ADMIN)

    assert (await here.ended(accepted)).status == "completed"


async def test_a_server_that_starts_paused_claims_nothing(db: AsyncDAL) -> None:
    first = build(db)
    await first.registry.start()
    first.execution.needs.catalogue.add(specs())
    await first.execution.pause_all.order(paused=True, by=ADMIN, reason="restored")  # before anything runs
    await first.register(ONE)
    await first.execution.start()
    accepted = await first.start()
    await first.execution.stop()

    async with world(db) as second:
        assert second.execution.pause_all.row.reason == "restored"
        assert second.execution.driving == 0
        await second.execution.pause_all.order(paused=False, by=ADMIN)
        assert (await second.ended(accepted)).status == "completed"


async def test_an_order_is_on_record_once_however_often_it_is_given(here: World) -> None:
    await here.add_admin()
    first = await here.execution.pause_all.order(paused=True, by=ADMIN, reason="first")
    again = await here.execution.pause_all.order(paused=True, by=ADMIN, reason="second")
    await here.execution.pause_all.order(paused=False, by=ADMIN)

    rows = await here.db(here.db.audit_log.resource == "executions").select(orderby=here.db.audit_log.at)
    assert again == first
    assert [(row.action, row.reason, row.actor_id) for row in rows] == [
        ("pause_all", "first", 1),
        ("resume_all", None, 1),
    ]
