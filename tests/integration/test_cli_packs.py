"""Packs and definitions from the command line."""

import json
from pathlib import Path

import pytest

pytestmark = pytest.mark.db

GOOD = "tasks:\n  - {name: a, action: core.noop}\n"
BAD = "tasks:\n  - {name: a, action: core.noop, next: [{do: b}]}\n"


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    root = tmp_path / "packs" / "demo"
    (root / "workflows").mkdir(parents=True)
    (root / "pack.yaml").write_text("ref: demo\nlabel: Demo\nversion: 1.0.0\n")
    (root / "workflows" / "good.yaml").write_text(GOOD)
    return root


def test_a_pack_is_loaded_shown_checked_and_removed(millrace, pack):
    loaded = millrace("-o", "json", "pack", "sync")
    again = millrace("-o", "json", "pack", "sync")
    listed = json.loads(millrace("-o", "json", "pack", "list").stdout)
    shown = json.loads(millrace("-o", "json", "pack", "show", "demo").stdout)
    checked = millrace("pack", "check", "demo")
    removed = millrace("pack", "remove", "demo")

    assert [(line["ref"], line["result"]) for line in json.loads(loaded.stdout)] == [("demo.good", "created")]
    assert json.loads(again.stdout) == []
    assert ("demo", 1) in [(row["ref"], row["workflow_count"]) for row in listed]
    assert shown["workflows"] == ["demo.good"]
    assert (checked.exit_code, removed.exit_code) == (0, 0)
    assert millrace("pack", "show", "demo").exit_code == 1


def test_a_bad_file_is_named_and_the_exit_code_says_so(millrace, pack):
    (pack / "workflows" / "bad.yaml").write_text(BAD)

    loaded = millrace("pack", "sync")
    named = millrace("pack", "sync", "demo", "--force")
    checked = millrace("pack", "check", "demo")

    assert [found.exit_code for found in (loaded, named, checked)] == [1, 1, 1]
    assert "workflows/bad.yaml" in loaded.output
    assert "created" in loaded.output


def test_definitions_are_checked_without_a_server_and_without_a_database(millrace, tmp_path):
    (tmp_path / "good.yaml").write_text(GOOD)
    (tmp_path / "bad.yaml").write_text(f"label: ''\n{BAD}")
    (tmp_path / "torn.yaml").write_text("a: [\n")

    good = millrace("validate", tmp_path / "good.yaml")
    bad = millrace("-o", "json", "validate", tmp_path / "good.yaml", tmp_path / "bad.yaml", tmp_path / "torn.yaml")
    piped = millrace("validate", "-", given=GOOD)

    assert good.exit_code == piped.exit_code == 0
    assert bad.exit_code == 1
    results = [(Path(line["file"]).name, line["result"]) for line in json.loads(bad.stdout)]
    assert results[0] == ("good.yaml", "valid")
    assert {("bad.yaml", "error"), ("torn.yaml", "error")} <= set(results)
    assert not (tmp_path / "new").exists()


def test_what_the_built_in_actions_take_is_known_without_a_server(millrace):
    text = "tasks:\n  - {{name: a, action: {action}, input: {{message: hi, {more}}}}}\n"

    results = [
        millrace("validate", "--strict", "-", given=text.format(action=action, more=more)).exit_code
        for action, more in (
            ("core.log", "level: info"),
            ("core.log", "bogus: 1"),
            ("core.nope", "x: 1"),
            ("my.own", "x: 1"),
        )
    ]

    assert results == [0, 1, 1, 0]
