"""Running workflows from the command line when no server does."""

import json
from pathlib import Path

import pytest

pytestmark = pytest.mark.db

WORKFLOWS = {
    "greet": """
tasks:
  - {name: rest, action: core.sleep, input: {seconds: 0.2}, next: [{do: say}]}
  - {name: say, action: core.echo, input: {message: 'Hello {{ parameters.name }}'}}
output: {said: '{{ task.say.result.message }}'}
""",
    "parent": """
tasks:
  - {name: child, action: demo.greet, input: {name: Ada}}
output: {said: '{{ task.child.result.said }}'}
""",
    "breaks": "tasks:\n  - {name: f, action: core.fail, input: {message: no good}}\n",
    "asks": "tasks:\n  - {name: ask, action: core.inquiry, input: {prompt: 'Go on?'}}\n",
}


@pytest.fixture(autouse=True)
def pack(tmp_path: Path) -> None:
    root = tmp_path / "packs" / "demo"
    (root / "workflows").mkdir(parents=True)
    (root / "pack.yaml").write_text("ref: demo\nlabel: Demo\nversion: 1.0.0\n")
    for name, text in WORKFLOWS.items():
        (root / "workflows" / f"{name}.yaml").write_text(text)


def test_an_execution_is_run_to_its_end_with_its_timers_and_children(millrace):
    ran = millrace("run", "demo.parent", "-o", "json")
    again = millrace("run", "demo.greet", "-v", "name=Ada", "--variables", '{"name": "Bob"}')

    assert (ran.exit_code, json.loads(ran.stdout)["final_output"]) == (0, {"said": "Hello Ada"})
    assert again.exit_code == 0
    assert "Hello Ada" in again.output


def test_the_exit_code_is_the_result(millrace):
    failed = millrace("run", "demo.breaks", "-o", "json")
    waiting = millrace("run", "demo.asks", "-o", "json", "--timeout", 0)
    execution = json.loads(waiting.stdout)["execution_id"]
    cancelled = millrace("executions", "cancel", execution)
    followed = millrace("executions", "follow", execution, "-o", "json")

    assert (failed.exit_code, json.loads(failed.stdout)["error_message"]) == (1, "no good")
    assert waiting.exit_code == 5
    assert f"millrace executions follow {execution}" in waiting.stderr
    assert cancelled.exit_code == 0
    assert (followed.exit_code, json.loads(followed.stdout)["status"]) == (4, "cancelled")


def test_what_was_only_started_goes_on_when_it_is_followed(millrace):
    millrace("pack", "sync")
    started = json.loads(millrace("run", "demo.greet", "-v", "name=Ada", "--no-wait", "-o", "json").stdout)
    listed = json.loads(millrace("executions", "list", "demo.greet", "-o", "json").stdout)
    followed = millrace("executions", "follow", started["execution_id"], "-o", "json")

    assert [(row["execution_id"], row["end_time"]) for row in listed] == [(started["execution_id"], None)]
    assert (followed.exit_code, json.loads(followed.stdout)["final_output"]) == (0, {"said": "Hello Ada"})


def test_the_same_idempotency_key_starts_once(millrace):
    first = millrace("run", "demo.greet", "-v", "name=Ada", "--idempotency-key", "once", "-o", "json")
    again = millrace("run", "demo.greet", "-v", "name=Ada", "--idempotency-key", "once", "-o", "json")

    assert json.loads(first.stdout) == json.loads(again.stdout)


def test_an_execution_is_looked_at_from_all_sides(millrace):
    execution = json.loads(millrace("run", "demo.breaks", "-o", "json").stdout)["execution_id"]

    shown = millrace("executions", "show", execution)
    explained = millrace("executions", "explain", execution)
    events = millrace("executions", "events", execution)
    planned = json.loads(millrace("executions", "rerun", execution, "--plan", "-o", "json").stdout)
    rerun = json.loads(millrace("executions", "rerun", execution, "-o", "json").stdout)
    found = millrace("executions", "list", "demo.breaks", "--status", "failed", "-o", "json")

    assert "no good" in shown.output
    assert "no good" in explained.output
    assert "node_started" in events.output
    assert [entry["node"] for entry in planned["again"]] == ["f"]
    assert rerun["execution_id"] != execution
    assert [row["execution_id"] for row in json.loads(found.stdout)] == [execution]


def test_while_everything_is_paused_a_command_says_what_it_waits_for(millrace):
    millrace("migrate")
    millrace("executions", "pause-all", "--reason", "checking")
    waiting = millrace("run", "demo.greet", "-v", "name=Ada", "--timeout", 0.3)
    millrace("executions", "resume-all")
    after = millrace("run", "demo.greet", "-v", "name=Ada")

    assert (waiting.exit_code, after.exit_code) == (5, 0)
    assert "millrace executions resume-all" in waiting.stderr


def test_what_cannot_be_started_says_every_reason(millrace):
    missing = millrace("run", "demo.nothing")
    pair = millrace("run", "demo.greet", "-v", "name")
    whole = millrace("run", "demo.greet", "--variables", "[1]")
    twice = millrace("executions", "cancel", "not-an-id")

    assert [found.exit_code for found in (missing, pair, whole, twice)] == [1, 2, 2, 1]
    assert "Workflow not found" in missing.stderr
    assert "NAME=VALUE" in pair.stderr
    assert "JSON object" in whole.stderr
