"""Compiled versions: cached, seen at once after a local change, after two seconds after a foreign one."""

import asyncio
import uuid

import pytest

from models.records import Flag
from services.access.actor import Actor
from services.errors import Denied, Invalid, WorkflowDisabled, WorkflowNotFound
from services.registry.sharing import Subject
from services.registry.workflows import Document
from tests.integration.registry.conftest import ADMIN, ALICE, create

SCHEMA = {
    "type": "object",
    "properties": {"n": {"type": "integer"}, "deep": {"type": "object", "properties": {"x": {"default": 1}}}},
    "required": ["n"],
    "additionalProperties": False,
}
CHANGED = {"version": 1.0, "tasks": {"begin": {"action": "core.noop"}}}


class Counting:
    """A database that counts its statements."""

    def __init__(self, db):
        self.db, self.count = db, 0

    def sql(self, *args, **values):
        self.count += 1
        return self.db.sql(*args, **values)

    def __getattr__(self, name):
        return getattr(self.db, name)

    def __call__(self, query):
        self.count += 1
        return self.db(query)


async def load(registry, name="slack.incident_workflow", actor=ADMIN.actor):
    return await registry.load_for_execution(name, actor)


async def test_a_loaded_workflow_is_pinned_and_compiled_once(registry):
    made = await create(registry)

    first, second = await load(registry), await load(registry)

    assert (first.workflow_id, first.version_id, first.revision) == (made.workflow.id, made.version.id, 1)
    assert first.graph is second.graph
    assert set(first.graph.nodes) == {"start"}


async def test_a_version_that_many_ask_for_at_once_is_read_and_compiled_once(registry, db):
    made = await create(registry)
    registry.versions._db = counting = Counting(db)

    graphs = await asyncio.gather(*(registry.versions.graph_of(made.version.id) for _ in range(20)))

    assert len({id(graph) for graph in graphs}) == 1
    assert counting.count == 1


async def test_who_waits_for_a_version_tries_again_when_the_first_one_goes(registry):
    made = await create(registry)
    first = asyncio.ensure_future(registry.versions.graph_of(made.version.id))
    second = asyncio.ensure_future(registry.versions.graph_of(made.version.id))
    await asyncio.sleep(0)

    first.cancel()

    assert set((await second).nodes) == {"start"}


async def test_the_hot_path_asks_the_database_nothing_and_then_once(registry, clock, db):
    await create(registry)
    await load(registry)
    registry.versions._db = counting = Counting(db)

    await load(registry)
    fresh = counting.count
    clock.seconds += 2.5
    await load(registry)
    checked = counting.count
    await load(registry)

    assert (fresh, checked, counting.count) == (0, 1, 1)


async def test_a_local_change_is_seen_at_once(registry):
    await create(registry)
    await load(registry)

    await registry.workflows.update("slack.incident_workflow", Document(value={"definition": CHANGED}), ADMIN)

    assert set((await load(registry)).graph.nodes) == {"begin"}


async def test_a_foreign_change_is_seen_after_two_seconds(registry, db, clock):
    made = await create(registry)
    await load(registry)
    await db(db.workflow.id == made.workflow.id).update(enabled=False, change_no=2)
    stale = await load(registry)
    clock.seconds += 2.1

    with pytest.raises(WorkflowDisabled):
        await load(registry)
    assert stale.enabled


async def test_a_deleted_workflow_cannot_be_loaded_but_its_version_can(registry):
    made = await create(registry)
    await load(registry)
    await registry.workflows.delete("slack.incident_workflow", ADMIN)

    with pytest.raises(WorkflowNotFound):
        await load(registry)
    pinned = await registry.versions.load_version(made.version.id)
    assert set(pinned.graph.nodes) == {"start"}
    assert await registry.versions.graph_of(uuid.uuid4()) is None


async def test_a_version_label_pins_the_version(registry):
    made = await create(registry)
    change = {"definition": CHANGED, "version": "1.1.0"}
    await registry.workflows.update("slack.incident_workflow", Document(value=change), ADMIN)

    assert (await load(registry, "slack.incident_workflow@1.0.0")).version_id == made.version.id
    assert (await load(registry, "incident_workflow-1.0.0")).version_id == made.version.id
    assert (await load(registry)).version == "1.1.0"


async def test_variables_get_defaults_and_every_violation_is_named(registry):
    await create(registry, param_schema=SCHEMA)
    pinned = await load(registry)

    assert pinned.variables({"n": 1, "deep": {}}) == {"n": 1, "deep": {"x": 1}}
    with pytest.raises(Invalid) as caught:
        pinned.variables({"deep": 3, "other": 1})
    places = [error["loc"] for error in caught.value.details["errors"]]
    assert ["variables"] in places
    assert ["variables", "deep"] in places
    assert ["variables", "other"] in places


async def test_only_those_who_may_execute_load_a_workflow(registry):
    await create(registry, "default.mine", ALICE)
    bob = Actor(user_id=3)
    with pytest.raises(WorkflowNotFound):
        await load(registry, "default.mine", bob)

    await registry.sharing.grant("default.mine", Subject(type="user", id="3"), frozenset({Flag.VIEW}), ALICE)
    with pytest.raises(Denied):
        await load(registry, "default.mine", bob)

    both = frozenset({Flag.VIEW, Flag.EXECUTE})
    await registry.sharing.grant("default.mine", Subject(type="user", id="3"), both, ALICE)
    assert (await load(registry, "default.mine", bob)).ref == "default.mine"


async def test_the_output_schema_is_part_of_the_graph(registry):
    schema = {"type": "object", "required": ["rows"]}
    await create(registry, out_schema=schema)

    assert (await load(registry)).graph.out_schema == schema
