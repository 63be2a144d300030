"""The runner notices what differs, and refuses what it does not understand."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.scenarios.__main__ import main
from tests.scenarios.runner import run
from tests.scenarios.scenario import BadScenario, load

DEFINITION = {
    "version": 1.0,
    "tasks": {"a": {"action": "core.noop", "next": [{"do": "b"}]}, "b": {"action": "core.echo message='x'"}},
    "output": [{"done": True}],
}
EXPECTED: dict[str, Any] = {
    "status": "succeeded",
    "output": {"done": True},
    "tasks": [{"task": "a", "status": "succeeded"}, {"task": "b", "status": "succeeded"}],
    "transitions": ["a -> b"],
    "actions": [{"task": "a", "action": "core.noop"}, {"task": "b", "action": "core.echo", "input": {"message": "x"}}],
}


def written(folder: Path, **changes: Any) -> Path:
    path = folder / "small--one.yaml"
    path.write_text(yaml.safe_dump({"name": "one", "definition": DEFINITION, "expected": EXPECTED, **changes}))
    return path


def test_a_scenario_that_comes_out_as_expected_conforms(tmp_path: Path):
    assert run(load(written(tmp_path))).conforms


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("status", "failed"),
        ("output", {"done": 1}),
        ("tasks", EXPECTED["tasks"][:1]),
        ("transitions", ["a -> b", "a -> b"]),
        ("actions", [{"task": "a", "action": "core.noop", "delay": 1}, EXPECTED["actions"][1]]),
        ("errors", [{"kind": "fail_command"}]),
        ("refused", ["cancel"]),
        ("checkpoints", {"never": {"status": "running"}}),
        ("inspection", [{"category": "syntax", "kind": "schema", "spec_path": "tasks"}]),
    ],
)
def test_a_field_that_differs_is_named(tmp_path: Path, field: str, value: Any):
    result = run(load(written(tmp_path, expected={**EXPECTED, field: value})))

    assert field in {failure.difference.field for failure in result.failures}


def test_an_alternative_replaces_the_fields_it_names(tmp_path: Path):
    path = written(tmp_path, expected={**EXPECTED, "status": "failed"}, also_accepted=[{"status": "succeeded"}])

    assert run(load(path)).conforms


@pytest.mark.parametrize(
    "changes",
    [
        {"surprise": 1},
        {"requires": ["st2kv"]},
        {"expected": {**EXPECTED, "speed": 1}},
        {"script": [{"dance": True}]},
        {"script": [{"pause": True, "resume": True}]},
    ],
)
def test_what_the_format_does_not_know_is_refused(tmp_path: Path, changes: dict[str, Any]):
    path = written(tmp_path, **changes)

    with pytest.raises(BadScenario):
        load(path)


def test_a_step_that_cannot_be_taken_is_a_failure_of_the_scenario(tmp_path: Path):
    result = run(load(written(tmp_path, script=[{"complete": "a"}])))

    assert {failure.difference.field for failure in result.failures} == {"harness"}


def test_the_last_line_is_the_total_and_the_exit_code_says_whether_all_conform(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    written(tmp_path)

    code = main([str(tmp_path)])

    assert (code, capsys.readouterr().out.splitlines()[-1]) == (0, "1/1")


def test_a_failure_is_listed_and_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    written(tmp_path, expected={**EXPECTED, "status": "failed"})

    code = main([str(tmp_path)])

    lines = capsys.readouterr().out.splitlines()
    assert (code, lines[-1]) == (1, "0/1")
    assert any(line.startswith("FAIL small--one [fifo") and "level 1 status" in line for line in lines)


def test_a_file_that_is_no_scenario_is_a_failure_and_does_not_stop_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    written(tmp_path)
    (tmp_path / "broken.yaml").write_text("[")

    code = main([str(tmp_path)])

    assert (code, capsys.readouterr().out.splitlines()[-1]) == (1, "1/2")


def test_a_folder_that_is_not_there_is_said_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    code = main([str(tmp_path / "nowhere")])

    assert (code, "No such folder" in capsys.readouterr().out) == (2, True)
