from datetime import UTC, datetime, timedelta

import pytest

OLD = (datetime.now(UTC) - timedelta(days=40)).isoformat()


@pytest.fixture
async def old_run(client, alice):
    answer = await client.post(
        "/langgraph/hooks/log_run",
        json={"wpk_id": "w-1.0.0", "run_id": "old", "status": "completed", "created_at": OLD},
        headers=alice,
    )
    return (await answer.get_json())["id"]


@pytest.fixture
def environ():
    return {"RETENTION_SUCCESS_DAYS": "0"}  # nothing goes by itself while a test looks


async def test_only_administrators_see_and_apply_retention(client, alice):
    for method, path in [("get", "/api/v1/retention"), ("post", "/api/v1/retention/run"), ("get", "/api/v1/outbox")]:
        assert (await getattr(client, method)(path, headers=alice)).status_code == 403


async def test_the_preview_and_the_deletion_agree(client, here, admin, old_run):
    here.retention.policy = type(here.retention.policy)(success_days=30)

    seen = (await (await client.get("/api/v1/retention", headers=admin)).get_json())["data"]
    gone = (await (await client.post("/api/v1/retention/run", headers=admin)).get_json())["data"]

    assert (seen["runs"], [one["wpk_id"] for one in seen["workflows"]]) == (1, ["w-1.0.0"])
    assert gone == {"deleted_runs": 1}
    assert (await client.get(f"/api/v1/runs/{old_run}", headers=admin)).status_code == 404


async def test_a_pinned_run_stays(client, here, admin, alice, old_run):
    here.retention.policy = type(here.retention.policy)(success_days=30)

    pinned = await client.put("/api/v1/runs/old/pin", headers=alice)
    first = (await (await client.post("/api/v1/retention/run", headers=admin)).get_json())["data"]
    await client.delete("/api/v1/runs/old/pin", headers=alice)
    second = (await (await client.post("/api/v1/retention/run", headers=admin)).get_json())["data"]

    assert (await pinned.get_json())["data"]["pinned"] is True
    assert (first["deleted_runs"], second["deleted_runs"]) == (0, 1)


async def test_the_work_behind_the_history_can_be_looked_at_and_tried_again(client, admin):
    seen = (await (await client.get("/api/v1/outbox", headers=admin)).get_json())["data"]
    again = await client.post("/api/v1/outbox/retry", headers=admin)

    assert seen == {"waiting": {"index": 0, "embed": 0}, "dead": {"index": 0, "embed": 0}, "given_up": []}
    assert (await again.get_json())["data"] == {"revived": 0}
