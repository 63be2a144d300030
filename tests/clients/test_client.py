import json

import pytest
from millrace_client import ApiError, AsyncClient, Client, NotConfigured, ServerUnreachable, WaitTimeout
from millrace_client import notify_registry_of_run as notify
from millrace_client.protocol import EventStream

STARTED = {"success": True, "data": {"execution_id": "e1", "status": "running"}}
QUICK = {"backoff_s": 0.001, "max_backoff_s": 0.002}


async def test_starting_sends_key_variables_and_an_idempotency_key(far_end):
    far_end.script = [(202, STARTED, {})]

    async with AsyncClient(far_end.url, "secret") as client:
        started = await client.start("slack.incident", {"severity": "high"}, community_id=7)

    method, path, headers, body = far_end.seen[0]
    assert started == {"execution_id": "e1", "status": "running"}
    assert (method, path) == ("POST", "/api/v1/workflows/slack.incident/execute")
    assert body == {"variables": {"severity": "high"}, "community_id": 7}
    assert headers["X-API-Key"] == "secret"
    assert len(headers["Idempotency-Key"]) == 36


async def test_a_start_is_retried_with_the_same_idempotency_key(far_end):
    far_end.script = [(503, {"error_code": "SERVICE_UNAVAILABLE"}, {"Retry-After": "0"}), (202, STARTED, {})]

    async with AsyncClient(far_end.url, **QUICK) as client:
        await client.start("w.x")

    assert len({headers["Idempotency-Key"] for _, _, headers, _ in far_end.seen}) == 1
    assert len(far_end.seen) == 2


async def test_a_refusal_carries_status_code_and_request_id(far_end):
    far_end.script = [
        (404, {"error_code": "WORKFLOW_NOT_FOUND", "message": "Workflow not found", "request_id": "r"}, {})
    ]

    async with AsyncClient(far_end.url) as client:
        with pytest.raises(ApiError, match="404 WORKFLOW_NOT_FOUND: Workflow not found") as caught:
            await client.get("e1")

    assert (caught.value.status, caught.value.code, caught.value.request_id) == (404, "WORKFLOW_NOT_FOUND", "r")


async def test_a_dead_server_is_reported_after_the_retries(far_end):
    far_end.script = [(200, {}, {})]
    far_end.server.server_close()

    async with AsyncClient("http://127.0.0.1:9", retries=1, **QUICK) as client:
        with pytest.raises(ServerUnreachable):
            await client.get("e1")


async def test_waiting_ends_with_the_execution(far_end):
    running, done = {"data": {"status": "running"}}, {"data": {"status": "completed", "final_output": 1}}
    far_end.script = [(200, {"success": True, **running}, {}), (200, {"success": True, **done}, {})]

    async with AsyncClient(far_end.url) as client:
        found = await client.wait("e1", poll_s=0.001)

    assert found["final_output"] == 1


async def test_waiting_too_long_is_an_error_that_names_the_execution(far_end):
    far_end.script = [(200, {"success": True, "data": {"status": "running"}}, {})]

    async with AsyncClient(far_end.url) as client:
        with pytest.raises(WaitTimeout, match="execution e1 did not end within 0 s"):
            await client.wait("e1", timeout_s=0)


def test_the_synchronous_client_makes_the_same_calls(far_end):
    far_end.script = [(202, STARTED, {})]

    with Client(far_end.url) as client:
        assert client.start("w.x", wait_s=90)["execution_id"] == "e1"

    assert far_end.seen[0][1] == "/api/v1/workflows/w.x/execute?wait=60"


def test_the_synchronous_client_follows_events(far_end):
    far_end.script = [(200, b'id: 0\ndata: {"n": 0}\n\n: beat\n\nid: 1\nevent: end\ndata: {"n": 1}\n\n', {})]

    with Client(far_end.url) as client:
        events = list(client.events("e1"))

    assert [(event["id"], event["data"]["n"]) for event in events] == [(0, 0), (1, 1)]


async def test_a_lost_event_stream_goes_on_after_the_last_event(far_end):
    half, rest = b'id: 4\ndata: {"n": 4}\n\n', b'id: 5\ndata: {"n": 5}\n\n'
    far_end.script = [(200, half, {"Content-Length": "999"}), (200, rest, {})]

    async with AsyncClient(far_end.url, **QUICK) as client:
        seen = [event["id"] async for event in client.events("e1")]

    assert seen == [4, 5]
    assert far_end.seen[1][2]["Last-Event-ID"] == "4"


async def test_notifying_uses_the_registry_url_of_the_environment(far_end, monkeypatch):
    monkeypatch.delenv("MILLRACE_URL", raising=False)
    monkeypatch.setenv("REGISTRY_URL", far_end.url)
    far_end.script = [(200, {"status": "updated", "run_id": "r1"}, {})]

    answer = await notify("restart-unhealthy-1.0.0", {"run_id": "r1", "status": "completed"})

    assert answer == {"status": "updated", "run_id": "r1"}
    assert far_end.seen[0][1] == "/workflows/restart-unhealthy-1.0.0/runs/notify"


async def test_without_any_url_the_error_says_what_to_set(monkeypatch):
    monkeypatch.delenv("MILLRACE_URL", raising=False)
    monkeypatch.delenv("REGISTRY_URL", raising=False)

    with pytest.raises(NotConfigured, match="MILLRACE_URL"):
        AsyncClient()


def test_event_data_over_several_lines_is_one_event():
    stream = EventStream()

    events = [event for line in ("id: 3", 'data: {"a":', "data: 1}", "") for event in stream.feed(line)]

    assert events == [{"id": 3, "event": "message", "data": json.loads('{"a": 1}')}]
