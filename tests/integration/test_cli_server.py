"""The command line beside a running server: it asks the server, with the same answers and exit codes."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.server import ROOT, Server, running
from tests.support.terminal import Millrace, quiet

pytestmark = [pytest.mark.e2e, pytest.mark.db]

WORKFLOWS = {
    "greet": """
tasks:
  - {name: say, action: core.echo, input: {message: 'Hello {{ parameters.name }}'}}
output: {said: '{{ task.say.result.message }}'}
""",
    "asks": "tasks:\n  - {name: ask, action: core.inquiry, input: {prompt: 'Go on?'}}\n",
}


@pytest.fixture
def packs(tmp_path: Path) -> Path:
    root = tmp_path / "packs" / "demo"
    (root / "workflows").mkdir(parents=True)
    (root / "pack.yaml").write_text("ref: demo\nlabel: Demo\nversion: 1.0.0\n")
    for name, text in WORKFLOWS.items():
        (root / "workflows" / f"{name}.yaml").write_text(text)
    return tmp_path / "packs"


@pytest.fixture
def environ(tmp_path: Path, packs: Path, database_engine: str, databases) -> Iterator[dict[str, str]]:
    found = {"DATA_DIR": str(tmp_path / "served"), "PACKS_DIR": str(packs), "PORT": "0"}
    url = databases.create(database_engine, None) if database_engine == "postgres" else None
    yield found | ({"POSTGRES_DSN": url} if url else {})
    if url:
        databases.drop(url)


@pytest.fixture
def server(tmp_path: Path, environ: dict[str, str]) -> Iterator[Server]:
    with running(tmp_path / "served", environ) as found:
        yield found


@pytest.fixture
def millrace(server: Server, environ: dict[str, str], database_engine: str) -> Iterator[Millrace]:
    """Commands of somebody with the administrator's key; on SQLite the lock says where the server is."""
    where = {} if database_engine == "sqlite" else {"MILLRACE_URL": server.url}
    with quiet():
        yield Millrace({**environ, "MILLRACE_KEY": server.key, **where})


def test_every_group_of_commands_works_over_http(millrace, tmp_path):
    ran = millrace("-o", "json", "run", "demo.greet", "-v", "name=Ada")
    execution = json.loads(ran.stdout)["execution_id"]
    shown = millrace("executions", "show", execution)
    listed = json.loads(millrace("executions", "list", "demo.greet", "-o", "json").stdout)
    created = json.loads(millrace("user", "create", "ann", "-o", "json").stdout)
    key = json.loads(millrace("key", "create", "--user", "ann", "--scope", "read", "-o", "json").stdout)
    keys = json.loads(millrace("key", "list", "-o", "json").stdout)
    packs = json.loads(millrace("pack", "list", "-o", "json").stdout)
    synced = millrace("pack", "sync", "demo")
    verified = millrace("audit", "verify")
    exported = [json.loads(line) for line in millrace("audit", "export").stdout.splitlines()]
    backup = millrace("backup", tmp_path / "while-running.backup")

    assert (ran.exit_code, json.loads(ran.stdout)["final_output"]) == (0, {"said": "Hello Ada"})
    assert "Hello Ada" in shown.output
    assert [(row["execution_id"], row["status"]) for row in listed] == [(execution, "completed")]
    assert next(row["id"] for row in keys) == key["id"]
    assert "demo" in [row["ref"] for row in packs]
    assert [found.exit_code for found in (synced, verified, backup)] == [0, 0, 0]
    assert ("create_user", 1) in [(entry["action"], entry["actor_id"]) for entry in exported]
    assert created["id"] == 2


def test_what_is_refused_reads_as_it_does_without_a_server(millrace):
    missing = millrace("run", "demo.nothing")
    nobody = millrace("key", "create", "--user", "nobody")
    own = millrace("key", "create", "--name", "mine", "-o", "json")

    assert [found.exit_code for found in (missing, nobody, own)] == [1, 1, 0]
    assert missing.stderr == "Error: Workflow not found\n"
    assert "There is no user 'nobody'" in nobody.stderr
    assert json.loads(own.stdout)["user_id"] == 1


def test_a_wrong_key_is_named_as_such(millrace):
    found = millrace("user", "list", MILLRACE_KEY="wrong-key-0123456789")

    assert found.exit_code == 1
    assert "does not take this key" in found.stderr


def test_somebody_else_at_the_address_is_noticed(millrace, server, tmp_path):
    found = millrace("user", "list", "--url", f"{server.url}/docs")

    assert found.exit_code == 1
    assert "Error" in found.stderr


def test_a_person_who_may_not_is_told_so(millrace):
    millrace("user", "create", "ann")
    key = json.loads(millrace("key", "create", "--user", "ann", "-o", "json").stdout)["key"]

    users = millrace("user", "list", MILLRACE_KEY=key)
    everyone = millrace("key", "list", MILLRACE_KEY=key)
    mine = json.loads(millrace("key", "list", "--mine", "-o", "json", MILLRACE_KEY=key).stdout)
    packs = millrace("pack", "sync", MILLRACE_KEY=key)

    assert [found.exit_code for found in (users, everyone, packs)] == [1, 1, 1]
    assert "administrator" in everyone.stderr
    assert [row["user_id"] for row in mine] == [2]


@pytest.mark.parametrize("database_engine", ["sqlite"])
def test_without_a_key_the_server_that_holds_the_database_is_named(millrace, server):
    refused = millrace("user", "list", MILLRACE_KEY="")
    direct = millrace("key", "create", "--user", "admin", "--direct", "-o", "json", MILLRACE_KEY="")
    used = millrace("user", "list", MILLRACE_KEY=json.loads(direct.stdout)["key"])

    assert (refused.exit_code, direct.exit_code, used.exit_code) == (2, 0, 0)
    assert server.url in refused.stderr
    assert "MILLRACE_KEY" in refused.stderr
    assert "--direct" in refused.stderr


@pytest.mark.parametrize("database_engine", ["sqlite"])
def test_what_is_started_beside_a_server_is_driven_by_it(millrace):
    ran = millrace("run", "demo.greet", "-v", "name=Ada", "--direct", "-o", "json", "--timeout", 30, MILLRACE_KEY="")

    assert (ran.exit_code, json.loads(ran.stdout)["final_output"]) == (0, {"said": "Hello Ada"})


@pytest.mark.parametrize("database_engine", ["sqlite"])
def test_a_running_server_is_not_restored_over(millrace, tmp_path):
    millrace("backup", tmp_path / "one")
    refused = millrace("restore", tmp_path / "one", "--force")

    assert refused.exit_code == 1
    assert "Stop the server first" in refused.stderr


@pytest.mark.parametrize("database_engine", ["sqlite"])
def test_ctrl_c_stops_waiting_and_says_how_to_follow(server, environ):
    env = {**os.environ, **environ, "MILLRACE_KEY": server.key, "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "cli", "run", "demo.asks"]
    process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    millrace = Millrace({**environ, "MILLRACE_KEY": server.key})
    with quiet():
        execution = first_execution(millrace)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=60)
        cancelled = millrace("executions", "cancel", execution)

    assert process.returncode == 130
    assert f"millrace executions follow {execution}" in told
    assert cancelled.exit_code == 0


def first_execution(millrace: Millrace) -> str:
    """The execution that another process has started, as soon as it is there."""
    ends_at = time.monotonic() + 60
    while time.monotonic() < ends_at:
        rows = json.loads(millrace("executions", "list", "demo.asks", "-o", "json").stdout)
        if rows:
            return str(rows[0]["execution_id"])
    raise AssertionError("nothing was started")
