"""Backup and restore from the command line, on both databases."""

import json
import zipfile
from pathlib import Path

import orjson
import pytest

from tests.support.terminal import Millrace

pytestmark = pytest.mark.db

FLOW = """
tasks:
  - {name: ask, action: core.inquiry, input: {prompt: 'Go on?'}, next: [{do: [call, note]}]}
  - {name: call, action: core.http, input: {method: POST, url: 'http://127.0.0.1:9/x'}}
  - {name: note, action: core.log, input: {message: 'no effect'}}
"""
QUICK = "tasks:\n  - {name: a, action: core.noop}\n"


@pytest.fixture(autouse=True)
def pack(tmp_path: Path) -> None:
    root = tmp_path / "packs" / "demo"
    (root / "workflows").mkdir(parents=True)
    (root / "pack.yaml").write_text("ref: demo\nlabel: Demo\nversion: 1.0.0\n")
    (root / "workflows" / "asks.yaml").write_text(FLOW)
    (root / "workflows" / "quick.yaml").write_text(QUICK)


@pytest.fixture
def elsewhere(millrace, tmp_path, database_engine, databases):
    """The command line on another, empty database of the same kind."""
    environ = {**millrace.environ, "DATA_DIR": str(tmp_path / "elsewhere")}
    url = databases.create(database_engine, None) if database_engine == "postgres" else None
    yield Millrace(environ | ({"POSTGRES_DSN": url} if url else {}))
    if url:
        databases.drop(url)


@pytest.fixture
def made(millrace, tmp_path) -> Path:
    """A backup of a database with a user, a finished and an open execution."""
    millrace("user", "create", "ann")
    millrace("run", "demo.quick")
    millrace("run", "demo.asks", "--timeout", 0.5)
    file = tmp_path / "one.backup"
    found = millrace("backup", file)
    assert found.exit_code == 0, found.output
    return file


def test_a_backup_brings_everything_back_paused_and_says_what_may_have_been_done(millrace, elsewhere, made):
    restored = elsewhere("restore", made, "-o", "json")

    found = json.loads(restored.stdout)
    (open_one,) = [row for row in listed(millrace, "demo.asks") if row["end_time"] is None]
    execution = open_one["execution_id"]
    assert (restored.exit_code, found["unfinished"], found["paused"]) == (0, 1, True)
    assert found["effects"] == [
        {
            "execution_id": execution,
            "workflow_ref": "demo.asks",
            "node": "call",
            "action": "core.http",
            "effect": "write",
            "in_flight": False,
            "repeats": False,
            "idempotency_key": f"{execution}/call/0",
        }
    ]
    assert listed(elsewhere, "demo.asks") == listed(millrace, "demo.asks")
    assert [row["name"] for row in json.loads(elsewhere("user", "list", "-o", "json").stdout)] == ["ann"]
    assert elsewhere("audit", "verify").exit_code == 0


def test_nothing_of_a_restored_database_runs_before_it_is_resumed(elsewhere, made):
    elsewhere("restore", made)
    before = elsewhere("run", "demo.quick", "--timeout", 0.3)
    elsewhere("executions", "resume-all")
    after = elsewhere("run", "demo.quick")

    assert (before.exit_code, after.exit_code) == (5, 0)


def test_new_rows_do_not_collide_with_restored_ones(elsewhere, made):
    elsewhere("restore", made)
    new = json.loads(elsewhere("user", "create", "bob", "-o", "json").stdout)

    assert new["id"] == 2


def test_a_database_that_holds_something_is_replaced_only_when_forced(millrace, made):
    millrace("user", "create", "bob")

    refused = millrace("restore", made)
    forced = millrace("restore", made, "--force")

    assert (refused.exit_code, forced.exit_code) == (1, 0)
    assert "not empty" in refused.stderr
    assert [row["name"] for row in json.loads(millrace("user", "list", "-o", "json").stdout)] == ["ann"]


def test_both_are_in_the_record(millrace, made):
    millrace("restore", made, "--force")

    actions = [row["action"] for row in json.loads(millrace("audit", "list", "-o", "json").stdout)]
    assert {"backup", "restore", "pause_all"} <= set(actions)


def test_a_backup_replaces_no_file_and_needs_a_database(millrace, elsewhere, made, tmp_path):
    again = millrace("backup", made)
    nothing = elsewhere("backup", tmp_path / "two.backup")
    nowhere = millrace("backup", tmp_path / "no" / "where")

    assert [found.exit_code for found in (again, nothing, nowhere)] == [1, 1, 1]
    assert "is there already" in again.stderr
    assert sorted(path.name for path in tmp_path.glob("*.backup*")) == ["one.backup"]


def test_only_its_owner_reads_a_backup(made):
    assert made.stat().st_mode & 0o777 == 0o600


def test_a_damaged_backup_changes_nothing(millrace, made, tmp_path):
    torn, flipped, other = tmp_path / "torn", tmp_path / "flipped", tmp_path / "other"
    torn.write_bytes(made.read_bytes()[:-100])
    whole = bytearray(made.read_bytes())
    with zipfile.ZipFile(made) as archive:
        largest = max(archive.infolist(), key=lambda member: member.compress_size)
    middle = largest.header_offset + 30 + len(largest.filename) + largest.compress_size // 2
    for place in range(middle, middle + 64):  # one bit alone may lie where it changes nothing
        whole[place] ^= 0xFF
    flipped.write_bytes(whole)
    other.write_text("hello")

    found = [millrace("restore", path, "--force") for path in (torn, flipped, other)]

    assert [entry.exit_code for entry in found] == [1, 1, 1]
    assert all("damaged" in entry.stderr for entry in found)
    assert [row["name"] for row in json.loads(millrace("user", "list", "-o", "json").stdout)] == ["ann"]


def test_a_backup_of_a_newer_version_or_another_database_is_refused(millrace, made, tmp_path):
    newer, other, format_ = tmp_path / "newer", tmp_path / "other", tmp_path / "format"
    changed(made, newer, lambda manifest: manifest["schema"].update({"9999": "x"}))
    changed(made, other, lambda manifest: manifest.update(engine="oracle"))
    changed(made, format_, lambda manifest: manifest.update(format=2))

    found = [millrace("restore", path, "--force") for path in (newer, other, format_)]

    assert [entry.exit_code for entry in found] == [1, 1, 1]
    assert "newer" in found[0].stderr
    assert "oracle" in found[1].stderr
    assert "format 2" in found[2].stderr


def test_a_backup_that_lost_rows_is_refused(millrace, made, tmp_path):
    fewer = tmp_path / "fewer"
    changed(made, fewer, lambda manifest: manifest["rows"].update(app_user=7))

    found = millrace("restore", fewer, "--force")

    assert found.exit_code == 1
    assert "app_user" in found.stderr


def changed(source: Path, target: Path, change) -> None:
    """A copy of a backup with another manifest."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name == "manifest.json":
                manifest = orjson.loads(data)
                change(manifest)
                data = orjson.dumps(manifest)
            new.writestr(name, data)


def listed(millrace, workflow: str) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = json.loads(millrace("executions", "list", workflow, "-o", "json").stdout)
    return rows
