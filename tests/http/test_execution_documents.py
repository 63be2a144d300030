"""The example tests and the curl examples that users of the execution API have, by their own names.

Only host, key and ids differ from their document.
"""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.commands import Command, Shell
from tests.support.server import running

DEFINITION = {
    "tasks": [{"name": "greet", "action": "core.echo", "input": {"message": "hi {{ parameters.user_name }}"}}],
    "output": {"said": "{{ task.greet.result.message }}"},
}
SLOW = {"tasks": [{"name": "rest", "action": "core.sleep", "input": {"seconds": 60}}]}

CREATE = """WORKFLOW=$(curl -X POST http://localhost:8070/api/v1/workflows \\
  -H "X-API-Key: your-api-key" \\
  -H "Content-Type: application/json" \\
  -d '{"ref": "default.greet", "pack_ref": "default", "label": "Greet", "version": "1.0.0", "community_id": 123,
       "definition": {"tasks": [{"name": "greet", "action": "core.noop"}]}}' | tee created.json | sed 's/.*"data":{"id":"\\([^"]*\\)".*/\\1/')
cat created.json
"""
EXECUTE = """curl -X POST http://localhost:8070/api/v1/workflows/550e8400-e29b-41d4-a716-446655440001/execute \\
  -H "X-API-Key: your-api-key" \\
  -H "Content-Type: application/json" \\
  -d '{
    "community_id": 123,
    "variables": {"user_name": "john"}
  }' | tee started.json
EXECUTION=$(sed 's/.*"execution_id":"\\([^"]*\\)".*/\\1/' started.json)
"""
STATUS = """curl http://localhost:8070/api/v1/workflows/executions/550e8400-e29b-41d4-a716-446655440000 \\
  -H "X-API-Key: your-api-key"
"""
LIST = """curl "http://localhost:8070/api/v1/workflows/550e8400-e29b-41d4-a716-446655440001/executions?community_id=123" \\
  -H "X-API-Key: your-api-key"
"""
TEST = """curl -X POST http://localhost:8070/api/v1/workflows/550e8400-e29b-41d4-a716-446655440001/test \\
  -H "X-API-Key: your-api-key" \\
  -H "Content-Type: application/json" \\
  -d '{
    "community_id": 123,
    "variables": {"test_param": "test"}
  }'
"""
OURS = {
    "your-api-key": "$MILLRACE_KEY",
    "550e8400-e29b-41d4-a716-446655440001": "$WORKFLOW",
    "550e8400-e29b-41d4-a716-446655440000": "$EXECUTION",
}


@pytest.fixture
def shell(tmp_path: Path, database_engine: str, database_url: str) -> Iterator[Shell]:
    """A shell beside a real server on either database."""
    environ = {"POSTGRES_DSN": database_url} if database_engine == "postgres" else {}
    (tmp_path / "work").mkdir()
    with running(tmp_path / "data", environ) as server:
        yield Shell(tmp_path / "work", url=server.url, key=server.key)


@pytest.mark.e2e
def test_every_curl_example_of_the_document(shell: Shell):
    promised = [
        (CREATE, {"success": True}),
        (EXECUTE, {"message": "Workflow execution started", "data": {"execution_path": []}}),
        (STATUS, {"data": {"workflow_version": "1.0.0"}}),
        (LIST, {"meta": {"pagination": {"page": 1, "per_page": 20, "total": 1}}}),
        (TEST, {"data": {"test_mode": True, "status": "completed", "summary": {"passed": True}}}),
    ]

    for number, (text, answer) in enumerate(promised):
        for theirs, ours in OURS.items():
            text = text.replace(theirs, ours)
        shell.run(Command(text, "", answer, number))


# ---- the tests of the document, by their names ------------------------------------------------------------------------


@pytest.fixture
async def workflow(client, admin):
    """Registers workflows; answers their ids."""

    async def register(name: str, definition: dict) -> str:
        body = {
            "ref": f"default.{name}",
            "pack_ref": "default",
            "label": name,
            "version": "1.0.0",
            "definition": definition,
        }
        answer = await client.post("/api/v1/workflows", json=body, headers=admin)
        assert answer.status_code == 201, await answer.get_data(as_text=True)
        return (await answer.get_json())["data"]["id"]

    return register


async def started(client, admin, workflow_id: str, wait: str = "", **variables) -> dict:
    path = f"/api/v1/workflows/{workflow_id}/execute{wait}"
    answer = await client.post(path, json={"variables": variables}, headers=admin)
    assert answer.status_code in {200, 202}
    return (await answer.get_json())["data"]


async def test_execute_workflow_success(client, admin, workflow):
    """Verify successful execution trigger."""
    workflow_id = await workflow("greet", DEFINITION)

    answer = await client.post(
        f"/api/v1/workflows/{workflow_id}/execute", json={"variables": {"user_name": "john"}}, headers=admin
    )

    data = (await answer.get_json())["data"]
    assert answer.status_code == 202
    assert (data["status"], data["execution_path"], data["workflow_id"]) == ("running", [], workflow_id)
    assert answer.headers["Location"].endswith(data["execution_id"])


async def test_execute_workflow_permission_denied(client, here, admin, bob, workflow):
    """Verify permission check blocks execution."""
    workflow_id = await workflow("greet", DEFINITION)
    path = f"/api/v1/workflows/{workflow_id}"
    grant = await client.put(f"{path}/permissions/user/{bob.user_id}", json={"can_view": True}, headers=admin)

    answer = await client.post(f"{path}/execute", json={}, headers=bob)

    assert grant.status_code in {200, 201}
    assert (answer.status_code, (await answer.get_json())["error_code"]) == (403, "PERMISSION_DENIED")
    denied = here.db.audit_log
    assert await here.db((denied.result == "DENIED") & (denied.action == "execute_workflow")).count() == 1


async def test_get_execution_details(client, admin, workflow):
    """Verify execution details retrieval."""
    workflow_id = await workflow("greet", DEFINITION)
    execution = await started(client, admin, workflow_id, "?wait=20", user_name="john")

    path = f"/api/v1/workflows/executions/{execution['execution_id']}?include_metrics=true"
    data = (await (await client.get(path, headers=admin)).get_json())["data"]

    assert (data["status"], data["final_output"], data["variables"]) == (
        "completed",
        {"said": "hi john"},
        {"user_name": "john"},
    )
    assert data["node_states"]["greet"]["output_data"]["message"] == "hi john"
    assert data["metrics"]["nodes_executed"] == 1


async def test_list_executions_pagination(client, admin, workflow):
    """Verify pagination works correctly."""
    workflow_id = await workflow("greet", DEFINITION)
    for n in range(5):
        await started(client, admin, workflow_id, "?wait=20", user_name=str(n))

    path = f"/api/v1/workflows/{workflow_id}/executions?per_page=2"
    pages = [await (await client.get(f"{path}&page={n}", headers=admin)).get_json() for n in (1, 2, 3)]

    assert [len(page["data"]) for page in pages] == [2, 2, 1]
    assert len({item["execution_id"] for page in pages for item in page["data"]}) == 5
    assert pages[1]["meta"]["pagination"] | {"next_cursor": None} == {
        "page": 2, "per_page": 2, "total": 5, "total_pages": 3, "has_next": True, "has_prev": True, "next_cursor": None,
    }  # fmt: skip


async def test_cancel_running_execution(client, admin, workflow):
    """Verify execution cancellation."""
    execution = await started(client, admin, await workflow("slow", SLOW))
    path = f"/api/v1/workflows/executions/{execution['execution_id']}"

    cancelled = await (await client.post(f"{path}/cancel", headers=admin)).get_json()

    async with asyncio.timeout(15):
        while (found := (await (await client.get(path, headers=admin)).get_json())["data"])["end_time"] is None:
            await asyncio.sleep(0.05)
    again = await client.post(f"{path}/cancel", headers=admin)
    assert (cancelled["data"]["status"], found["status"], again.status_code) == ("cancelled", "cancelled", 400)


async def test_workflow_test_mode(client, here, admin, workflow):
    """Verify dry-run test mode."""
    workflow_id = await workflow("greet", DEFINITION)

    answer = await client.post(
        f"/api/v1/workflows/{workflow_id}/test", json={"variables": {"user_name": "x"}}, headers=admin
    )

    data = (await answer.get_json())["data"]
    assert (answer.status_code, data["test_mode"], data["status"], data["summary"]["passed"]) == (
        200,
        True,
        "completed",
        True,
    )
    assert [step["node_id"] for step in data["trace"]] == ["greet"]
    assert await here.db(here.db.workflow_runs).count() == 0
