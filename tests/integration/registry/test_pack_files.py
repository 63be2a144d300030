"""What the files of a pack and requests say against each other, and whose the names of packs are."""

from dataclasses import replace
from pathlib import Path

import pytest

from models.records import Flag
from services.errors import Denied, PackNotFound
from services.registry.caller import Caller
from services.registry.workflows import Document
from tests.integration.registry.conftest import ADMIN, ALICE

FLOW = "label: {label}\ndefinition:\n  tasks:\n    - name: start\n      action: core.noop\n"


@pytest.fixture
def files(packs_dir: Path) -> Path:
    """A pack on disk with one workflow."""
    root = packs_dir / "k8s"
    (root / "workflows").mkdir(parents=True)
    (root / "pack.yaml").write_text("label: Kubernetes\nversion: 2.1.0\n")
    (root / "workflows" / "restart.yaml").write_text(FLOW.format(label="Restart"))
    return root


async def pack_of(registry):
    return await registry.packs.require("k8s", ADMIN)


async def flow_of(registry):
    return (await registry.workflows.get("k8s.restart", ADMIN, Flag.VIEW)).workflow


@pytest.mark.parametrize("ref", ["core", "wpk", "k8s"])
async def test_the_names_that_the_operator_keeps_are_not_a_first_comers(registry, files, ref):
    document = {"ref": ref, "label": "Mine", "version": "1"}

    for caller in (ALICE, replace_community(ADMIN, 7)):
        with pytest.raises(Denied, match="reserved"):
            await registry.packs.create(document, caller)

    assert (await registry.packs.create(document, ADMIN)).pack.owner_id == ADMIN.actor.user_id


def replace_community(caller: Caller, community_id: int) -> Caller:
    return Caller(actor=replace(caller.actor, community_id=community_id))


async def test_files_that_come_after_a_pack_was_registered_are_the_operators_to_load(registry, packs_dir):
    await registry.packs.create({"ref": "k8s", "label": "Mine", "version": "1"}, ALICE)
    (packs_dir / "k8s" / "workflows").mkdir(parents=True)
    (packs_dir / "k8s" / "workflows" / "restart.yaml").write_text(FLOW.format(label="Restart"))

    for report in (*await registry.start(), await registry.packs.sync("k8s", ALICE)):
        assert [(error["file"], error["type"]) for error in report.errors] == [("pack.yaml", "registered_by_request")]
    changed = await registry.packs.update("k8s", {"label": "Still mine"}, ALICE)
    assert (changed.pack.label, changed.pack.workflow_count) == ("Still mine", 0)

    loaded = await registry.packs.sync("k8s", ADMIN)
    again = await registry.packs.sync("k8s", ALICE)
    assert (loaded.registered, loaded.errors, again.errors) == (1, [], [])


async def test_a_sync_of_files_that_are_not_registered_yet_says_how(registry, files):
    with pytest.raises(PackNotFound, match="every new pack"):
        await registry.packs.sync("k8s", ADMIN)
    with pytest.raises(PackNotFound, match=r"There is no pack k8s$"):
        await registry.packs.sync("k8s", ALICE)


async def test_a_sync_follows_the_manifest(registry, files):
    await registry.start()
    (files / "pack.yaml").write_text("label: B\nversion: 3.0.0\ntags: [ops]\nlable: x\nauthor: somebody\n")

    report = await registry.packs.sync("k8s", ADMIN)

    pack = await pack_of(registry)
    assert (pack.label, pack.version, pack.tags, pack.modified) == ("B", "3.0.0", ["ops"], False)
    [found] = report.warnings
    assert (found["loc"], found["path"], found["hint"]) == (["lable"], "lable", "Did you mean 'label'?")


async def test_what_a_request_said_of_a_pack_stays_unless_forced(registry, files):
    await registry.packs.create({"ref": "k8s", "description": "Ours"}, ADMIN)
    (files / "pack.yaml").write_text("label: B\nversion: 3.0.0\n")

    await registry.packs.sync("k8s", ADMIN)
    assert ((await pack_of(registry)).label, (await pack_of(registry)).modified) == ("Kubernetes", True)

    await registry.packs.sync("k8s", ADMIN, force=True)
    pack = await pack_of(registry)
    assert (pack.label, pack.description, pack.modified) == ("B", None, False)


async def test_a_manifest_that_is_none_leaves_the_pack_and_is_reported(registry, files):
    await registry.start()
    (files / "pack.yaml").write_text("label: ''\nversion: 3.0.0\n")

    report = await registry.packs.sync("k8s", ADMIN)

    assert [(error["file"], error["loc"]) for error in report.errors] == [("pack.yaml", ["label"])]
    assert (await pack_of(registry)).label == "Kubernetes"


async def test_settings_that_a_new_schema_does_not_take_are_a_warning(registry, files):
    await registry.packs.create({"ref": "k8s", "config": {"size": "big"}}, ADMIN)
    schema = "{type: object, properties: {size: {type: integer}}}"
    (files / "pack.yaml").write_text(f"label: K\nversion: 3.0.0\nconfig_schema: {schema}\n")

    report = await registry.packs.sync("k8s", ADMIN)

    assert [found["loc"] for found in report.warnings] == [["config", "size"]]


async def test_an_edited_workflow_outlives_its_file_and_is_not_replaced_when_it_returns(registry, files):
    await registry.start()
    await registry.workflows.update("k8s.restart", Document(value={"label": "Edited", "enabled": False}), ADMIN)
    file = files / "workflows" / "restart.yaml"
    text = file.read_text()

    file.unlink()
    gone = await registry.packs.sync("k8s", ADMIN)
    row = await flow_of(registry)
    assert (gone.disabled, row.modified, row.label) == ([], True, "Edited")
    assert [found["type"] for found in gone.warnings] == ["kept"]

    file.write_text(text)
    await registry.packs.sync("k8s", ADMIN)
    row = await flow_of(registry)
    assert (row.modified, row.label, row.enabled) == (True, "Edited", False)

    file.unlink()
    assert (await registry.packs.sync("k8s", ADMIN, force=True)).disabled == ["k8s.restart"]


async def test_a_second_file_with_a_ref_does_not_replace_the_first(registry, files):
    await registry.start()
    copy = files / "workflows" / "a_copy.yaml"
    copy.write_text("ref: k8s.restart\n" + FLOW.format(label="Copy"))

    report = await registry.packs.sync("k8s", ADMIN)
    checked = await registry.packs.validate("k8s", ADMIN)

    assert (await flow_of(registry)).label == "Restart"
    assert [error["file"] for error in report.errors] == ["workflows/a_copy.yaml"]
    assert checked["error_count"] == 1
