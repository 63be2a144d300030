"""Limits that hold for all workers together, fairness between workflows, and what stays out of memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from models import executions, turns
from models.dal import AsyncDAL
from models.records import uuid7
from services.execution.dispatch import embedded
from services.execution.dispatch.rules import Rules
from services.execution.dispatch.turns import Turns
from services.execution.starting import Parallel
from services.execution.view import Show
from tests.support.execution import ADMIN, World, now, world

GATED = {"tasks": [{"name": "a", "action": "test.gated"}]}


def limited(most: int) -> dict[str, Any]:
    return {**GATED, "limits": {"max_parallel_executions": most}}


@pytest.fixture
async def here(db: AsyncDAL) -> AsyncIterator[World]:
    async with world(db) as made:
        yield made
        made.gate.set()


async def driven(here: World, ref: str) -> int:
    rows = await here.db.sql(
        "SELECT count(*) AS n FROM workflow_executions WHERE workflow_ref = :ref AND driver IS NOT NULL", ref=ref
    )
    return int(rows[0]["n"])


async def test_no_more_than_the_limit_are_driven_and_all_end(here: World) -> None:
    await here.register(limited(2))
    ids = [await here.start() for _ in range(7)]
    await here.until(lambda: len(here.calls) == 2)

    most = await driven(here, "default.flow")
    shown = await here.execution.lifecycle.show(ids[-1], Show(), by=ADMIN)
    why = await here.execution.lifecycle.explain(ids[-1], by=ADMIN)
    here.gate.set()
    rows = [await here.ended(id_) for id_ in ids]

    assert most == 2
    assert shown["status"] == "running"
    assert [wait["kind"] for wait in shown["waiting_for"]] == ["turn"]
    assert "max_parallel_executions is 2" in why["explanation"]
    assert {row.status for row in rows} == {"completed"}
    assert len(here.calls) == 7


async def test_the_next_one_is_driven_when_a_place_comes_free_not_when_the_sweep_comes(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "SWEEP_S", 3600.0)
    await here.register({"tasks": [{"name": "a", "action": "test.write"}], "limits": {"max_parallel_executions": 1}})

    rows = [await here.ended(id_, within_s=10) for id_ in [await here.start() for _ in range(5)]]

    assert {row.status for row in rows} == {"completed"}


async def test_what_waits_for_a_person_takes_no_place(here: World) -> None:
    ask = {"name": "q", "action": "core.inquiry", "input": {"prompt": "go?", "requester_may_respond": True}}
    await here.register({"tasks": [ask], "limits": {"max_parallel_executions": 1}})
    for _ in range(3):
        await here.start()

    async def all_ask() -> bool:
        return int(await here.db.sql("SELECT count(*) FROM inquiry WHERE status = 'open'").scalar()) == 3

    await here.until(all_ask)


async def test_one_that_waits_for_its_turn_can_be_cancelled(here: World) -> None:
    await here.register(limited(1))
    await here.start()
    await here.until(lambda: len(here.calls) == 1)
    waits = await here.start()

    await here.execution.lifecycle.control(waits, "cancel", by=ADMIN)
    row = await here.ended(waits)

    assert row.status == "cancelled"
    assert len(here.calls) == 1


async def test_a_place_of_a_dead_worker_is_kept_and_taken_over(here: World) -> None:
    await here.register(limited(1))
    dead = uuid7()
    here.gate.set()
    first = await here.ended(await here.start())
    await here.db.sql(
        "UPDATE workflow_executions SET ended_at = NULL, status = 'running', driver = :dead WHERE execution_id = :id",
        dead=dead,
        id=first.execution_id,
    )
    room = await turns.live(here.db)

    claims = await executions.claim(
        here.db, [first.execution_id], me=here.execution.worker.id, engine=here.execution.worker.engine_version
    )

    assert sum(group.n for group in room) == 1
    assert [claim.previous for claim in claims] == [dead]


async def fill(db: AsyncDAL, n: int, workflow: UUID, **more: Any) -> None:
    """`n` executions that are due, the first first."""
    values = {
        "workflow_id": workflow, "workflow_ref": "p.w", "workflow_version": "1", "package_id": "w-1",
        "version_id": uuid7(), "status": "running", "start_time": now(), "engine_version": 1, **more,
    }  # fmt: skip
    began = now() - timedelta(hours=1)
    await db.batch(
        *[
            db.workflow_executions.insert(**values, execution_id=uuid7(), wake_at=began + timedelta(milliseconds=i))
            for i in range(n)
        ]
    )


async def test_one_execution_is_not_starved_by_ten_thousand_of_another_workflow(db: AsyncDAL) -> None:
    crowd, one = uuid7(), uuid7()
    await fill(db, 3000, crowd)
    await fill(db, 1, one)
    asked = Turns(db, engine=1, per_key=0)

    found, more = await asked.next(64)
    rows = await db(db.workflow_executions.execution_id.belongs(found)).select(db.workflow_executions.workflow_id)

    assert more
    assert len(found) <= 64
    assert {row.workflow_id for row in rows} == {crowd, one}


async def test_more_workflows_than_fit_are_served_in_turns(db: AsyncDAL) -> None:
    workflows = [uuid7() for _ in range(10)]
    for workflow in workflows:
        await fill(db, 3, workflow)
    asked = Turns(db, engine=1, per_key=0)

    served = []
    for _ in range(3):
        found, _ = await asked.next(4)
        served += await db(db.workflow_executions.execution_id.belongs(found)).select(
            db.workflow_executions.workflow_id
        )

    assert {row.workflow_id for row in served} == set(workflows)


async def test_workflows_come_in_order_whatever_the_planner_knows_of_them(db: AsyncDAL) -> None:
    asked = sorted(uuid7() for _ in range(60))
    for workflow in reversed(asked):
        await fill(db, 3, workflow)
    await db.sql("ANALYZE workflow_executions")

    found = await turns.workflows(db, engine=1, after=turns.FIRST, count=50)

    assert found == asked[:50]


async def test_a_full_workflow_does_not_hide_what_is_behind_it(db: AsyncDAL) -> None:
    full, free = uuid7(), uuid7()
    await fill(db, 300, full, max_parallel=1)
    await fill(db, 1, full, max_parallel=1, driver=uuid7())
    await fill(db, 2, free)

    found, more = await Turns(db, engine=1, per_key=0).next(16)

    rows = await db(db.workflow_executions.execution_id.belongs(found)).select(db.workflow_executions.workflow_id)
    assert {row.workflow_id for row in rows} == {free}
    assert more


async def test_a_full_key_does_not_hide_what_other_keys_wait_for(db: AsyncDAL) -> None:
    workflow, full, other = uuid7(), uuid7(), uuid7()
    await fill(db, 300, workflow, max_parallel=0, key_id=full)
    await fill(db, 1, workflow, max_parallel=0, key_id=full, driver=uuid7())
    await fill(db, 2, workflow, max_parallel=0, key_id=other)

    found, _ = await Turns(db, engine=1, per_key=1).next(16)

    rows = await db(db.workflow_executions.execution_id.belongs(found)).select(db.workflow_executions.key_id)
    assert [row.key_id for row in rows] == [other]


@pytest.mark.parametrize("database_engine", ["postgres"])
async def test_two_workers_never_exceed_a_limit_together(db: AsyncDAL) -> None:
    workflow = uuid7()
    await fill(db, 40, workflow, max_parallel=5)
    rows = await db(db.workflow_executions.workflow_id == workflow).select(db.workflow_executions.execution_id)
    ids = [row.execution_id for row in rows]
    for worker in range(6):
        await executions.arrive(db, id=UUID(int=worker + 1), name=str(worker), version="1", engine=1)

    found = await asyncio.gather(
        *[Turns(db, engine=1, per_key=0).claim(ids[n::6], me=UUID(int=n + 1)) for n in range(6)]
    )

    assert sum(len(claims) for claims in found) == 5


async def test_more_than_there_are_slots_for_are_accepted_and_all_end(db: AsyncDAL) -> None:
    async with world(db, rules=Rules(slots=2)) as here:
        await here.register(GATED)
        ids = [await here.start() for _ in range(20)]
        driving = here.execution.driving
        here.gate.set()
        rows = [await here.ended(id_) for id_ in ids]

    assert driving <= 2
    assert {row.status for row in rows} == {"completed"}


@pytest.mark.parametrize("database_engine", ["sqlite"])  # on PostgreSQL it comes back through the queue
async def test_what_waits_for_a_slot_is_kept_in_the_database_not_in_memory(here: World) -> None:
    dispatcher = here.execution.lifecycle.dispatcher

    for _ in range(3 * embedded.MOST_READY):
        dispatcher.woken(str(uuid7()), None)

    assert dispatcher.ready <= embedded.MOST_READY


async def test_a_limit_for_every_workflow_holds_without_a_word_in_the_definition(db: AsyncDAL) -> None:
    async with world(db, parallel=Parallel(per_workflow=1)) as here:
        await here.register(GATED)
        await here.register(GATED, ref="default.other")
        ids = [await here.start(ref) for ref in ("default.flow", "default.other") for _ in range(2)]
        await here.until(lambda: len(here.calls) == 2)
        counts = [await driven(here, ref) for ref in ("default.flow", "default.other")]
        here.gate.set()
        rows = [await here.ended(id_) for id_ in ids]

    assert counts == [1, 1]
    assert {row.status for row in rows} == {"completed"}
