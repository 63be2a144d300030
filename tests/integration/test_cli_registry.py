"""Packs, definitions and executions from the command line."""

import json
import logging
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli import main
from tests.support.server import running

GOOD = "tasks:\n  - {name: a, action: core.noop}\n"
BAD = "tasks:\n  - {name: a, action: core.noop, next: [{do: b}]}\n"


@pytest.fixture
def millrace(tmp_path: Path, monkeypatch):
    """Runs a command on a database of its own."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    for name in ("POSTGRES_DSN", "DATABASE_URL", "MILLRACE_KEY", "MILLRACE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("PACKS_DIR", str(tmp_path / "packs"))

    def run(*arguments, given: str | None = None):
        return CliRunner().invoke(main, [str(a) for a in arguments], input=given, catch_exceptions=False)

    yield run
    root.handlers[:] = before
    root.setLevel(level)
    logging.captureWarnings(False)


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    root = tmp_path / "packs" / "demo"
    (root / "workflows").mkdir(parents=True)
    (root / "pack.yaml").write_text("ref: demo\nlabel: Demo\nversion: 1.0.0\n")
    (root / "workflows" / "good.yaml").write_text(GOOD)
    return root


def test_a_pack_is_loaded_shown_checked_and_removed(millrace, pack):
    millrace("migrate")
    loaded = millrace("-o", "json", "pack", "sync")
    listed = json.loads(millrace("-o", "json", "pack", "list").output)
    shown = json.loads(millrace("-o", "json", "pack", "show", "demo").output)
    checked = millrace("pack", "check", "demo")
    removed = millrace("pack", "remove", "demo")

    assert [(line["ref"], line["result"]) for line in json.loads(loaded.output)] == [("demo.good", "created")]
    assert ("demo", 1) in [(row["ref"], row["workflow_count"]) for row in listed]
    assert shown["workflows"] == ["demo.good"]
    assert (checked.exit_code, removed.exit_code) == (0, 0)
    assert millrace("pack", "show", "demo").exit_code == 1


def test_a_bad_file_is_named_and_the_exit_code_says_so(millrace, pack):
    millrace("migrate")
    (pack / "workflows" / "bad.yaml").write_text(BAD)

    loaded = millrace("pack", "sync")
    checked = millrace("pack", "check", "demo")

    assert loaded.exit_code == checked.exit_code == 1
    assert "workflows/bad.yaml" in loaded.output
    assert "created" in loaded.output


def test_definitions_are_checked_without_a_server(millrace, tmp_path):
    (tmp_path / "good.yaml").write_text(GOOD)
    (tmp_path / "bad.yaml").write_text(f"label: ''\n{BAD}")
    (tmp_path / "torn.yaml").write_text("a: [\n")

    good = millrace("validate", tmp_path / "good.yaml")
    bad = millrace("-o", "json", "validate", tmp_path / "good.yaml", tmp_path / "bad.yaml", tmp_path / "torn.yaml")
    piped = millrace("validate", "-", given=GOOD)

    assert good.exit_code == piped.exit_code == 0
    assert bad.exit_code == 1
    results = [(Path(line["file"]).name, line["result"]) for line in json.loads(bad.output)]
    assert results[0] == ("good.yaml", "valid")
    assert {("bad.yaml", "error"), ("torn.yaml", "error")} <= set(results)


@pytest.mark.e2e
def test_a_workflow_is_run_and_its_execution_looked_at(millrace, tmp_path, pack):
    (pack / "workflows" / "greet.yaml").write_text(
        "tasks:\n  - {name: say, action: core.echo, input: {message: 'Hello {{ parameters.name }}'}}\n"
        "output: {said: '{{ task.say.result.message }}'}\n"
    )
    with running(tmp_path / "served", {"PACKS_DIR": str(tmp_path / "packs")}) as server:
        at = ("--url", server.url, "--key", server.key)
        ran = millrace("-o", "json", "run", "demo.greet", "-v", "name=Ada", *at)
        listed = millrace("-o", "json", "executions", "list", "demo.greet", *at)
        shown = millrace("executions", "show", json.loads(ran.output)["execution_id"], *at)
        missing = millrace("run", "demo.nothing", *at)
        wrong = millrace("run", "demo.greet", "-v", "name", *at)

    assert (ran.exit_code, json.loads(ran.output)["final_output"]) == (0, {"said": "Hello Ada"})
    assert [row["status"] for row in json.loads(listed.output)] == ["completed"]
    assert "Hello Ada" in shown.output
    assert (missing.exit_code, wrong.exit_code) == (1, 2)


def test_no_server_is_said_so(millrace):
    refused = millrace("run", "demo.greet", "--url", "http://127.0.0.1:1", "--key", "k" * 20)

    assert refused.exit_code == 3
    assert "No server answers" in refused.output
