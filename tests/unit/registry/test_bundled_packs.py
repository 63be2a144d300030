"""The packs that come with the server: every file can be read, every workflow compiles, every declaration agrees."""

from pathlib import Path

import pytest

from services.actions.core_pack import CORE_ACTIONS
from services.actions.declared import _compile
from services.engine.compile import compile_definition
from services.registry.pack_files import folders, read_folder
from services.registry.pack_loader import load

PACKS = Path(__file__).parents[3] / "packs"
LOADED = {ref: load(read_folder(PACKS, ref)) for ref in folders(PACKS)}
WORKFLOWS = [workflow for pack in LOADED.values() for workflow in pack.workflows]


def test_the_bundled_packs_are_there():
    assert set(LOADED) == {"core", "examples", "scripts", "slack"}


@pytest.mark.parametrize("pack", LOADED.values(), ids=LOADED)
def test_every_file_of_a_bundled_pack_can_be_read(pack):
    assert pack.errors == []
    assert pack.manifest["ref"] == pack.ref


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda workflow: workflow.draft.ref)
def test_every_bundled_workflow_compiles_without_a_warning(workflow):
    compiled = compile_definition(workflow.draft.definition)

    assert [*compiled.errors, *compiled.warnings] == []


def test_the_files_of_the_core_pack_declare_what_the_server_performs():
    declared = {action.spec.ref: action.spec for action in LOADED["core"].actions}

    assert declared == {spec.ref: spec for spec in CORE_ACTIONS}


@pytest.mark.parametrize("action", LOADED["slack"].actions, ids=lambda action: action.spec.ref)
def test_every_declared_request_compiles(action):
    assert _compile(action.spec).output is not None


def test_every_action_of_a_bundled_pack_has_an_effect_and_says_what_it_does():
    actions = [action for pack in LOADED.values() for action in pack.actions]

    assert all(action.spec.description and "effect" in action.document for action in actions)
