"""Every scenario, shared and own, in every order of completion."""

import os
from pathlib import Path

import pytest

from tests.scenarios.report import failures
from tests.scenarios.runner import run
from tests.scenarios.scenario import load, own_folders, scenario_files, shared_folder

SHARED = shared_folder()
OWN = [path for folder in own_folders() for path in scenario_files(folder)]


def named(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


@pytest.mark.parametrize("path", OWN, ids=named)
def test_an_own_scenario_comes_out_as_expected_in_every_order(path: Path):
    result = run(load(path))

    assert result.conforms, "\n".join(failures([result]))


@pytest.mark.shared
@pytest.mark.parametrize("path", scenario_files(SHARED) if SHARED.is_dir() else [], ids=named)
def test_a_shared_scenario_comes_out_as_expected_in_every_order(path: Path):
    result = run(load(path))

    assert result.conforms, "\n".join(failures([result]))


@pytest.mark.shared
def test_the_shared_conformance_set_is_there():
    if not SHARED.is_dir() and "CI" not in os.environ:
        pytest.skip(f"the shared conformance set is not beside the project ({SHARED}); only own scenarios were run")

    files = scenario_files(SHARED)

    assert files, f"no scenarios in {SHARED}"
