"""What operators do over HTTP."""

import pytest

ASKING = {"tasks": [{"name": "ask", "action": "core.inquiry", "input": {"prompt": "Go on?"}}]}


@pytest.fixture
async def asking(client, admin):
    """Three executions that wait for an answer."""
    body = {"ref": "default.ask", "pack_ref": "default", "label": "a", "version": "1", "definition": ASKING}
    assert (await client.post("/api/v1/workflows", headers=admin, json=body)).status_code == 201
    started = []
    for _ in range(3):
        answer = await client.post("/api/v1/workflows/default.ask/execute", headers=admin, json={})
        started.append((await answer.get_json())["data"]["execution_id"])
    for _ in range(1_000):
        answer = await client.get("/api/v1/executions?waiting_for=inquiry", headers=admin)
        if (await answer.get_json())["meta"]["pagination"]["total"] == 3:
            return started
    raise AssertionError("they do not wait")


async def test_pausing_everything_shows_wherever_one_looks(client, admin):
    before = await client.get("/api/v1/operator", headers=admin)
    paused = await client.post("/api/v1/operator/pause", headers=admin, json={"reason": "maintenance"})
    health = await (await client.get("/health")).get_json()
    ready = await client.get("/ready")
    resumed = await client.post("/api/v1/operator/resume", headers=admin)

    nobody = {"paused": False, "reason": None, "changed_at": None, "changed_by": None}
    assert (await before.get_json())["data"] == nobody
    shown = (await paused.get_json())["data"]
    assert (shown["paused"], shown["reason"]) == (True, "maintenance")
    assert shown["changed_by"] is not None
    assert shown["changed_at"] is not None
    assert health["paused"] is True
    assert ready.status_code == 200  # it takes work, and keeps it
    assert "paused by an operator" in (await ready.get_json())["checks"]["dispatcher"]["detail"]
    assert (await resumed.get_json())["data"]["paused"] is False
    assert (await (await client.get("/health")).get_json())["paused"] is False


async def test_executions_of_every_workflow_are_listed_page_by_page(client, admin, asking):
    seen, cursor = [], ""
    for _ in range(3):
        answer = await client.get(f"/api/v1/executions?per_page=1{cursor}", headers=admin)
        found = await answer.get_json()
        seen += [row["execution_id"] for row in found["data"]]
        assert found["meta"]["pagination"]["total"] == 3
        cursor = f"&cursor={found['meta']['pagination']['next_cursor']}"

    assert seen == asking[::-1]
    assert found["meta"]["pagination"]["next_cursor"] is None
    assert found["data"][0]["workflow_ref"] == "default.ask"
    assert found["data"][0]["waiting_for"][0]["kind"] == "inquiry"


async def test_a_bulk_cancel_counts_first_and_is_then_done(client, admin, asking):
    path, wish = "/api/v1/executions/cancel", {"filter": {"workflow": "default.ask"}}

    nothing = await client.post(path, headers=admin, json={})
    planned = await (await client.post(path, headers=admin, json={**wish, "plan_only": True})).get_json()
    done = await (await client.post(path, headers=admin, json={**wish, "reason": "wrong data", "limit": 2})).get_json()
    shown = await client.get(f"/api/v1/workflows/executions/{asking[0]}", headers=admin)

    assert nothing.status_code == 400
    assert (planned["data"]["matched"], planned["data"]["cancelled"], planned["data"]["remaining"]) == (3, 0, 3)
    assert (done["data"]["matched"], done["data"]["cancelled"], done["data"]["remaining"]) == (3, 2, 1)
    assert (await shown.get_json())["data"]["status"] == "running"  # the newest two went first


async def test_an_execution_is_failed_by_force_once(client, admin, asking):
    path = f"/api/v1/workflows/executions/{asking[0]}/fail"

    done = await client.post(path, headers=admin, json={"reason": "stuck"})
    again = await client.post(path, headers=admin)

    assert (await done.get_json())["data"]["status"] == "failed"
    assert again.status_code == 400
    assert "already ended" in (await again.get_json())["message"]


async def test_workers_are_listed(client, admin):
    [worker] = (await (await client.get("/api/v1/workers", headers=admin)).get_json())["data"]

    assert (worker["this"], worker["alive"], worker["stopping"]) == (True, True, False)
    assert worker["heartbeat_age_seconds"] < 3


async def test_a_misspelt_word_is_refused_before_anything_is_cancelled(client, admin):
    bodies = (
        {"filter": {"workflow_ref": "default.x"}},
        {"everything": True, "planonly": True},
        {"filter": {"stat": 1}},
    )
    cancels = [await client.post("/api/v1/executions/cancel", json=body, headers=admin) for body in bodies]
    pause = await client.post("/api/v1/operator/pause", json={"resaon": "x"}, headers=admin)
    listed = await client.get("/api/v1/executions?workflow_ref=x", headers=admin)

    assert [answer.status_code for answer in (*cancels, pause, listed)] == [400] * 5
