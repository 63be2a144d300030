"""Parents and children: who may start a child, what is passed down to it, and how deep it goes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest

from models import executions
from models.dal import AsyncDAL
from models.executions import ExecutionRow
from services.access.actor import Actor
from services.errors import ExecutionRefused
from services.execution.lifecycle import StartRequest
from services.execution.rerun import RerunRequest
from services.execution.view import Show
from tests.support.execution import ADMIN, World, now, world

GATED = {"tasks": [{"name": "a", "action": "test.gated"}, {"name": "b", "action": "test.write"}]}
ALONE = {"tasks": [{"name": "child", "action": "default.child"}]}
BUSY = {"tasks": {"child": {"action": "default.child"}, "work": {"action": "test.gated"}}}


@pytest.fixture
async def here(db: AsyncDAL) -> AsyncIterator[World]:
    async with world(db) as made:
        yield made


async def child_of(here: World, parent: str) -> ExecutionRow | None:
    return next(iter(await executions.children(here.db, UUID(parent))), None)


async def begun(here: World, definition: dict[str, Any], calls: int) -> tuple[str, str]:
    """A parent whose child performs its first task, and the child."""
    await here.register(GATED, "default.child")
    await here.register(definition)
    parent = await here.start()
    await here.until(lambda: len(here.calls) == calls)
    child = await child_of(here, parent)
    assert child is not None
    return parent, str(child.execution_id)


async def ask(here: World, verb: str, execution: str) -> None:
    await here.execution.lifecycle.control(execution, verb, by=ADMIN)


def reads(here: World, execution: str, status: str) -> Any:
    async def found() -> bool:
        return (await here.execution.library.row(execution)).status == status

    return found


@pytest.mark.parametrize(("definition", "calls"), [(ALONE, 1), (BUSY, 2)], ids=["parked parent", "driven parent"])
async def test_a_cancel_is_passed_down(here: World, definition: dict[str, Any], calls: int) -> None:
    parent, child = await begun(here, definition, calls)

    await ask(here, "cancel", parent)

    assert (await here.ended(child)).status == "cancelled"
    assert (await here.ended(parent)).status == "cancelled"


@pytest.mark.parametrize(("definition", "calls"), [(ALONE, 1), (BUSY, 2)], ids=["parked parent", "driven parent"])
async def test_pause_and_resume_are_passed_down(here: World, definition: dict[str, Any], calls: int) -> None:
    parent, child = await begun(here, definition, calls)

    await ask(here, "pause", parent)
    await here.until(reads(here, child, "paused"))
    here.gate.set()
    await here.until(reads(here, parent, "paused"))
    seen = len(here.calls)
    await ask(here, "resume", parent)

    assert (await here.ended(parent)).status == "completed"
    assert (await here.ended(child)).status == "completed"
    assert seen == calls  # running tasks ended, no new one started


ANN = Actor(user_id=2, name="ann")


async def with_ann(here: World, **child: bool) -> None:
    """A parent that Ann may execute, and a child on which she holds these flags."""
    await here.register(GATED, "default.child")
    await here.register(ALONE)
    await here.db.app_user.insert(id=2, name="ann", is_admin=False, is_active=True, created=now())
    for ref, flags in {"default.flow": {"can_view": True, "can_execute": True}, "default.child": child}.items():
        workflow = (await here.db(here.db.workflow.ref == ref).select().first()).id
        await here.db.workflow_permission.insert(
            workflow_id=workflow, subject_type="user", subject_id="2", created=now(), **flags
        )


async def test_a_child_needs_the_permission_of_who_started_its_parent(here: World) -> None:
    await with_ann(here, can_view=True)

    accepted = await here.execution.lifecycle.start(StartRequest(identifier="default.flow"), by=ANN)

    row = await here.ended(str(accepted.facts.execution_id))
    assert row.status == "failed"
    assert row.error_message is not None
    assert "may not be started by who started this" in row.error_message
    assert await child_of(here, str(row.execution_id)) is None


async def test_a_child_that_may_not_be_seen_does_not_exist(here: World) -> None:
    await with_ann(here)

    with pytest.raises(ExecutionRefused, match=r"Unknown action: default\.child"):
        await here.execution.lifecycle.start(StartRequest(identifier="default.flow"), by=ANN)

    assert await here.db(here.db.workflow_executions.depth > 0).count() == 0


async def test_a_workflow_that_starts_itself_fails_at_the_depth_limit(here: World) -> None:
    await here.register({"tasks": [{"name": "again", "action": "default.flow"}]})

    row = await here.run()

    found = await here.db(here.db.workflow_executions.status == "failed").select()
    depths = {one.depth: one.error_type for one in found}
    deepest = here.execution.needs.limits.max_loop_depth
    assert row.status == "failed"
    assert (max(depths), depths[deepest]) == (deepest, "limit")


async def test_a_parent_names_the_child_it_waits_for_and_its_plan_the_child_s_effects(here: World) -> None:
    parent, child = await begun(here, ALONE, 1)

    shown = await here.execution.lifecycle.show(parent, Show(), by=ADMIN)
    here.gate.set()
    await here.ended(parent)
    planned = await here.execution.rerun.plan(RerunRequest(execution_id=parent, start=["child"]), by=ADMIN)

    assert [wait["child_execution_id"] for wait in shown["waiting_for"]] == [child]
    assert [state["metadata"]["child_execution_id"] for state in shown["node_states"].values()] == [child]
    assert [(line["action"], line["effect"]) for line in planned.plan.effects] == [("default.child", "write")]
