"""What operators do from the command line."""

import json
from pathlib import Path

import pytest

pytestmark = pytest.mark.db


@pytest.fixture(autouse=True)
def pack(tmp_path: Path) -> None:
    root = tmp_path / "packs" / "demo"
    (root / "workflows").mkdir(parents=True)
    (root / "pack.yaml").write_text("ref: demo\nlabel: Demo\nversion: 1.0.0\n")
    asks = "tasks:\n  - {name: ask, action: core.inquiry, input: {prompt: 'Go on?'}}\n"
    (root / "workflows" / "asks.yaml").write_text(asks)


def test_operators_find_fail_and_cancel_executions(millrace):
    millrace("pack", "sync")
    started = [json.loads(millrace("run", "demo.asks", "--no-wait", "-o", "json").stdout) for _ in range(3)]
    ids = [one["execution_id"] for one in started]

    found = json.loads(millrace("executions", "find", "--unfinished", "-o", "json").stdout)
    failed = millrace("executions", "fail", ids[0], "--reason", "lost", "-o", "json")
    nothing = millrace("executions", "cancel-all")
    planned = millrace("executions", "cancel-all", "--workflow", "demo.asks", "--plan", "-o", "json")
    done = millrace("executions", "cancel-all", "--workflow", "demo.asks", "-o", "json")

    assert [one["execution_id"] for one in found] == ids[::-1]
    assert json.loads(failed.stdout)["status"] == "failed"
    assert nothing.exit_code == 2
    assert "--everything" in nothing.stderr
    assert "everything" in nothing.stderr
    assert (json.loads(planned.stdout)["matched"], json.loads(planned.stdout)["cancelled"]) == (2, 0)
    assert json.loads(done.stdout)["cancelled"] == 2
    assert (
        json.loads(millrace("executions", "find", "--status", "failed", "-o", "json").stdout)[0]["error"]
        == (json.loads(millrace("executions", "show", ids[0], "-o", "json").stdout)["error_message"])
    )


def test_workers_are_listed(millrace):
    listed = millrace("workers", "-o", "json")

    assert (listed.exit_code, json.loads(listed.stdout)) == (0, [])  # a command that only asks drives nothing
