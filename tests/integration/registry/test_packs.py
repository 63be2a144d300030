"""Packs and their files: loaded file by file, changed files followed, edits by people kept."""

import shutil
from pathlib import Path

import pytest

from models.packs import PackPage
from services.access.actor import Actor
from services.errors import Conflict, Denied, DuplicateRef, Invalid, NotFound, PackNotFound, WorkflowNotFound
from services.registry import texts
from services.registry.caller import Caller
from services.registry.workflows import Document
from tests.integration.registry.conftest import ADMIN, ALICE, create, refs

GOOD = "label: {label}\ndefinition:\n  tasks:\n    - name: start\n      action: core.noop\n"
ACTION = "description: Deploys.\nrunner: http\neffect: write\nrequest: {url: 'https://example.org'}\n"


@pytest.fixture
def k8s(packs_dir: Path) -> Path:
    """A pack on disk with two workflows and an action."""
    root = packs_dir / "k8s"
    (root / "workflows").mkdir(parents=True)
    (root / "actions").mkdir()
    (root / "pack.yaml").write_text("ref: k8s\nlabel: Kubernetes\nversion: 2.1.0\ntags: [ops]\n")
    (root / "workflows" / "restart.yaml").write_text(GOOD.format(label="Restart"))
    (root / "workflows" / "scale.yml").write_text(GOOD.format(label="Scale"))
    (root / "actions" / "deploy.yaml").write_text(ACTION)
    return root


async def install(registry, **fields):
    return await registry.packs.create({"ref": "k8s", **fields}, ADMIN)


async def test_creating_a_pack_loads_its_files_and_takes_the_manifest(registry, k8s):
    written = await install(registry)

    assert (written.pack.label, written.pack.version, written.pack.workflow_count) == ("Kubernetes", "2.1.0", 2)
    report = written.sync.to_json()
    assert (report["loaded_count"], report["registered_count"], report["action_count"]) == (2, 2, 1)
    assert [(w["ref_name"], w["created"]) for w in report["workflows"]] == [("k8s.restart", True), ("k8s.scale", True)]
    row, _ = await registry.workflows.get_version("k8s.restart", ADMIN)
    assert (row.label, row.version, row.source, row.owner_id) == ("Restart", "2.1.0", "file", 1)
    assert (await registry.actions.get("k8s.deploy"))["effect"] == "write"


async def test_a_request_wins_over_the_manifest(registry, k8s):
    written = await install(registry, label="Mine", version="9")

    assert (written.pack.label, written.pack.version) == ("Mine", "9")


async def test_one_bad_file_does_not_stop_the_others(registry, k8s):
    (k8s / "workflows" / "a_broken.yaml").write_text("tasks: [\n")
    (k8s / "workflows" / "b_wrong.yaml").write_text(
        "tasks:\n  - {name: start, action: core.noop, next: [{do: gone}]}\n"
    )
    (k8s / "actions" / "c_wrong.yaml").write_text("runner: telepathy\n")

    report = (await install(registry)).sync

    assert {error["file"] for error in report.errors} == {
        "workflows/a_broken.yaml",
        "workflows/b_wrong.yaml",
        "actions/c_wrong.yaml",
    }
    assert [workflow["ref_name"] for workflow in report.workflows] == ["k8s.restart", "k8s.scale"]
    wrong = next(error for error in report.errors if error["file"] == "workflows/b_wrong.yaml")
    assert wrong["task"] == "start"
    assert wrong["ref_name"] == "k8s.b_wrong"


async def test_validating_says_the_same_and_stores_nothing(registry, k8s):
    (k8s / "workflows" / "wrong.yaml").write_text("tasks:\n  - {name: start, action: core.noop, next: [{do: gone}]}\n")
    await install(registry)
    before = await refs(registry)

    found = await registry.packs.validate("k8s", ADMIN)

    assert (found["validated_count"], found["error_count"]) == (3, 1)
    assert [error["task"] for error in found["errors"]["k8s.wrong"]] == ["start"]
    assert await refs(registry) == before


async def test_a_second_sync_changes_nothing(registry, k8s):
    await install(registry)
    before = (await registry.workflows.get("k8s.restart", ADMIN)).workflow

    report = await registry.packs.sync("k8s", ADMIN)

    assert [workflow["created"] for workflow in report.workflows] == [False, False]
    assert (await registry.workflows.get("k8s.restart", ADMIN)).workflow == before


async def test_a_changed_file_makes_a_revision(registry, k8s):
    await install(registry)
    (k8s / "workflows" / "restart.yaml").write_text(
        "label: Restart\ndefinition:\n  tasks:\n    - name: begin\n      action: core.noop\n"
    )

    await registry.packs.sync("k8s", ADMIN)

    assert (await registry.workflows.get("k8s.restart", ADMIN)).workflow.revision == 2


async def test_an_edit_by_a_person_is_kept_unless_forced(registry, k8s):
    await install(registry)
    await registry.workflows.update("k8s.restart", Document(value={"label": "Edited"}), ADMIN)

    kept = await registry.packs.sync("k8s", ADMIN)
    label = (await registry.workflows.get("k8s.restart", ADMIN)).workflow.label
    await registry.packs.sync("k8s", ADMIN, force=True)
    row = (await registry.workflows.get("k8s.restart", ADMIN)).workflow

    (warning,) = next(w for w in kept.workflows if w["ref_name"] == "k8s.restart")["warnings"]
    assert "edited through the API" in warning["message"]
    assert kept.registered == 1
    assert label == "Edited"
    assert (row.label, row.modified) == ("Restart", False)


async def test_a_file_that_is_gone_disables_its_workflow_and_one_that_returns_enables_it(registry, k8s):
    await install(registry)
    text = (k8s / "workflows" / "scale.yml").read_text()
    (k8s / "workflows" / "scale.yml").unlink()

    report = await registry.packs.sync("k8s", ADMIN)
    gone = (await registry.workflows.get("k8s.scale", ADMIN)).workflow
    (k8s / "workflows" / "scale.yml").write_text(text)
    await registry.packs.sync("k8s", ADMIN)
    back = (await registry.workflows.get("k8s.scale", ADMIN)).workflow

    assert report.disabled == ["k8s.scale"]
    assert not gone.enabled
    assert back.enabled


async def test_a_file_that_cannot_be_read_leaves_its_workflow_as_it_was(registry, k8s):
    await install(registry)
    (k8s / "workflows" / "scale.yml").write_text("tasks: [\n")

    report = await registry.packs.sync("k8s", ADMIN)

    assert report.disabled == []
    assert (await registry.workflows.get("k8s.scale", ADMIN)).workflow.enabled


async def test_a_ref_made_by_request_is_not_taken_over_by_a_file(registry, k8s):
    await install(registry)
    await create(registry, "k8s.drain", label="By hand")
    (k8s / "workflows" / "drain.yaml").write_text(GOOD.format(label="By file"))

    report = await registry.packs.sync("k8s", ADMIN)

    warning = next(w for w in report.workflows if w["ref_name"] == "k8s.drain")["warnings"][0]
    assert "created through the API" in warning["message"]
    assert (await registry.workflows.get("k8s.drain", ADMIN)).workflow.label == "By hand"


async def test_two_files_with_one_ref_are_told_apart(registry, k8s):
    (k8s / "workflows" / "z_twin.yaml").write_text("ref: k8s.restart\n" + GOOD.format(label="Twin"))

    report = (await install(registry)).sync

    (error,) = report.errors
    assert "already declared by workflows/restart.yaml" in error["message"]


async def test_the_layout_of_earlier_services_is_understood(registry, k8s):
    (k8s / "actions" / "workflows").mkdir()
    (k8s / "actions" / "workflows" / "rollout.yaml").write_text(
        "version: 1.0\ninput: [image]\ntasks:\n  start:\n    action: core.noop\n"
    )
    (k8s / "actions" / "rollout.yaml").write_text(
        "name: rollout\nrunner_type: orquesta\nentry_point: workflows/rollout.yaml\ndescription: Rolls out.\n"
        "parameters:\n  image: {type: string, required: true}\n"
    )

    await install(registry)

    row, version = await registry.workflows.get_version("k8s.rollout", ADMIN)
    assert row.description == "Rolls out."
    assert "image" in version.param_schema


async def test_a_package_file_takes_its_name_from_its_metadata(registry, k8s):
    package = {
        "apiVersion": "v1",
        "kind": "WorkflowPackage",
        "metadata": {
            "name": "restart-unhealthy",
            "version": "1.0.0",
            "description": "Restarts what is unhealthy",
            "author": "ATOM DevOps Team",
        },
        "spec": {
            "runtime": {"type": "python", "version": "3.11"},
            "safety": {"mode": "auto"},
            "handlers": [{"name": "restart", "type": "shell", "config": {"command": "true"}}],
        },
    }
    (k8s / "workflows" / "unhealthy.yaml").write_text(texts.dump(package))

    report = (await install(registry)).sync

    assert report.errors == []
    row = (await registry.workflows.get("restart-unhealthy-1.0.0", ADMIN)).workflow
    assert (row.ref, row.author) == ("k8s.restart-unhealthy", "ATOM DevOps Team")


async def test_settings_must_fit_their_schema(registry):
    schema = {"type": "object", "properties": {"url": {"type": "string"}}, "required": ["url"]}

    with pytest.raises(Invalid) as caught:
        await registry.packs.create(
            {"ref": "p", "label": "P", "version": "1", "config_schema": schema, "config": {"url": 7}}, ADMIN
        )

    (error,) = caught.value.details["errors"]
    assert error["loc"] == ["config", "url"]


NEEDY = {"type": "object", "properties": {"url": {"type": "string"}}, "required": ["url"]}


async def test_settings_that_the_schema_asks_for_may_not_be_left_out(registry):
    pack = {"ref": "p", "label": "P", "version": "1"}
    with pytest.raises(Invalid, match="config: is missing"):
        await registry.packs.create({**pack, "config_schema": NEEDY}, ADMIN)
    await registry.packs.create({**pack, "config_schema": NEEDY, "config": {"url": "x"}}, ADMIN)
    with pytest.raises(Invalid, match="config: is missing"):
        await registry.packs.update("p", {"config": None}, ADMIN)

    assert (await registry.packs.require("p", ADMIN)).config == {"url": "x"}


async def test_a_default_is_enough_where_no_settings_are_given(registry):
    schema = {**NEEDY, "properties": {"url": {"type": "string", "default": "x"}}}

    made = await registry.packs.create({"ref": "p", "label": "P", "version": "1", "config_schema": schema}, ADMIN)

    assert made.pack.config is None


async def test_a_pack_from_files_without_the_settings_it_needs_is_loaded_with_a_warning(registry, k8s):
    text = "ref: k8s\nlabel: K\nversion: 1.0.0\nconfig_schema: {type: object, required: [url]}\n"
    (k8s / "pack.yaml").write_text(text)

    (report,) = await registry.start()

    assert report.errors == []
    assert [(found["file"], found["loc"]) for found in report.warnings] == [("pack.yaml", ["config"])]
    assert (await registry.packs.require("k8s", ADMIN)).workflow_count == 2


async def test_changing_the_schema_checks_the_settings_there_are(registry):
    await registry.packs.create({"ref": "p", "label": "P", "version": "1", "config": {"url": 7}}, ADMIN)
    schema = {"type": "object", "properties": {"url": {"type": "string"}}}

    with pytest.raises(Invalid, match=r"config\.url"):
        await registry.packs.update("p", {"config_schema": schema}, ADMIN)


async def test_deleting_a_pack_removes_what_came_with_it(registry, k8s):
    await install(registry)

    await registry.packs.delete("k8s", ADMIN)

    with pytest.raises(PackNotFound):
        await registry.packs.require("k8s", ADMIN)
    with pytest.raises(WorkflowNotFound):
        await registry.workflows.get("k8s.restart", ADMIN)
    with pytest.raises(NotFound):
        await registry.actions.get("k8s.deploy")
    again = await install(registry)
    assert again.pack.workflow_count == 2


async def test_workflows_made_by_request_hold_a_pack_in_place_unless_told_otherwise(registry, k8s):
    await install(registry)
    await create(registry, "k8s.mine")

    with pytest.raises(Conflict, match="cascade"):
        await registry.packs.delete("k8s", ADMIN)
    await registry.packs.delete("k8s", ADMIN, cascade=True)

    assert await refs(registry, pack_ref="k8s") == []


async def test_running_executions_hold_a_pack_in_place(registry, k8s, db):
    await install(registry)
    row = (await registry.workflows.get("k8s.restart", ADMIN)).workflow
    at = registry.workflows._ledger.now()
    await db.workflow_executions.insert(
        execution_id=row.version_id,
        workflow_id=row.id,
        workflow_ref=row.ref,
        workflow_version=row.version,
        package_id=row.package_id,
        version_id=row.version_id,
        status="running",
        start_time=at,
        engine_version=1,
    )

    with pytest.raises(Conflict, match="running"):
        await registry.packs.delete("k8s", ADMIN)


async def test_the_packs_of_the_server_stay(registry):
    with pytest.raises(Conflict, match="part of the server"):
        await registry.packs.delete("default", ADMIN)


async def test_only_its_owner_changes_a_pack(registry):
    await registry.packs.create({"ref": "mine", "label": "Mine", "version": "1"}, ALICE)
    bob = Caller(actor=Actor(user_id=3))

    with pytest.raises(Denied):
        await registry.packs.update("mine", {"label": "Yours"}, bob)
    with pytest.raises(Denied):
        await registry.packs.sync("mine", bob)
    changed = await registry.packs.update("mine", {"label": "Still mine"}, ALICE)
    assert changed.pack.label == "Still mine"


async def test_a_pack_ref_is_taken_once(registry):
    with pytest.raises(DuplicateRef):
        await registry.packs.create({"ref": "slack", "label": "S", "version": "1"}, ADMIN)


async def test_a_start_installs_new_packs_and_follows_changed_ones(registry, k8s):
    first = await registry.start()
    second = await registry.start()
    (k8s / "workflows" / "third.yaml").write_text(GOOD.format(label="Third"))
    third = await registry.start()

    assert [report.pack_ref for report in first] == ["k8s"]
    assert second == []
    assert [workflow["created"] for workflow in third[0].workflows] == [False, False, True]


async def test_a_link_out_of_the_pack_is_not_followed(registry, k8s, tmp_path):
    (tmp_path / "secret.yaml").write_text(GOOD.format(label="Secret"))
    (k8s / "workflows" / "link.yaml").symlink_to(tmp_path / "secret.yaml")

    report = (await install(registry)).sync

    assert [workflow["ref_name"] for workflow in report.workflows] == ["k8s.restart", "k8s.scale"]


async def test_packs_are_listed_with_their_counts(registry, k8s):
    await install(registry)

    rows, total = await registry.packs.page(PackPage(after="", count=10), ADMIN)
    tagged, _ = await registry.packs.page(PackPage(after="", count=10, tag="ops"), ADMIN)

    assert [(row.ref, row.workflow_count) for row in rows] == [("default", 0), ("k8s", 2), ("slack", 0)]
    assert total == 3
    assert [row.ref for row in tagged] == ["k8s"]


async def test_another_process_learns_of_new_actions(registry, k8s, db):
    await install(registry)
    registry.actions._table.replace_pack("k8s", ())

    changed = await registry.actions.refresh()
    again = await registry.actions.refresh()

    assert "k8s.deploy" in registry.actions.names()
    assert changed
    assert not again


async def test_a_pack_that_cannot_be_registered_does_not_stop_a_start(registry, k8s, packs_dir):
    (packs_dir / "bad").mkdir()
    (packs_dir / "bad" / "pack.yaml").write_text("label: ''\nversion: 1.0.0\n")
    (packs_dir / "not a ref").mkdir()
    (packs_dir / "not a ref" / "pack.yaml").write_text("label: X\n")

    reports = {report.pack_ref: report for report in await registry.start()}

    assert [error["loc"] for error in reports["bad"].errors] == [["label"]]
    assert [error["loc"] for error in reports["not a ref"].errors] == [["ref"]]
    assert reports["k8s"].registered == 2


async def test_a_pack_of_the_server_follows_its_manifest_and_an_owned_one_does_not(registry, k8s, packs_dir):
    await registry.start()
    await registry.packs.create({"ref": "mine", "label": "Mine", "version": "1"}, ALICE)
    (packs_dir / "mine").mkdir()
    (packs_dir / "mine" / "pack.yaml").write_text("label: Theirs\nversion: 2.0.0\n")
    (k8s / "pack.yaml").write_text("ref: k8s\nlabel: Kubernetes two\nversion: 2.2.0\n")

    await registry.start()

    followed, own = await registry.packs.require("k8s", ADMIN), await registry.packs.require("mine", ADMIN)
    assert (followed.label, followed.version, followed.tags) == ("Kubernetes two", "2.2.0", [])
    assert own.label == "Mine"


async def test_a_folder_that_is_gone_disables_what_came_with_it(registry, k8s):
    await install(registry)
    shutil.rmtree(k8s)

    report = await registry.packs.sync("k8s", ADMIN)

    assert report.disabled == ["k8s.restart", "k8s.scale"]
