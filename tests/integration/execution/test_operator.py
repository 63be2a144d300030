"""What operators do about executions: find them, fail one by force, cancel many."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from models import executions
from models.dal import AsyncDAL
from models.operator_lists import OperatorFilter, Part
from models.records import uuid7
from services.errors import BadRequest
from services.execution.operator import Operator
from services.execution.view import Show
from tests.support.execution import ADMIN, World, now, world

GATED = {"tasks": [{"name": "a", "action": "test.gated"}]}
ASKING = {"tasks": [{"name": "ask", "action": "core.inquiry", "input": {"prompt": "Go on?"}}]}
PARENT = {"tasks": [{"name": "child", "action": "default.child"}]}


@pytest.fixture
async def here(db: AsyncDAL) -> AsyncIterator[World]:
    async with world(db) as made:
        yield made


def operator(here: World) -> Operator:
    return here.execution.operator


async def found(here: World, **wanted: Any) -> set[str]:
    rows, total = await operator(here).page(OperatorFilter(**wanted), Part(100))
    assert total == len(rows)
    return {str(row.execution_id) for row in rows}


async def give_to_a_dead_worker(here: World, execution: str) -> None:
    dead = uuid7()
    table = here.db.workflow_executions
    await here.db(table.execution_id == UUID(execution)).update(driver=dead, wake_at=None)


async def waiting(here: World, execution: str) -> None:
    async def parked() -> bool:
        row = await here.execution.library.row(execution)
        return row.driver is None and bool(row.waiting_for)

    await here.until(parked)


async def test_executions_are_found_by_what_they_wait_for_and_how_they_are(here: World) -> None:
    await here.register(ASKING, "default.asks")
    await here.register(GATED)
    asks, runs = await here.start("default.asks"), await here.start()
    await waiting(here, asks)
    await here.until(lambda: here.calls)

    assert await found(here) == {asks, runs}
    assert await found(here, waiting_for="inquiry") == {asks}
    assert await found(here, waiting_for="timer") == set()
    assert await found(here, status="running", unfinished=True) == {asks, runs}
    assert await found(here, status="failed") == set()
    workflow = (await here.execution.library.row(runs)).workflow_id
    assert await found(here, workflow_id=workflow) == {runs}
    assert await found(here, started_after=now() + timedelta(hours=1)) == set()


async def test_stuck_are_those_without_progress_and_not_those_that_wait(here: World) -> None:
    await here.register(ASKING, "default.asks")
    await here.register(GATED)
    asks, runs = await here.start("default.asks"), await here.start()
    await waiting(here, asks)
    await here.until(lambda: here.calls)

    assert await found(here, idle_since=now() - timedelta(minutes=5)) == set()
    assert await found(here, idle_since=now() + timedelta(minutes=5)) == {runs}


async def test_an_execution_of_a_dead_driver_is_stuck_at_once_and_can_be_failed(here: World) -> None:
    await here.register(ASKING)
    execution = await here.start()
    await waiting(here, execution)
    await here.execution.pause_all.order(paused=True, by=ADMIN)  # nobody takes it over
    await give_to_a_dead_worker(here, execution)

    assert await found(here, idle_since=now() - timedelta(minutes=5)) == {execution}
    done = await operator(here).fail(execution, reason="lost", by=ADMIN)

    row = await here.execution.library.row(execution)
    assert (done.status, row.status, row.driver) == ("failed", "failed", None)
    assert row.error_message == "failed by admin: lost"
    [asked] = await here.db(here.db.inquiry.execution_id == UUID(execution)).select()
    assert asked.status == "cancelled"
    book = await here.execution.library.folded_row(row)
    assert book.state.ended
    with pytest.raises(BadRequest):
        await operator(here).fail(execution, reason=None, by=ADMIN)
    recorded = await here.db(here.db.audit_log.action == "fail_execution").select()
    assert [(one.resource, one.reason, one.actor_id) for one in recorded] == [(execution, "lost", 1)]


async def test_failing_what_runs_stops_it_and_its_children(here: World) -> None:
    await here.register(GATED, "default.child")
    await here.register({"tasks": {"child": {"action": "default.child"}, "work": {"action": "test.gated"}}})
    parent = await here.start()
    await here.until(lambda: len(here.calls) == 2)

    await operator(here).fail(parent, reason=None, by=ADMIN)

    await here.until(lambda: here.execution.driving == 0)
    [child] = await executions.children(here.db, UUID(parent))
    assert (await here.ended(str(child.execution_id))).status == "cancelled"
    assert (await here.ended(parent)).status == "failed"
    shown = await here.execution.lifecycle.show(parent, Show(), by=ADMIN)
    states = shown["node_states"].values()
    assert {(state["status"], state["completed_at"] is None) for state in states} == {("cancelled", False)}
    assert shown["waiting_for"] == []
    explained = await here.execution.lifecycle.explain(parent, by=ADMIN)
    assert [fact["kind"] for fact in explained["facts"]] == ["status"]


async def test_an_execution_whose_log_cannot_be_read_can_be_failed(here: World) -> None:
    await here.register(ASKING)
    execution = await here.start()
    await waiting(here, execution)
    events = here.db.execution_event
    await here.db((events.execution_id == UUID(execution)) & (events.seq == 0)).update(events='[{"no": "event"}]')

    await operator(here).fail(execution, reason="unreadable", by=ADMIN)

    row = await here.execution.library.row(execution)
    assert (row.status, row.error_message) == ("failed", "failed by admin: unreadable")
    [run] = await here.db(here.db.workflow_runs.run_id == execution).select()
    assert run.status == "failed"


async def test_many_are_cancelled_by_a_filter_in_bounded_steps_and_each_is_on_record(here: World) -> None:
    await here.register(ASKING)
    await here.register(ASKING, "default.other")
    asking = [await here.start() for _ in range(5)]
    other = await here.start("default.other")
    for execution in [*asking, other]:
        await waiting(here, execution)
    wanted = OperatorFilter(workflow_id=(await here.execution.library.row(asking[0])).workflow_id)

    planned = await operator(here).plan(wanted)
    first = await operator(here).cancel(wanted, most=3, reason="wrong data", by=ADMIN)
    rest = await operator(here).cancel(wanted, most=100, reason="wrong data", by=ADMIN)
    again = await operator(here).cancel(wanted, most=100, reason="wrong data", by=ADMIN)

    assert (planned.matched, planned.cancelled) == (5, 0)
    assert [(done.matched, done.cancelled, done.refusals) for done in (first, rest, again)] == [
        (5, 3, 0),
        (2, 2, 0),
        (0, 0, 0),
    ]
    assert {(await here.ended(one)).status for one in asking} == {"cancelled"}
    assert (await here.execution.library.row(other)).status == "running"
    recorded = await here.db(here.db.audit_log.action == "cancel_execution").select()
    assert {(one.resource, one.reason) for one in recorded} == {(one, "wrong data") for one in asking}


async def test_workers_are_listed_with_what_they_hold(here: World) -> None:
    await here.register(GATED)
    execution = await here.start()
    await here.until(lambda: here.calls)
    await executions.arrive(here.db, id=uuid7(), name="gone:1", version="0", engine=1)
    await here.db(here.db.worker.name == "gone:1").update(heartbeat_at=now() - timedelta(seconds=30))

    alive, gone = sorted(await operator(here).workers(), key=lambda row: row.heartbeat_age_s)

    assert (alive.id, alive.is_alive, alive.driving) == (here.execution.worker.id, True, 1)
    assert (gone.name, gone.is_alive, gone.driving) == ("gone:1", False, 0)
    await here.execution.lifecycle.control(execution, "cancel", by=ADMIN)
