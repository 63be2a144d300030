"""The execution API as the user document describes it, on both databases."""

import asyncio
import json

import pytest

from controllers import execution as routes

pytestmark = pytest.mark.usefixtures("app")

HELLO = {
    "tasks": [
        {"name": "greet", "action": "core.echo", "input": {"message": "Hello {{ parameters.user_name }}"}},
        {"name": "note", "action": "core.log", "input": {"message": "{{ task.greet.result.message }}"}},
    ],
    "output": {"said": "{{ task.greet.result.message }}"},
}
SCHEMA = {
    "type": "object",
    "properties": {"user_name": {"type": "string"}, "times": {"type": "integer", "default": 2}},
    "required": ["user_name"],
}
SLOW = {"tasks": [{"name": "nap", "action": "core.sleep", "input": {"seconds": 600}}]}
BAD = {"tasks": [{"name": "x", "action": "core.fail", "input": {"message": "no luck"}}]}


@pytest.fixture
def register(client, admin):
    async def make(definition, name="hello", **more):
        body = {"ref": f"default.{name}", "pack_ref": "default", "label": name, "version": "1.0.0"}
        answer = await client.post("/api/v1/workflows", json={**body, "definition": definition, **more}, headers=admin)
        assert answer.status_code == 201, await answer.get_data(as_text=True)
        return (await answer.json)["data"]

    return make


@pytest.fixture
def execute(client, admin):
    async def run(name="hello", wait="10", headers=None, **sent):
        query = {"wait": wait} if wait else {}
        answer = await client.post(
            f"/api/v1/workflows/default.{name}/execute", json=sent, query_string=query, headers=headers or admin
        )
        return answer.status_code, await answer.json, answer.headers

    return run


async def test_execute_answers_202_with_a_location(register, execute):
    workflow = await register(HELLO)

    status, body, headers = await execute(wait=None, variables={"user_name": "john"})

    assert (status, body["success"], body["message"]) == (202, True, "Workflow execution started")
    data = body["data"]
    assert data.keys() == {
        "execution_id",
        "workflow_id",
        "workflow_version",
        "status",
        "start_time",
        "execution_path",
    }
    assert (data["workflow_id"], data["workflow_version"], data["status"]) == (workflow["id"], "1.0.0", "running")
    assert headers["Location"] == f"/api/v1/workflows/executions/{data['execution_id']}"


async def test_execute_with_wait_answers_with_the_result(register, execute):
    await register(HELLO)

    status, body, _ = await execute(variables={"user_name": "john"})

    assert (status, body["data"]["status"]) == (200, "completed")
    assert body["data"]["final_output"] == {"said": "Hello john"}
    assert body["data"]["execution_path"] == ["greet", "note"]


async def test_a_run_that_fails_is_no_http_error(register, execute):
    await register(BAD)

    status, body, _ = await execute()

    assert (status, body["data"]["status"], body["data"]["error_node_id"]) == (200, "failed", "x")
    assert "no luck" in body["data"]["error_message"]


async def test_every_violation_of_the_schema_is_named(register, execute):
    await register(HELLO, param_schema=SCHEMA)

    status, body, _ = await execute(variables={"times": "many"})

    assert (status, body["error_code"]) == (400, "VALIDATION_ERROR")
    assert sorted(error["loc"] for error in body["details"]["errors"]) == [["variables"], ["variables", "times"]]


async def test_defaults_of_the_schema_are_filled_in(register, execute, client, admin):
    await register(HELLO, param_schema=SCHEMA)
    _, _, headers = await execute(variables={"user_name": "john", "more": 1})

    shown = await (await client.get(headers["Location"], headers=admin)).json

    assert shown["data"]["variables"] == {"user_name": "john", "times": 2, "more": 1}


async def test_an_integer_json_cannot_carry_exactly_is_refused(register, execute):
    await register(HELLO)

    status, body, _ = await execute(variables={"user_name": 2**53 + 1})

    assert (status, body["details"]["errors"][0]["loc"]) == (400, ["body", "variables", "user_name"])


async def test_a_disabled_workflow_is_a_conflict(register, execute):
    await register(HELLO, enabled=False)

    status, body, _ = await execute(variables={"user_name": "john"})

    assert (status, body["error_code"]) == (409, "WORKFLOW_DISABLED")


async def test_an_unknown_action_is_an_execution_error(register, execute):
    await register({"tasks": [{"name": "x", "action": "nobody.knows"}]})

    status, body, _ = await execute()

    assert (status, body["error_code"]) == (400, "EXECUTION_ERROR")
    assert "nobody.knows" in body["message"]


async def test_an_unknown_workflow_is_not_found(execute):
    status, body, _ = await execute("nothing")

    assert (status, body["error_code"]) == (404, "WORKFLOW_NOT_FOUND")


async def test_who_may_not_execute_is_refused(register, execute, alice):
    await register(HELLO)

    status, body, _ = await execute(headers=alice, variables={"user_name": "x"})

    assert (status, body["error_code"]) == (404, "WORKFLOW_NOT_FOUND")


async def test_the_same_key_and_body_start_one_execution(register, execute, admin):
    await register(HELLO)
    headers = {**admin, "Idempotency-Key": "once"}
    _, first, _ = await execute(headers=headers, variables={"user_name": "john"})

    status, second, answered = await execute(headers=headers, variables={"user_name": "john"})

    assert (status, answered["Idempotency-Replayed"]) == (200, "true")
    assert second["data"]["execution_id"] == first["data"]["execution_id"]
    assert second["data"]["final_output"] == first["data"]["final_output"]


async def test_the_same_key_with_another_body_is_refused(register, execute, admin):
    await register(HELLO)
    headers = {**admin, "Idempotency-Key": "once"}
    await execute(headers=headers, variables={"user_name": "john"})

    status, body, _ = await execute(headers=headers, variables={"user_name": "jane"})

    assert (status, body["error_code"]) == (422, "IDEMPOTENCY_MISMATCH")


async def test_an_execution_shows_what_every_node_did(register, execute, client, admin):
    await register(HELLO)
    _, body, headers = await execute(variables={"user_name": "john"}, metadata={"from": "test"})

    answer = await client.get(headers["Location"], query_string={"include_metrics": "true"}, headers=admin)

    data = (await answer.json)["data"]
    assert data["execution_path"] == ["greet", "note"]
    greet, note = data["node_states"]["greet"], data["node_states"]["note"]
    assert (greet["status"], greet["input_data"]) == ("completed", {"message": "Hello john"})
    assert note["logs"][0]["message"] == "Hello john"
    assert data["metadata"] == {"from": "test"}
    assert data["metrics"]["nodes_executed"] == 2
    assert data["execution_id"] == body["data"]["execution_id"]


async def test_inputs_outputs_and_logs_can_be_left_out(register, execute, client, admin):
    await register(HELLO)
    _, _, headers = await execute(variables={"user_name": "john"})

    answer = await client.get(
        headers["Location"], query_string={"include_io": "false", "include_logs": "false"}, headers=admin
    )

    data = (await answer.json)["data"]
    note = data["node_states"]["note"]
    assert (data["variables"], data["final_output"], note["input_data"], note["logs"]) == (None, None, None, [])


async def test_somebody_elses_execution_is_not_found(register, execute, client, alice):
    await register(HELLO)
    _, _, headers = await execute(variables={"user_name": "john"})

    answer = await client.get(headers["Location"], headers=alice)

    assert (answer.status_code, (await answer.json)["error_code"]) == (404, "EXECUTION_NOT_FOUND")


async def test_cancel_wins_and_cannot_be_repeated_after_the_end(register, execute, client, admin):
    await register(SLOW)
    _, body, headers = await execute(wait=None)

    cancelled = await client.post(f"{headers['Location']}/cancel", headers=admin)
    again = await client.post(f"{headers['Location']}/cancel", headers=admin)

    data = (await cancelled.json)["data"]
    assert (cancelled.status_code, data["status"]) == (200, "cancelled")
    assert data.keys() == {"execution_id", "status", "cancelled_at"}
    assert again.status_code == 400
    assert body["data"]["execution_id"] == data["execution_id"]


async def test_a_waiting_execution_says_what_it_waits_for(register, execute, client, admin):
    await register(SLOW)
    _, _, headers = await execute(wait=None)

    shown = (await (await client.get(headers["Location"], headers=admin)).json)["data"]
    why = (await (await client.get(f"{headers['Location']}/explain", headers=admin)).json)["data"]

    assert (shown["status"], shown["waiting_for"][0]["node_id"]) == ("running", "nap")
    assert "nap waits for a time" in why["explanation"]


async def test_pause_and_resume(register, execute, client, admin):
    await register(SLOW)
    _, _, headers = await execute(wait=None)

    paused = await client.post(f"{headers['Location']}/pause", headers=admin)
    twice = await client.post(f"{headers['Location']}/pause", headers=admin)
    resumed = await client.post(f"{headers['Location']}/resume", headers=admin)

    assert [a.status_code for a in (paused, twice, resumed)] == [200, 400, 200]


async def test_the_list_pages_filters_and_continues(register, execute, client, admin):
    await register(HELLO)
    for _ in range(5):
        await execute(variables={"user_name": "john"})

    first = await client.get(
        "/api/v1/workflows/default.hello/executions", query_string={"per_page": 2, "status": "completed"}, headers=admin
    )
    page = await first.json
    pagination = page["meta"]["pagination"]
    rest = await client.get(
        "/api/v1/workflows/default.hello/executions",
        query_string={"per_page": 3, "status": "completed", "cursor": pagination["next_cursor"]},
        headers=admin,
    )

    assert (pagination["total"], pagination["total_pages"], pagination["has_next"]) == (5, 3, True)
    assert page["data"][0].keys() >= {"execution_id", "status", "nodes_executed", "error", "success"}
    ids = [item["execution_id"] for item in page["data"] + (await rest.json)["data"]]
    assert len(set(ids)) == 5
    assert ids == sorted(ids, reverse=True)


@pytest.mark.parametrize("sort_by", ["start_time", "status", "execution_time"])
async def test_every_sort_order_can_be_continued(register, execute, client, admin, sort_by):
    await register(HELLO)
    for _ in range(3):
        await execute(variables={"user_name": "john"})
    seen, cursor = [], None
    for _ in range(3):
        query = {"per_page": 1, "sort_by": sort_by, "sort_order": "asc", **({"cursor": cursor} if cursor else {})}
        page = await (
            await client.get("/api/v1/workflows/default.hello/executions", query_string=query, headers=admin)
        ).json
        seen += [item["execution_id"] for item in page["data"]]
        cursor = page["meta"]["pagination"]["next_cursor"]

    assert len(set(seen)) == 3


async def test_the_event_log_has_no_gap(register, execute, client, admin):
    await register(HELLO)
    _, _, headers = await execute(variables={"user_name": "john"})

    body = await (await client.get(f"{headers['Location']}/events", headers=admin)).json
    behind = await (await client.get(f"{headers['Location']}/events", query_string={"after": 0}, headers=admin)).json

    rows = body["data"]["events"]
    times = [event["at"] for row in body["data"]["events"] for event in row["events"] if "at" in event]
    assert times
    assert all(time.endswith("Z") for time in times)
    assert [row["seq"] for row in rows] == list(range(len(rows)))
    assert rows[0]["events"][0]["e"] == "started"
    assert rows[-1]["events"][-1]["e"] == "finished"
    assert behind["data"]["events"] == rows[1:]


async def test_the_live_stream_ends_with_the_execution_and_can_be_continued(register, execute, client, admin):
    await register(HELLO)
    _, _, headers = await execute(variables={"user_name": "john"})
    accept = {**admin, "Accept": "text/event-stream"}

    whole = await (await client.get(f"{headers['Location']}/events", headers=accept)).get_data(as_text=True)
    rest = await (await client.get(f"{headers['Location']}/events", headers={**accept, "Last-Event-ID": "0"})).get_data(
        as_text=True
    )

    blocks = whole.strip().split("\n\n")
    assert blocks[0].startswith("id: 0\nevent: append\ndata: ")
    assert blocks[-1] == "event: end\ndata: {}"
    assert rest == "\n\n".join(blocks[1:]) + "\n\n"
    assert json.loads(blocks[0].split("data: ", 1)[1])["seq"] == 0


async def test_a_quiet_stream_says_that_it_lives(register, execute, client, admin, monkeypatch):
    monkeypatch.setattr(routes, "HEARTBEATS_S", 1)
    await register(SLOW)
    _, _, headers = await execute(wait=None)
    seen = b""

    async with client.request(
        f"{headers['Location']}/events", headers={**admin, "Accept": "text/event-stream"}
    ) as live:
        await live.send_complete()
        async with asyncio.timeout(20):
            while b"\n\n: still here\n\n" not in seen:
                seen += await live.receive()
        await live.disconnect()

    assert seen.startswith(b"id: 0\nevent: append\n")


async def test_a_rerun_reuses_what_succeeded(register, execute, client, admin):
    await register(
        {
            "tasks": [
                {"name": "one", "action": "core.echo", "input": {"message": "kept"}},
                {"name": "two", "action": "core.http", "input": {"url": "http://127.0.0.1:1/"}},
            ]
        }
    )
    _, body, headers = await execute()

    planned = await client.post(f"{headers['Location']}/rerun", json={"plan_only": True}, headers=admin)
    again = await client.post(f"{headers['Location']}/rerun", json={"from": ["two"]}, headers=admin)

    plan = (await planned.json)["data"]
    assert [line["node"] for line in plan["reused"]] == ["one"]
    assert [(line["node"], line["effect"]) for line in plan["effects"]] == [("two", "write")]
    assert again.status_code == 202
    location = again.headers["Location"]
    assert location != headers["Location"]
    for _ in range(500):
        shown = (await (await client.get(location, headers=admin)).json)["data"]
        if shown["end_time"] is not None:
            break
        await asyncio.sleep(0.01)
    assert (shown["rerun_of"], shown["status"]) == (body["data"]["execution_id"], "failed")
    assert shown["node_states"]["one"]["metadata"]["reused"] is True


async def test_a_plan_says_what_a_rerun_would_be_refused_for(register, execute, client, admin):
    params = {"type": "object", "properties": {"code": {"type": "integer"}}}
    made = await register({"tasks": [{"name": "one", "action": "core.fail"}]}, param_schema=params)
    _, _, headers = await execute()
    path = f"{headers['Location']}/rerun"

    unfit = await client.post(path, json={"variables": {"code": "x"}, "plan_only": True}, headers=admin)
    await client.delete(f"/api/v1/workflows/{made['ref']}", headers=admin)
    gone = await client.post(path, json={"plan_only": True}, headers=admin)

    assert [unfit.status_code, gone.status_code] == [400, 400]
    assert "is not of type 'integer'" in (await unfit.json)["message"]
    assert "was removed" in (await gone.json)["message"]


MIXED = {
    "tasks": [
        {"name": "ask", "action": "core.set", "input": {"x": "{{ parameters.x }}"}},
        {"name": "wait", "wait": {"seconds": 3600}},
        {"name": "call", "action": "core.http", "input": {"url": "http://10.0.0.1/never", "method": "POST"}},
        {"name": "say", "action": "core.log", "input": {"message": "{{ task.call.result.status }}"}},
    ],
    "output": {"status": "{{ task.call.result.status }}"},
}


@pytest.fixture
def dry_run(client, admin):
    async def run(name="hello", **sent):
        answer = await client.post(f"/api/v1/workflows/default.{name}/test", json=sent, headers=admin)
        return answer.status_code, await answer.json

    return run


async def test_a_dry_run_simulates_effects_and_jumps_over_waits(register, dry_run, client, admin):
    await register(MIXED)

    status, body = await dry_run(variables={"x": 1}, mocks={"call": {"status": 207}})

    data = body["data"]
    assert (status, data["test_mode"], data["status"], data["final_output"]) == (
        200,
        True,
        "completed",
        {"status": 207},
    )
    assert [(entry["node_id"], entry["simulated"]) for entry in data["trace"]] == [
        ("ask", False),
        ("wait", False),
        ("call", True),
        ("say", False),
    ]
    assert data["trace"][3]["logs"][0]["message"] == "207"
    assert (
        data["summary"].items()
        >= {"nodes_executed": 4, "nodes_failed": 0, "nodes_simulated": 1, "passed": True}.items()
    )
    listed = await (await client.get("/api/v1/workflows/default.hello/executions", headers=admin)).json
    assert listed["meta"]["pagination"]["total"] == 0


async def test_without_a_mock_a_value_is_made_from_the_output_schema(register, dry_run):
    await register(MIXED)

    _, body = await dry_run(variables={"x": 1})

    assert body["data"]["trace"][2]["output"].keys() >= {"status", "headers", "body"}


async def test_a_mock_may_fail_per_attempt(register, dry_run):
    flaky = {
        "name": "call",
        "action": "core.http",
        "input": {"url": "http://x.test/"},
        "retry": {"count": 2, "delay": 60},
    }
    await register({"tasks": [flaky]})

    _, body = await dry_run(mocks={"call": [{"error": "busy"}, {"error": {"message": "busy"}}, {"status": 200}]})

    assert (body["data"]["status"], body["data"]["trace"][0]["output"]) == ("completed", {"status": 200})


async def test_a_dry_run_checks_the_input_of_what_it_simulates(register, dry_run):
    await register({"tasks": [{"name": "call", "action": "core.http", "input": {"url": "{{ parameters.url }}"}}]})

    _, body = await dry_run(variables={"url": 7})

    assert (body["data"]["status"], body["data"]["trace"][0]["error_type"]) == ("failed", "validation")


async def test_a_mock_for_a_task_that_is_not_there_is_refused(register, dry_run):
    await register({"tasks": [{"name": "a", "action": "core.noop"}]})

    status, body = await dry_run(mocks={"a": 1, "b": 2})

    assert (status, body["error_code"]) == (400, "VALIDATION_ERROR")
    assert [error["loc"] for error in body["details"]["errors"]] == [["mocks", "b"]]


async def test_a_dry_run_tries_sub_workflows_too_and_waits_for_nobody(register, dry_run, client, admin):
    call = {"name": "call", "action": "core.http", "input": {"url": "http://10.0.0.1/never", "method": "POST"}}
    slow = {"name": "rest", "wait": {"seconds": 86400}}
    await register({"tasks": [slow, call], "output": {"x": "{{ parameters.x }}"}}, "child")
    child = {"name": "sub", "action": "default.child", "input": {"x": 7}}
    await register({"tasks": [child], "output": {"x": "{{ task.sub.result.x }}"}}, "parent")

    _, tried = await dry_run("parent")
    _, mocked = await dry_run("parent", mocks={"sub": {"x": 8}})

    assert (tried["data"]["status"], tried["data"]["final_output"]) == ("completed", {"x": 7})
    assert [entry["simulated"] for entry in tried["data"]["trace"]] == [True]
    assert mocked["data"]["final_output"] == {"x": 8}
    listed = await (await client.get("/api/v1/executions", headers=admin)).json
    assert listed["meta"]["pagination"]["total"] == 0


async def test_mocks_are_per_item_and_an_inquiry_may_expire(register, dry_run):
    each = {"name": "each", "action": "core.http", "with_items": [1, 2], "input": {"url": "http://x.test/{{ item }}"}}
    await register({"tasks": [each]}, "items")
    ask = {"name": "ask", "action": "core.inquiry", "input": {"prompt": "?"}}
    await register({"tasks": [ask]}, "asks")

    _, items = await dry_run("items", mocks={"each": [{"status": 201}, [{"status": 202}]]})
    _, expired = await dry_run("asks", mocks={"ask": {"error": "nobody answered"}})

    assert [output["status"] for output in items["data"]["trace"][0]["output"]] == [201, 202]
    assert expired["data"]["trace"][0]["error_type"] == "timeout"


async def test_a_dry_run_that_does_not_end_is_a_gateway_timeout(register, dry_run):
    await register({"tasks": [{"name": "a", "action": "core.noop"}]})

    status, body = await dry_run(timeout_seconds=1e-9)

    assert (status, body["error_code"]) == (504, "EXECUTION_TIMEOUT")


ASK = {
    "tasks": [
        {
            "name": "ask",
            "action": "core.inquiry",
            "input": {
                "prompt": "Ship it?",
                "assignees": {"users": ["bob"]},
                "response_schema": {"type": "object", "required": ["ok"], "properties": {"ok": {"type": "boolean"}}},
            },
        }
    ],
    "output": {"ok": "{{ task.ask.result.response.ok }}"},
}


@pytest.fixture
def open_inquiry(client, admin):
    async def find(headers=None):
        for _ in range(500):
            listed = (await (await client.get("/api/v1/inquiries", headers=headers or admin)).json)["data"]
            if listed:
                return listed[0]
            await asyncio.sleep(0.01)
        raise AssertionError("no inquiry was opened")

    return find


async def test_an_answer_resumes_the_execution(register, execute, client, admin, bob, open_inquiry):
    await register(ASK)
    _, _, headers = await execute(wait=None)
    inquiry = await open_inquiry(bob)

    answer = await client.post(
        f"/api/v1/inquiries/{inquiry['id']}/respond", json={"response": {"ok": True}}, headers=bob
    )

    assert (answer.status_code, (await answer.json)["data"]["status"]) == (200, "answered")
    for _ in range(500):
        shown = (await (await client.get(headers["Location"], headers=admin)).json)["data"]
        if shown["end_time"]:
            break
        await asyncio.sleep(0.01)
    assert (shown["status"], shown["final_output"]) == ("completed", {"ok": True})


async def test_an_answer_must_fit_and_comes_once(register, execute, client, bob, open_inquiry):
    await register(ASK)
    await execute(wait=None)
    inquiry = await open_inquiry(bob)
    url = f"/api/v1/inquiries/{inquiry['id']}/respond"

    bad = await client.post(url, json={"response": {"ok": "perhaps"}}, headers=bob)
    good = await client.post(url, json={"response": {"ok": False}}, headers=bob)
    late = await client.post(url, json={"response": {"ok": True}}, headers=bob)

    assert [answer.status_code for answer in (bad, good, late)] == [400, 200, 409]


async def test_who_started_it_may_not_answer_and_strangers_do_not_see_it(
    register, execute, client, admin, alice, bob, open_inquiry
):
    await register(ASK)
    await execute(wait=None)
    inquiry = await open_inquiry(bob)
    url = f"/api/v1/inquiries/{inquiry['id']}/respond"

    own = await client.post(url, json={"response": {"ok": True}}, headers=admin)
    stranger = await client.post(url, json={"response": {"ok": True}}, headers=alice)

    assert [own.status_code, stranger.status_code] == [403, 404]


async def test_inquiries_are_counted_exactly_for_each_caller_and_continue(register, execute, client, admin, alice, bob):
    await register(ASK)
    for _ in range(3):
        await execute(wait=None)
    for _ in range(500):
        page = await (await client.get("/api/v1/inquiries?per_page=2", headers=bob)).json
        if page["meta"]["pagination"]["total"] == 3:
            break
        await asyncio.sleep(0.01)

    second = await (await client.get("/api/v1/inquiries?per_page=2&page=2", headers=bob)).json
    cursor = page["meta"]["pagination"]["next_cursor"]
    continued = await (await client.get(f"/api/v1/inquiries?per_page=2&cursor={cursor}", headers=bob)).json
    strangers = await (await client.get("/api/v1/inquiries", headers=alice)).json

    assert [len(page["data"]), len(second["data"])] == [2, 1]
    assert second["data"] == continued["data"]
    assert continued["meta"]["pagination"]["has_next"] is False
    assert second["meta"]["pagination"]["total_pages"] == 2
    assert (strangers["data"], strangers["meta"]["pagination"]["total"]) == ([], 0)
