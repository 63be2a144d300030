"""Thirty-two writers on the same refs: one workflow per ref, no lost update, revisions without gaps."""

import asyncio
import random

from services.errors import DuplicateRef, PreconditionFailed, WorkflowNotFound
from services.registry import views
from services.registry.workflows import Document
from tests.integration.registry.conftest import ADMIN, create

WRITERS = 32
REFS = [f"slack.shared_{number}" for number in range(4)]


def definition(mark: str) -> dict:
    return {"version": 1.0, "vars": [{"mark": mark}], "tasks": {"start": {"action": "core.noop"}}}


async def test_many_creators_of_one_ref_make_one_workflow(registry, db):
    async def attempt() -> bool:
        try:
            await create(registry, "slack.once")
        except DuplicateRef:
            return False
        return True

    won = await asyncio.gather(*(attempt() for _ in range(WRITERS)))

    assert sum(won) == 1
    assert (await registry.packs.require("slack", ADMIN)).workflow_count == 1


async def test_many_blind_writers_lose_no_update(registry, db):
    made = await create(registry)

    async def write(number: int) -> None:
        await registry.workflows.update(
            "slack.incident_workflow", Document(value={"definition": definition(f"w{number}")}), ADMIN
        )

    await asyncio.gather(*(write(number) for number in range(WRITERS)))

    rows = await db(db.workflow_version.workflow_id == made.workflow.id).select(orderby=db.workflow_version.revision)
    marks = [views.parsed(row["definition"]).get("vars", [{}])[0].get("mark") for row in rows[1:]]
    assert [row["revision"] for row in rows] == list(range(1, WRITERS + 2))
    assert sorted(marks) == sorted(f"w{number}" for number in range(WRITERS))


async def test_writers_who_read_first_never_overwrite_each_other(registry):
    await create(registry, description="0")

    async def add_one() -> int:
        tries = 0
        while True:
            tries += 1
            row = (await registry.workflows.get("slack.incident_workflow", ADMIN)).workflow
            change = Document(value={"description": str(int(row.description) + 1)})
            try:
                await registry.workflows.update(
                    "slack.incident_workflow", change, ADMIN, expected={views.state_of(row)}
                )
            except PreconditionFailed:
                continue
            return tries

    await asyncio.gather(*(add_one() for _ in range(WRITERS)))

    row = (await registry.workflows.get("slack.incident_workflow", ADMIN)).workflow
    assert row.description == str(WRITERS)
    assert row.change_no == WRITERS + 1


async def test_creating_changing_and_deleting_the_same_refs_keeps_every_rule(registry, db):
    chance = random.Random(7)

    async def writer(number: int) -> None:
        for step in range(6):
            ref = chance.choice(REFS)
            try:
                match chance.choice(("create", "update", "delete")):
                    case "create":
                        await create(registry, ref)
                    case "update":
                        change = {"definition": definition(f"{number}.{step}")}
                        await registry.workflows.update(ref, Document(value=change), ADMIN)
                    case "delete":
                        await registry.workflows.delete(ref, ADMIN)
            except (DuplicateRef, WorkflowNotFound):
                continue

    await asyncio.gather(*(writer(number) for number in range(WRITERS)))

    rows = await db(db.workflow.ref.belongs(REFS)).select()
    living = [row for row in rows if row["deleted_at"] is None]
    assert len({row["ref"] for row in living}) == len(living)
    assert (await registry.packs.require("slack", ADMIN)).workflow_count == len(living)
    for row in rows:
        versions = await db(db.workflow_version.workflow_id == row["id"]).select(orderby=db.workflow_version.revision)
        assert [version["revision"] for version in versions] == list(range(1, row["revision"] + 1))
        assert versions[-1]["id"] == row["version_id"]
