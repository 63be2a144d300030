"""A secret goes out with the request and is seen nowhere else: not in outputs, errors, events, logs or the record."""

import json
from pathlib import Path

import httpx
import pytest

from bench.demo_target import World, serving
from tests.support.server import running

SECRET = "s3cr3t-value-0123456789"
pytestmark = pytest.mark.e2e


class Echo(World):
    """Gives back what it was sent, the token included, and fails on demand."""

    def answer(self, method, path, body, token):
        self.tokens.add(token)
        return (500 if path.endswith("/fail") else 200), {"you_sent": token, token: "as a key"}


def workflow(name: str, action: str, given: dict) -> dict:
    return {
        "ref": f"default.{name}",
        "pack_ref": "default",
        "label": name,
        "version": "1.0.0",
        "definition": {
            "tasks": [{"name": "call", "action": action, "input": given}],
            "output": {"r": "{{ task.call.result }}"},
        },
    }


@pytest.fixture
def client(tmp_path: Path):
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "token").write_text(f"{SECRET}\n")
    (secrets / "closed").write_text("another-secret-value\n")
    (secrets / "closed.packs").write_text("slack\n")
    environ = {"SECRETS_DIR": str(secrets), "HTTP_ALLOW_HOSTS": "127.0.0.1"}
    with (
        running(tmp_path / "data", environ) as server,
        httpx.Client(base_url=f"{server.url}/api/v1", headers={"X-API-Key": server.key}, timeout=60) as made,
    ):
        yield made


def run(client: httpx.Client, made: dict) -> dict:
    created = client.post("/workflows", json=made)
    assert created.status_code == 201, created.text
    started = client.post(f"/workflows/{made['ref']}/execute?wait=20", json={}).json()["data"]
    return client.get(f"/workflows/executions/{started['execution_id']}").json()["data"]


def everything_said(client: httpx.Client, execution: dict) -> str:
    """All that the server answers about an execution."""
    events = client.get(f"/workflows/executions/{execution['execution_id']}/events").text
    return json.dumps(execution) + events + client.get("/audit?per_page=100").text


@pytest.mark.parametrize("path", ["/ok", "/fail"])
def test_a_secret_is_sent_and_never_shown(client, path):
    world = Echo()
    with serving(world) as url:
        given = {"url": url + path, "headers": {"Authorization": "Bearer {{ secrets.token }}"}}
        execution = run(client, workflow("shown", "core.http", given))
        said = everything_said(client, execution)

    assert world.tokens == {f"Bearer {SECRET}"}
    assert execution["status"] == ("completed" if path == "/ok" else "failed")
    assert SECRET not in said


def test_a_secret_of_other_packs_is_refused(client):
    world = Echo()
    with serving(world) as url:
        given = {"url": url, "headers": {"Authorization": "{{ secrets.closed }}"}}
        execution = run(client, workflow("closed", "core.http", given))

    assert execution["status"] == "failed"
    assert "may not use the secret" in execution["error_message"]
    assert world.tokens == set()


def test_a_secret_outside_of_an_input_does_not_compile(client):
    made = workflow("leak", "core.noop", {})
    made["definition"]["output"] = {"leak": "{{ secrets.token }}"}

    answer = client.post("/workflows", json=made)

    assert answer.status_code == 400
    assert "secret" in answer.text
