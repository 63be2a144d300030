"""What operators do over HTTP."""


async def test_pausing_everything_shows_wherever_one_looks(client, admin):
    before = await client.get("/api/v1/operator", headers=admin)
    paused = await client.post("/api/v1/operator/pause", headers=admin, json={"reason": "maintenance"})
    health = await (await client.get("/health")).get_json()
    ready = await client.get("/ready")
    resumed = await client.post("/api/v1/operator/resume", headers=admin)

    assert (await before.get_json())["data"] == {
        **{"paused": False, "reason": None, "changed_at": None, "changed_by": None}
    }
    shown = (await paused.get_json())["data"]
    assert (shown["paused"], shown["reason"]) == (True, "maintenance")
    assert shown["changed_by"] is not None
    assert shown["changed_at"] is not None
    assert health["paused"] is True
    assert ready.status_code == 200  # it takes work, and keeps it
    assert "paused by an operator" in (await ready.get_json())["checks"]["dispatcher"]["detail"]
    assert (await resumed.get_json())["data"]["paused"] is False
    assert (await (await client.get("/health")).get_json())["paused"] is False
