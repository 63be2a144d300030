"""The client package against a real server: everything it offers, once."""

from pathlib import Path

import pytest
from millrace_client import ApiError, AsyncClient, Client

from tests.support.server import running

pytestmark = pytest.mark.e2e
HELLO = {"tasks": [{"name": "say", "action": "core.echo", "input": {"message": "hi {{ parameters.who }}"}}]}
SLOW = {"tasks": [{"name": "rest", "wait": {"seconds": 600}}]}


def workflow(name: str, definition: dict) -> dict:
    return {
        "ref": f"default.{name}",
        "pack_ref": "default",
        "label": name,
        "version": "1.0.0",
        "definition": definition,
    }


@pytest.fixture
def server(tmp_path: Path):
    with running(tmp_path / "data", {}) as server:
        yield server


async def test_a_program_starts_follows_cancels_and_records(server):
    async with AsyncClient(server.url, server.key) as client:
        for body in (workflow("hello", HELLO), workflow("slow", SLOW)):
            answer = await client._http.post("/api/v1/workflows", json=body)
            assert answer.status_code == 201, answer.text

        started = await client.start("default.hello", {"who": "Ada"}, key="once")
        again = await client.start("default.hello", {"who": "Ada"}, key="once")
        ended = await client.wait(started["execution_id"], timeout_s=20, poll_s=0.05)
        seqs = [event["id"] async for event in client.events(started["execution_id"])]
        slow = await client.start("default.slow")
        cancelled = await client.cancel(slow["execution_id"])
        logged = await client.log_runs(
            [{"wpk_id": "agent-1.0.0", "run_id": "r1", "status": "completed"}, {"wpk_id": "x"}]
        )
        noted = await client.notify_registry_of_run("hello-1.0.0", {"run_id": "r9", "status": "completed"})
        with pytest.raises(ApiError, match="404 WORKFLOW_NOT_FOUND"):
            await client.start("default.nobody")

    assert again["execution_id"] == started["execution_id"]
    assert (ended["status"], ended["node_states"]["say"]["output_data"]["message"]) == ("completed", "hi Ada")
    assert seqs == sorted(seqs)  # events of one decision share its seq
    assert seqs[0] == 0
    assert len(seqs) > 1
    assert cancelled["status"] == "cancelled"
    assert [item["status"] for item in logged] == ["logged", "rejected"]
    assert noted["status"] == "updated"


def test_the_synchronous_client_does_the_same(server):
    with Client(server.url, server.key) as client:
        logged = client.log_run({"wpk_id": "agent-1.0.0", "run_id": "r1", "status": "success", "duration_ms": 5})
        again = client.log_run({"wpk_id": "agent-1.0.0", "run_id": "r1", "status": "success"})

    assert (logged["status"], again["status"], logged["id"] == again["id"]) == ("logged", "updated", True)
