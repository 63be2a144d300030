"""The integration tests and the curl examples that users of the workflow API have, by their own names.

Only host and key differ from their document.
"""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.commands import Command, Shell
from tests.support.server import running

WORKFLOWS = "/api/v1/workflows"

CREATE = """curl -X POST "http://localhost:8080/api/v1/workflows" \\
-H "Authorization: Bearer ${ACCESS_TOKEN}" \\
-H "Content-Type: application/json" \\
-d '{
"ref": "slack.incident_workflow",
"pack_ref": "slack",
"label": "Incident Response Workflow",
"version": "1.0.0",
"definition": {
"tasks": [
{
"name": "notify_team",
"action": "slack.post_message",
"input": {"channel": "#incidents"}
}
]
},
"tags": ["incident", "automation"],
"enabled": true
}'
"""
BY_TAGS = """# Filter by tags
curl "http://localhost:8080/api/v1/workflows?tags=incident,approval" \\
-H "Authorization: Bearer ${ACCESS_TOKEN}"
"""
BY_ENABLED = """# Filter by enabled status
curl "http://localhost:8080/api/v1/workflows?enabled=true" \\
-H "Authorization: Bearer ${ACCESS_TOKEN}"
"""
BY_TEXT = """# Search by text
curl "http://localhost:8080/api/v1/workflows?search=response" \\
-H "Authorization: Bearer ${ACCESS_TOKEN}"
"""
COMBINED = """# Combine filters
curl "http://localhost:8080/api/v1/workflows?enabled=true&tags=incident&search=response" \\
-H "Authorization: Bearer ${ACCESS_TOKEN}"
"""
UPDATE = """curl -X PUT "http://localhost:8080/api/v1/workflows/slack.incident_workflow" \\
-H "Authorization: Bearer ${ACCESS_TOKEN}" \\
-H "Content-Type: application/json" \\
-d '{
"label": "Updated Incident Response",
"version": "1.1.0",
"enabled": false
}'
"""
DELETE = """curl -X DELETE "http://localhost:8080/api/v1/workflows/slack.incident_workflow" \\
-H "Authorization: Bearer ${ACCESS_TOKEN}"
"""
FOUND = {"data": [{"ref": "slack.incident_workflow", "tags": ["incident", "automation"]}, "…"]}


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
        (CREATE, {"data": {"ref": "slack.incident_workflow", "label": "Incident Response Workflow", "enabled": True}}),
        (BY_TAGS, FOUND),
        (BY_ENABLED, {"data": [{"ref": "slack.incident_workflow"}, "…"]}),
        (BY_TEXT, {"data": [{"ref": "slack.incident_workflow"}, "…"]}),
        (COMBINED, FOUND),
        (UPDATE, {"data": {"label": "Updated Incident Response", "version": "1.1.0", "enabled": False}}),
        (DELETE, {"data": {"ref": "slack.incident_workflow", "deleted": True}}),
    ]

    for number, (text, answer) in enumerate(promised):
        shell.run(Command(text.replace("http://localhost:8080", "http://localhost:8070"), "", answer, number))


# ---- the tests of the document, by their names ------------------------------------------------------------------------


def incident(**fields) -> dict:
    """The workflow of the document."""
    made = {
        "ref": "slack.incident_workflow",
        "pack_ref": "slack",
        "label": "Incident Response Workflow",
        "version": "1.0.0",
        "definition": {
            "tasks": [{"name": "notify_team", "action": "slack.post_message", "input": {"channel": "#incidents"}}]
        },
        "tags": ["incident", "automation"],
        "enabled": True,
    }
    return made | fields


async def sent(answer, status: int) -> dict:
    found = await answer.get_json()
    assert answer.status_code == status, found
    return found


@pytest.fixture
async def slack(client, admin) -> dict:
    made = await client.post(
        "/api/v1/packs", json={"ref": "slack", "label": "Slack", "version": "1.0.0"}, headers=admin
    )
    return await sent(made, 201)


async def create_test_workflow(client, headers, **fields) -> dict:
    made = await sent(await client.post(WORKFLOWS, json=incident(**fields), headers=headers), 201)
    return made["data"]


async def test_create_workflow_success(client, admin, slack):
    answer = await sent(await client.post(WORKFLOWS, json=incident(), headers=admin), 201)

    assert answer["success"] is True
    assert answer["data"]["ref"] == "slack.incident_workflow"
    assert answer["data"]["pack_ref"] == "slack"
    assert answer["data"]["definition"] == incident()["definition"]
    assert answer["data"]["tags"] == ["incident", "automation"]


async def test_create_workflow_duplicate_ref(client, admin, slack):
    await create_test_workflow(client, admin)

    answer = await sent(await client.post(WORKFLOWS, json=incident(), headers=admin), 409)

    assert answer["error_code"] == "DUPLICATE_REF"


async def test_create_workflow_pack_not_found(client, admin):
    answer = await sent(await client.post(WORKFLOWS, json=incident(), headers=admin), 404)

    assert answer["error_code"] == "PACK_NOT_FOUND"


async def test_get_workflow_by_ref(client, admin, slack):
    made = await create_test_workflow(client, admin)

    answer = await sent(await client.get(f"{WORKFLOWS}/slack.incident_workflow", headers=admin), 200)

    assert answer["data"] == made


async def test_get_workflow_not_found(client, admin):
    answer = await sent(await client.get(f"{WORKFLOWS}/nonexistent.workflow", headers=admin), 404)

    assert answer["error_code"] == "WORKFLOW_NOT_FOUND"


async def test_list_workflows(client, admin, slack):
    for number in range(3):
        await create_test_workflow(client, admin, ref=f"slack.w{number}")

    answer = await sent(await client.get(f"{WORKFLOWS}?page=1&per_page=2", headers=admin), 200)

    assert [row["ref"] for row in answer["data"]] == ["slack.w2", "slack.w1"]
    assert "definition" not in answer["data"][0]
    page = answer["meta"]["pagination"]
    assert (page["total"], page["total_pages"], page["has_next"], page["has_prev"]) == (3, 2, True, False)


async def test_list_workflows_by_pack(client, admin, slack):
    other = {"ref": "k8s", "label": "Kubernetes", "version": "1.0.0"}
    await sent(await client.post("/api/v1/packs", json=other, headers=admin), 201)
    await create_test_workflow(client, admin)
    await create_test_workflow(client, admin, ref="k8s.restart", pack_ref="k8s")

    answer = await sent(await client.get("/api/v1/packs/k8s/workflows", headers=admin), 200)
    missing = await sent(await client.get("/api/v1/packs/nowhere/workflows", headers=admin), 404)

    assert [row["ref"] for row in answer["data"]] == ["k8s.restart"]
    assert missing["error_code"] == "PACK_NOT_FOUND"


async def test_list_workflows_with_filters(client, admin, slack):
    await create_test_workflow(client, admin, ref="slack.a", tags=["incident"], label="Response")
    await create_test_workflow(client, admin, ref="slack.b", tags=["approval"], label="Approve it", enabled=False)
    await create_test_workflow(client, admin, ref="slack.c", tags=["data"], label="Pipeline")

    async def refs(query: str) -> list[str]:
        answer = await sent(await client.get(f"{WORKFLOWS}?{query}", headers=admin), 200)
        return sorted(row["ref"] for row in answer["data"])

    found = await asyncio.gather(
        refs("tags=incident,approval"),
        refs("enabled=true"),
        refs("search=RESPONSE"),
        refs("enabled=true&tags=approval"),
    )

    assert found == [["slack.a", "slack.b"], ["slack.a", "slack.c"], ["slack.a"], []]


async def test_update_workflow(client, admin, slack):
    await create_test_workflow(client, admin)
    change = {"label": "Updated Incident Response", "version": "1.1.0", "enabled": False}

    answer = await sent(await client.put(f"{WORKFLOWS}/slack.incident_workflow", json=change, headers=admin), 200)

    assert {key: answer["data"][key] for key in change} == change
    assert answer["data"]["tags"] == ["incident", "automation"]


async def test_update_workflow_not_found(client, admin):
    answer = await sent(await client.put(f"{WORKFLOWS}/nonexistent.workflow", json={"label": "x"}, headers=admin), 404)

    assert answer["error_code"] == "WORKFLOW_NOT_FOUND"


async def test_delete_workflow(client, admin, slack):
    await create_test_workflow(client, admin)

    await sent(await client.delete(f"{WORKFLOWS}/slack.incident_workflow", headers=admin), 200)

    await sent(await client.get(f"{WORKFLOWS}/slack.incident_workflow", headers=admin), 404)


async def test_delete_workflow_not_found(client, admin):
    answer = await sent(await client.delete(f"{WORKFLOWS}/nonexistent.workflow", headers=admin), 404)

    assert answer["error_code"] == "WORKFLOW_NOT_FOUND"


async def test_create_workflow_requires_auth(client):
    answer = await sent(await client.post(WORKFLOWS, json=incident()), 401)

    assert answer["detail"] == "Not authenticated"


async def test_workflow_validation(client, admin, slack):
    answer = await sent(await client.post(WORKFLOWS, json=incident(ref="", label="", version=""), headers=admin), 400)

    assert answer["error_code"] == "VALIDATION_ERROR"
    assert {error["loc"][0] for error in answer["details"]["errors"]} == {"ref", "label", "version"}


async def test_inputs_that_an_action_needs_or_does_not_take_are_errors_with_their_places(client, admin, slack):
    tasks = [
        {"name": "ask", "action": "core.http"},
        {"name": "tell", "action": "core.http", "input": {"url": "http://example.com", "methd": "GET"}},
    ]
    body = {"ref": "slack.wrong", "pack_ref": "slack", "label": "W", "version": "1.0.0", "definition": {"tasks": tasks}}

    answer = await client.post("/api/v1/workflows", json=body, headers=admin)

    problems = (await answer.get_json())["details"]["errors"]
    assert answer.status_code == 400
    assert [(p["code"], p["loc"], p.get("hint")) for p in problems] == [
        ("missing_input", ["definition", "tasks", 0, "input"], None),
        ("unexpected_input", ["definition", "tasks", 1, "input"], "Did you mean 'method'?"),
    ]
