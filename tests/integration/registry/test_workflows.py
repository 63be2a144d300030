import asyncio
import dataclasses

import pytest
import yaml
from msgspec import structs

from models import workflows
from models.dal.errors import Stale
from models.records import Flag
from models.workflow_lists import Filters, Window
from services.access.actor import Actor
from services.errors import (
    Conflict,
    Denied,
    DuplicateRef,
    Invalid,
    PackNotFound,
    PreconditionFailed,
    WorkflowNotFound,
)
from services.idempotency import Wanted
from services.registry import texts, views
from services.registry.sharing import Subject
from services.registry.workflows import Document, VersionPart
from tests.integration.registry.conftest import ADMIN, ALICE, BOB, QUIET, body, create, refs


async def test_a_created_workflow_is_found_by_id_ref_version_and_package_id(registry):
    made = await create(registry)

    for name in (
        str(made.workflow.id),
        str(made.version.id),
        "slack.incident_workflow",
        "slack.incident_workflow@1.0.0",
        "incident_workflow-1.0.0",
    ):
        row, version = await registry.workflows.get_version(name, ADMIN)
        assert (row.id, version.id) == (made.workflow.id, made.version.id), name


async def test_the_creator_becomes_the_owner_and_the_record_says_so(registry, db):
    made = await create(registry, "default.mine", ALICE)

    rows = await db(db.audit_log.workflow_id == made.workflow.id).select(db.audit_log.ALL)
    assert made.workflow.owner_id == ALICE.actor.user_id
    assert [(row.action, row.actor_id, row.resource) for row in rows] == [("create_workflow", 2, "default.mine")]


async def test_a_ref_is_taken_once(registry):
    await create(registry)

    with pytest.raises(DuplicateRef, match=r"slack\.incident_workflow exists"):
        await create(registry)


async def test_a_pack_must_exist(registry):
    with pytest.raises(PackNotFound, match="no pack nowhere"):
        await create(registry, "nowhere.thing")


async def test_a_pack_is_filled_by_its_owner_or_by_those_it_lets(registry):
    with pytest.raises(Denied, match="owner of the pack slack"):
        await create(registry, by=ALICE)

    await registry.sharing.grant_pack("slack", Subject(type="user", id="2"), True, ADMIN)
    made = await create(registry, by=ALICE)
    assert made.workflow.owner_id == 2


async def test_all_problems_of_a_body_are_named_at_once(registry):
    with pytest.raises(Invalid) as caught:
        await registry.workflows.create(
            Document(
                value={
                    "ref": "no_dot",
                    "pack_ref": "slack",
                    "label": "",
                    "version": "x" * 51,
                    "tags": ["a,b"],
                    "param_schema": {"type": "objekt"},
                    "lable": "typo",
                }
            ),
            ADMIN,
        )

    places = {tuple(error["loc"]) for error in caught.value.details["errors"]}
    wanted = {("ref",), ("label",), ("version",), ("tags", 0), ("param_schema", "type"), ("lable",), ("definition",)}
    assert wanted <= places


async def test_problems_of_a_definition_carry_code_task_and_place(registry):
    bad = {"version": 1.0, "tasks": {"start": {"action": "core.noop", "next": [{"do": "nowhere"}]}}}

    with pytest.raises(Invalid) as caught:
        await create(registry, definition=bad)

    (error,) = caught.value.details["errors"]
    assert error["loc"][:3] == ["definition", "tasks", "start"]
    assert error["task"] == "start"
    assert error["code"]


async def test_an_unknown_action_is_a_warning(registry):
    made = await create(registry, definition={"version": 1.0, "tasks": {"start": {"action": "slack.shout"}}})

    (warning,) = made.warnings
    assert warning["code"] == "unknown_action"
    assert "slack.shout" in warning["message"]


async def test_a_change_of_the_definition_makes_a_revision_and_keeps_the_old_one(registry):
    made = await create(registry)
    changed = {"version": 1.0, "tasks": {"begin": {"action": "core.noop"}}}

    after = await registry.workflows.update(
        "slack.incident_workflow", Document(value={"definition": changed, "version": "1.1.0"}), ADMIN
    )

    _, old = await registry.workflows.get_version("slack.incident_workflow@1.0.0", ADMIN)
    listed = await registry.workflows.versions("slack.incident_workflow", ADMIN, VersionPart(count=10))
    assert (after.workflow.revision, after.workflow.version, after.workflow.package_id) == (
        2,
        "1.1.0",
        "incident_workflow-1.1.0",
    )
    assert old.id == made.version.id
    assert views.parsed(old.definition) == QUIET
    assert [(row["revision"], row["version"]) for row in listed.rows] == [(2, "1.1.0"), (1, "1.0.0")]


async def test_a_former_package_id_still_means_its_version(registry):
    made = await create(registry)
    await registry.workflows.update("slack.incident_workflow", Document(value={"version": "2.0.0"}), ADMIN)

    _, version = await registry.workflows.get_version("incident_workflow-1.0.0", ADMIN)

    assert version.id == made.version.id


async def test_a_change_of_words_makes_no_revision(registry):
    await create(registry)

    after = await registry.workflows.update(
        "slack.incident_workflow", Document(value={"label": "New", "tags": ["b", "a"], "enabled": False}), ADMIN
    )

    row = (await registry.workflows.get("slack.incident_workflow", ADMIN)).workflow
    assert (row.revision, row.label, row.tags, row.enabled, row.change_no) == (1, "New", ["b", "a"], False, 2)
    assert after.workflow == row


async def test_a_change_that_changes_nothing_is_not_written(registry):
    made = await create(registry)

    after = await registry.workflows.update(
        "slack.incident_workflow", Document(value=body(id=str(made.workflow.id), total_runs=7)), ADMIN
    )

    assert after.workflow == made.workflow


async def test_the_order_of_keys_survives(registry):
    definition = {"version": 1.0, "vars": [{"z": 1}], "tasks": {"zeta": {"action": "core.noop"}, "alpha": {}}}
    await create(registry, definition=definition)

    _, version = await registry.workflows.get_version("slack.incident_workflow", ADMIN)

    assert list(views.parsed(version.definition)["tasks"]) == ["zeta", "alpha"]


async def test_an_older_state_is_refused(registry):
    made = await create(registry)
    seen = {views.state_of(made.workflow)}
    await registry.workflows.update("slack.incident_workflow", Document(value={"label": "B"}), ADMIN, expected=seen)

    with pytest.raises(PreconditionFailed):
        await registry.workflows.update("slack.incident_workflow", Document(value={"label": "C"}), ADMIN, expected=seen)
    with pytest.raises(PreconditionFailed):
        await registry.workflows.delete("slack.incident_workflow", ADMIN, expected=seen)


async def test_a_ref_cannot_be_moved(registry):
    await create(registry)

    with pytest.raises(Invalid, match="cannot be changed"):
        await registry.workflows.update("slack.incident_workflow", Document(value={"ref": "slack.other"}), ADMIN)


async def test_a_deleted_workflow_frees_its_ref_and_keeps_its_versions(registry, db):
    made = await create(registry)
    await registry.workflows.delete("slack.incident_workflow", ADMIN)
    again = await create(registry)

    assert again.workflow.id != made.workflow.id
    assert await workflows.version(db, made.version.id) is not None
    with pytest.raises(WorkflowNotFound):
        await registry.workflows.get(str(made.workflow.id), ADMIN)


async def test_names_shared_by_packs_give_different_package_ids(registry):
    await registry.packs.create({"ref": "k8s", "label": "K8s", "version": "1.0.0"}, ADMIN)
    first = await create(registry, "slack.deploy")
    second = await create(registry, "k8s.deploy")

    assert (first.workflow.package_id, second.workflow.package_id) == ("deploy-1.0.0", "k8s.deploy-1.0.0")
    with pytest.raises(Conflict, match=r"deploy-1\.0\.0 is taken"):
        await create(registry, "k8s.other", name="deploy")


async def test_an_identifier_never_comes_to_mean_another_workflow(registry):
    await create(registry, "slack.deploy")
    await registry.workflows.update("slack.deploy", Document(value={"version": "2.0.0"}), ADMIN)
    await registry.packs.create({"ref": "k8s", "label": "K8s", "version": "1"}, ADMIN)

    older = await create(registry, "k8s.deploy")
    await create(registry, "default.flow-3.0.0")
    moved = await create(registry, "slack.flow", name="default.flow", version="1.0.0")
    for taken in ("k8s.deploy-1.0.0", "default.flow-1.0.0"):
        with pytest.raises(DuplicateRef, match="package id of another"):
            await create(registry, taken)

    assert older.workflow.package_id == "k8s.deploy-1.0.0"
    with pytest.raises(Conflict, match=r"default\.flow-3\.0\.0 is taken"):
        await registry.workflows.update("slack.flow", Document(value={"version": "3.0.0"}), ADMIN)
    same = await registry.workflows.update(moved.workflow.ref, Document(value={"label": "L"}), ADMIN)
    assert same.workflow.package_id == "default.flow-1.0.0"


async def test_another_wording_of_a_definition_is_no_other_version(registry):
    text = "ref: slack.flow\npack_ref: slack\nlabel: L\nversion: '1'\ndefinition: {tasks: [{name: a, action: core.noop}]}\n"
    await registry.workflows.create(document_of(text), ADMIN)
    row, version = await registry.workflows.get_version("slack.flow", ADMIN)

    parsed = await registry.workflows.update("slack.flow", Document(value=document_of(text).value), ADMIN)
    assert (parsed.workflow.revision, texts.of(parsed.workflow, parsed.version)) == (1, text)

    noted = await registry.workflows.update("slack.flow", document_of(f"# why\n{text}"), ADMIN)
    row, version = await registry.workflows.get_version("slack.flow", ADMIN)
    assert (noted.workflow.revision, noted.workflow.change_no, texts.of(row, version)) == (1, 2, f"# why\n{text}")


@pytest.mark.parametrize(
    "change",
    [
        *({"description": "d"}, {"tags": ["q"]}, {"enabled": False}, {"author": "me"}, {"community_id": 7}),
        *({"param_schema": {"type": "object"}}, {"out_schema": {"type": "object"}}, {"label": "M"}),
    ],
)
async def test_the_yaml_of_a_workflow_leaves_nothing_out(registry, change):
    text = "ref: slack.flow\npack_ref: slack\nlabel: L\nversion: '1'\ndefinition: {tasks: [{name: a, action: core.noop}]}\n"
    await registry.workflows.create(document_of(text), ADMIN)
    await registry.workflows.update("slack.flow", Document(value=change), ADMIN)

    again = yaml.safe_load(texts.of(*await registry.workflows.get_version("slack.flow", ADMIN)))

    assert {name: again[name] for name in change} == change


async def test_a_part_sent_as_yaml_is_answered_as_the_whole(registry):
    await create(registry, "slack.flow")
    part = "definition: {tasks: [{name: b, action: core.noop}]}\n"
    await registry.workflows.update("slack.flow", document_of(part), ADMIN)

    again = yaml.safe_load(texts.of(*await registry.workflows.get_version("slack.flow", ADMIN)))

    assert again["ref"] == "slack.flow"
    assert again["definition"]["tasks"][0]["name"] == "b"


def document_of(text: str) -> Document:
    return Document(value=yaml.safe_load(text), text=text)


async def test_a_package_fills_the_fields(registry):
    package = {
        "apiVersion": "v1",
        "kind": "WorkflowPackage",
        "metadata": {
            "name": "restart-unhealthy",
            "version": "1.0.0",
            "author": "ATOM DevOps Team",
            "description": "Restarts.",
            "tags": ["ops"],
        },
        "spec": {},
    }

    draft = (await registry.workflows.validate(package, ADMIN)).errors
    from services.registry.drafts import read_new

    read = read_new(package)
    assert (read.ref, read.pack_ref, read.name, read.version) == (
        "default.restart-unhealthy",
        "default",
        "restart-unhealthy",
        "1.0.0",
    )
    assert (read.author, read.tags, read.definition) == ("ATOM DevOps Team", ["ops"], package)
    assert isinstance(draft, list)


async def test_filters_combine_with_and(registry):
    await create(registry, "slack.a", tags=["incident", "x"], label="Response A")
    await create(registry, "slack.b", tags=["approval"], label="Response B", enabled=False)
    await create(registry, "slack.c", tags=["incident"], label="Straße 100%")

    assert await refs(registry, tags=("incident", "approval")) == ["slack.c", "slack.b", "slack.a"]
    assert await refs(registry, tags=("incident", "approval"), enabled=True) == ["slack.c", "slack.a"]
    assert await refs(registry, tags=("incident",), enabled=True, needle="response") == ["slack.a"]
    assert await refs(registry, needle="strasse") == ["slack.c"]
    assert await refs(registry, needle="100%") == ["slack.c"]
    assert await refs(registry, needle="%") == ["slack.c"]
    assert await refs(registry, pack_ref="default") == []


async def test_a_list_shows_only_what_the_caller_may_view(registry, db):
    await db.user_role.insert(user_id=3, community_id=7, role="editor", created=registry.workflows._ledger.now())
    bob = structs.replace(BOB, actor=Actor(user_id=3, roles=frozenset({(7, "editor")})))
    mine = await create(registry, "default.mine", BOB)
    await create(registry, "default.alices", ALICE)
    await create(registry, "default.given", ALICE)
    await create(registry, "slack.of_role", community_id=7, tags=["t"])
    await create(registry, "slack.of_community", community_id=7)
    await create(registry, "slack.of_other", community_id=8)
    view = frozenset({Flag.VIEW})
    await registry.sharing.grant("default.given", Subject(type="user", id="3"), view, ALICE)
    await registry.sharing.grant("slack.of_role", Subject(type="role", id="editor"), view, ADMIN)
    await registry.sharing.grant("slack.of_other", Subject(type="role", id="editor"), view, ADMIN)
    await registry.sharing.grant("slack.of_community", Subject(type="community", id="7"), view, ADMIN)

    everything = ["slack.of_community", "slack.of_role", "default.given", "default.mine"]
    assert await refs(registry, bob) == everything
    assert await refs(registry, bob, tags=("t",)) == ["slack.of_role"]
    listed = await registry.workflows.page(bob, Filters(), Window(sort_by="ref", descending=False))
    assert [row.ref for row in listed.rows] == sorted(everything)
    assert listed.total == 4
    limited = structs.replace(bob, actor=dataclasses.replace(bob.actor, community_id=9))
    assert await refs(registry, limited) == ["default.given", "default.mine"]
    assert mine.workflow.community_id is None


@pytest.mark.parametrize("sort_by", ["created", "updated", "label", "name", "ref"])
@pytest.mark.parametrize("descending", [True, False])
async def test_every_order_pages_through_everything_once(registry, sort_by, descending):
    for number in range(7):
        await create(registry, f"slack.w{number % 4}_{number}", label=f"L{number % 3}", tags=["t"])

    seen, after = [], None
    while True:
        window = Window(sort_by=sort_by, descending=descending, after=after, count=3)
        listed = await registry.workflows.page(ADMIN, Filters(tags=("t",)), window)
        seen += [row.ref for row in listed.rows]
        after = listed.next_key
        if after is None:
            break

    assert len(seen) == 7
    assert set(seen) == {f"slack.w{number % 4}_{number}" for number in range(7)}
    assert listed.total == 7


async def test_a_stranger_cannot_tell_a_hidden_workflow_from_none(registry):
    await create(registry, "default.hidden", ALICE)

    with pytest.raises(WorkflowNotFound) as hidden:
        await registry.workflows.get("default.hidden", BOB)
    with pytest.raises(WorkflowNotFound) as absent:
        await registry.workflows.get("default.absent", BOB)
    assert hidden.value.message == absent.value.message
    await registry.sharing.grant("default.hidden", Subject(type="user", id="3"), frozenset({Flag.VIEW}), ALICE)
    with pytest.raises(Denied, match="can_edit"):
        await registry.workflows.update("default.hidden", Document(value={"label": "x"}), BOB)


async def test_the_same_request_with_a_key_makes_one_workflow(registry):
    once = Wanted.of(b"body", user_id=1, key="k1", route="POST /api/v1/workflows")
    caller = structs.replace(ADMIN, once=once)

    answers = await asyncio.gather(*(create(registry, by=caller) for _ in range(5)))

    assert len({written.workflow.id for written in answers}) == 1
    assert sum(not written.replayed for written in answers) == 1


async def test_the_pack_counts_its_workflows(registry):
    await create(registry, "slack.a")
    await create(registry, "slack.b")
    await registry.workflows.delete("slack.a", ADMIN)

    assert (await registry.packs.require("slack", ADMIN)).workflow_count == 1


async def test_a_stale_change_writes_nothing(registry, db):
    made = await create(registry)

    with pytest.raises(Stale):
        await db.batch(
            workflows.change(db, made.workflow.id, seen=1, values={"label": "first"}),
            workflows.change(db, made.workflow.id, seen=1, values={"label": "second"}),
        )

    assert (await registry.workflows.get("slack.incident_workflow", ADMIN)).workflow.label != "first"
