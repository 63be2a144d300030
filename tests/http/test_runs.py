"""The run history over HTTP. Test names of the section "documents" are those of the run registry's document."""

import asyncio
import json
import random
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

T0 = datetime(2024, 1, 15, 10, 5, tzinfo=UTC)
PACKAGE = "restart-unhealthy-1.0.0"


def report(n: int = 0, **fields) -> dict:
    plain = {"wpk_id": PACKAGE, "run_id": f"run-{n}", "status": "completed", "duration_ms": 1500}
    return {**plain, "created_at": (T0 + timedelta(seconds=n)).isoformat(), **fields}


@pytest.fixture
async def workflow(here, alice):
    """A registered workflow of alice's, `restart-unhealthy` 1.0.0."""

    async def register(community_id=None, package=PACKAGE) -> UUID:
        workflow_id, name = uuid4(), package.rpartition("-")[0]
        await here.db.workflow.insert(
            id=workflow_id, ref=f"ops.{name}", package_id=package, pack_ref="ops", name=name, label="W",
            version="1.0.0", revision=1, version_id=uuid4(), source="api", search="", tags=[], enabled=True,
            modified=False, registered_at=T0, created=T0, updated=T0, total_runs=0, owner_id=alice.user_id,
            community_id=community_id,
        )  # fmt: skip
        return workflow_id

    return register


async def log(client, headers, *reports) -> dict:
    answer = await client.post(
        "/langgraph/hooks/log_run", json=reports[0] if len(reports) == 1 else list(reports), headers=headers
    )
    assert answer.status_code in {200, 201}, await answer.get_data(as_text=True)
    return await answer.get_json()


async def summary(here, workflow_id) -> tuple:
    row = await here.db.workflow(workflow_id)
    return row["total_runs"], row["latest_run_id"], row["latest_run_status"], row["latest_run_at"]


# ---- documents -----------------------------------------------------------------------------------------------------


async def test_get_workflow_runs_not_found(client, alice):
    answer = await client.get("/workflows/nobody-1.0.0/runs", headers=alice)

    assert answer.status_code == 404
    assert (await answer.get_json())["detail"] == "Workflow not found"


async def test_get_workflow_runs_success(client, alice):
    await log(client, alice, report(123))

    answer = await client.get(f"/workflows/{PACKAGE}/runs", headers=alice)

    assert answer.status_code == 200
    assert await answer.get_json() == {
        "workflow_id": PACKAGE,
        "runs": [
            {"run_id": "run-123", "status": "completed", "duration_ms": 1500, "created_at": "2024-01-15T10:07:03Z"}
        ],
        "page": 1,
        "limit": 20,
        "total": 1,
        "next_cursor": None,
    }


async def test_get_workflow_runs_pagination(client, alice):
    await log(client, alice, *(report(n) for n in range(25)))

    answer = await (await client.get(f"/workflows/{PACKAGE}/runs?limit=10&page=2", headers=alice)).get_json()

    assert [run["run_id"] for run in answer["runs"]] == [f"run-{n}" for n in range(14, 4, -1)]
    assert (answer["page"], answer["limit"], answer["total"]) == (2, 10, 25)


async def test_get_workflow_runs_empty(client, alice, workflow):
    await workflow()

    answer = await client.get(f"/workflows/{PACKAGE}/runs", headers=alice)

    assert (answer.status_code, (await answer.get_json())["runs"]) == (200, [])


async def test_notify_workflow_run_success(client, alice, workflow):
    await workflow()

    answer = await client.post(
        f"/workflows/{PACKAGE}/runs/notify",
        json={"run_id": "run-456", "status": "completed", "duration_ms": 1200, "unknown": 1},
        headers={"Authorization": f"Bearer {alice['X-API-Key']}"},
    )

    assert answer.status_code == 200
    assert await answer.get_json() == {
        "message": "Workflow run notification processed",
        "workflow_id": PACKAGE,
        "run_id": "run-456",
        "status": "updated",
    }


async def test_notify_workflow_run_not_found(client, alice):
    answer = await client.post(
        "/workflows/nobody-1.0.0/runs/notify", json={"run_id": "r", "status": "completed"}, headers=alice
    )

    assert (answer.status_code, (await answer.get_json())["detail"]) == (404, "Workflow not found")


async def test_notify_workflow_run_no_auth(client):
    answer = await client.post(f"/workflows/{PACKAGE}/runs/notify", json={"run_id": "r", "status": "completed"})

    assert (answer.status_code, (await answer.get_json())["detail"]) == (401, "Not authenticated")


async def test_notify_workflow_run_updates_metadata(client, here, alice, workflow):
    workflow_id = await workflow()

    await client.post(f"/workflows/{PACKAGE}/runs/notify", json={"run_id": "run-1", "status": "failed"}, headers=alice)

    total, latest, status, at = await summary(here, workflow_id)
    assert (total, latest, status) == (1, "run-1", "failed")
    assert at is not None


async def test_workflow_runs_integration(client, here, alice, workflow):
    workflow_id = await workflow()
    await log(client, alice, report(1))

    await client.post(
        f"/workflows/{PACKAGE}/runs/notify", json={"run_id": "run-1", "status": "completed"}, headers=alice
    )

    answer = await (await client.get(f"/workflows/{PACKAGE}/runs", headers=alice)).get_json()
    assert answer["total"] == 1
    assert (await summary(here, workflow_id))[:3] == (1, "run-1", "completed")


@pytest.mark.parametrize(
    ("query", "status"),
    [("limit=1&page=1", 200), ("limit=100", 200), ("limit=0", 400), ("limit=101", 400), ("page=0", 400), ("limit=x", 400),
     ("status=failed", 200), ("status=odd", 400), ("since=2024-01-01T00:00:00Z", 200), ("since=now", 400),
     ("cursor=rubbish", 400), ("limit=100&page=101", 400)],
)  # fmt: skip
async def test_runs_endpoint_query_parameters(client, alice, query, status):
    await log(client, alice, report())

    assert (await client.get(f"/workflows/{PACKAGE}/runs?{query}", headers=alice)).status_code == status


async def test_runs_endpoint_response_format(client, alice):
    await log(client, alice, report())

    short = await (await client.get(f"/workflows/{PACKAGE}/runs", headers=alice)).get_json()
    twin = await (await client.get(f"/api/v1/workflows/{PACKAGE}/runs", headers=alice)).get_json()

    assert (twin["success"], twin["data"]) == (True, short)


async def test_get_workflow_runs_error(client, here, alice):
    await log(client, alice, report())
    await here.db.close()

    answer = await client.get(f"/workflows/{PACKAGE}/runs", headers=alice)

    assert answer.status_code == 503
    assert (await answer.get_json())["detail"] == "Failed to get workflow runs: database unavailable"


# ---- logging -------------------------------------------------------------------------------------------------------


async def test_the_first_report_creates_and_the_second_updates(client, alice):
    first = await client.post("/langgraph/hooks/log_run", json=report(status="running"), headers=alice)
    second = await client.post("/api/v1/runs", json=report(), headers=alice)

    one, two = await first.get_json(), (await second.get_json())["data"]
    assert (first.status_code, one["status"], second.status_code, two["status"]) == (201, "logged", 200, "updated")
    assert one["id"] == two["id"]


async def test_a_missing_field_is_named(client, alice):
    answer = await client.post("/langgraph/hooks/log_run", json={"wpk_id": "w", "status": "completed"}, headers=alice)

    body = await answer.get_json()
    assert (answer.status_code, body["error_code"]) == (400, "VALIDATION_ERROR")
    assert body["details"]["errors"] == [
        {"loc": ["run_id"], "message": "Missing required field: run_id", "type": "missing"}
    ]


async def test_one_bad_run_of_a_batch_does_not_stop_the_others(client, alice):
    batch = [report(1), {"run_id": "bad"}, report(1, status="failed"), 5, report(2)]

    results = (await log(client, alice, *batch))["results"]

    assert [item["status"] for item in results] == ["logged", "rejected", "updated", "rejected", "logged"]
    assert "wpk_id" in results[1]["error"]


async def test_a_batch_is_limited(client, alice):
    answer = await client.post("/langgraph/hooks/log_run", json=[report()] * 1001, headers=alice)

    assert answer.status_code == 400


async def test_a_large_run_is_taken_where_other_bodies_are_not(client, alice):
    answer = await client.post(
        "/langgraph/hooks/log_run", json=report(outputs={"text": "x" * 3_000_000}), headers=alice
    )

    assert answer.status_code == 201


async def test_logging_to_a_registered_workflow_needs_execute(client, alice, bob, workflow, here):
    workflow_id = await workflow()
    refused = await client.post("/langgraph/hooks/log_run", json=report(), headers=bob)
    await here.db.workflow_permission.insert(
        workflow_id=workflow_id, subject_type="user", subject_id=str(bob.user_id), can_view=True, created=T0
    )
    here.permission_service.forget(workflow_id)

    seen = await client.post("/langgraph/hooks/log_run", json=report(), headers=bob)

    assert (refused.status_code, seen.status_code) == (404, 403)
    assert (await log(client, alice, report()))["status"] == "logged"


async def test_fifty_senders_over_both_routes_count_each_run_once(client, here, alice, workflow):
    workflow_id = await workflow()
    reports = [report(n) for n in range(100)] * 3
    random.Random(1).shuffle(reports)

    async def send(k: int) -> None:
        for one in reports[k::50]:
            told = {name: one[name] for name in ("run_id", "status", "created_at")}
            path, body = ("/langgraph/hooks/log_run", one) if k % 2 else (f"/workflows/{PACKAGE}/runs/notify", told)
            while (await client.post(path, json=body, headers=alice)).status_code == 503:  # too many at once: come back
                await asyncio.sleep(0)

    await asyncio.gather(*(send(k) for k in range(50)))

    assert await summary(here, workflow_id) == (100, "run-99", "completed", T0 + timedelta(seconds=99))


# ---- reading -------------------------------------------------------------------------------------------------------


async def test_a_run_is_read_by_either_id_with_its_payloads(client, alice):
    logged = await log(client, alice, report(inputs={"a": 1}, outputs={"b": 2}, node_logs=[3], error="e"))

    for name in (logged["id"], "run-0"):
        found = (await (await client.get(f"/api/v1/runs/{name}", headers=alice)).get_json())["data"]
        assert (found["id"], found["inputs"], found["outputs"], found["node_logs"]) == (
            logged["id"],
            {"a": 1},
            {"b": 2},
            [3],
        )


async def test_an_ambiguous_run_id_lists_the_candidates(client, alice):
    await log(client, alice, report(), report(wpk_id="other-1.0.0"))

    answer = await client.get("/api/v1/runs/run-0", headers=alice)
    named = await client.get("/api/v1/runs/run-0?wpk_id=other-1.0.0", headers=alice)

    candidates = (await answer.get_json())["details"]["candidates"]
    assert (answer.status_code, {c["wpk_id"] for c in candidates}) == (409, {PACKAGE, "other-1.0.0"})
    assert (await named.get_json())["data"]["wpk_id"] == "other-1.0.0"


async def test_all_runs_are_listed_by_cursor(client, alice):
    await log(client, alice, *(report(n) for n in range(30)))
    seen, cursor = [], ""

    while cursor is not None:
        answer = await (
            await client.get(
                f"/api/v1/runs?per_page=9&cursor={cursor}" if cursor else "/api/v1/runs?per_page=9", headers=alice
            )
        ).get_json()
        seen += [run["run_id"] for run in answer["data"]]
        cursor = answer["meta"]["pagination"]["next_cursor"]

    assert seen == [f"run-{n}" for n in range(29, -1, -1)]
    assert answer["meta"]["pagination"]["total"] == 30


async def test_runs_are_exported_one_a_line(client, alice):
    await log(client, alice, *(report(n, outputs={"n": n}) for n in range(3)))

    answer = await client.get("/api/v1/runs", headers={**alice, "Accept": "application/x-ndjson"})

    lines = [json.loads(line) for line in (await answer.get_data(as_text=True)).splitlines()]
    assert answer.content_type == "application/x-ndjson"
    assert [line["outputs"] for line in lines] == [{"n": 2}, {"n": 1}, {"n": 0}]


async def eventually(ask):
    async with asyncio.timeout(15):
        while not (found := await ask()):
            await asyncio.sleep(0.05)
        return found


async def test_runs_are_searched_by_words_and_the_mode_is_said(client, alice):
    await log(
        client, alice, report(1, outputs={"text": "disk full on node seven"}), report(2, outputs={"text": "fine"})
    )

    async def search():
        answer = await (await client.get("/api/v1/runs/search?q=disk", headers=alice)).get_json()
        return answer["data"] if answer["data"]["results"] else None

    found = await eventually(search)
    assert found["mode"] == "keyword"
    assert [(hit["run_id"], hit["snippet"]) for hit in found["results"]] == [("run-1", "disk full on node seven")]


async def test_a_similar_failure_shows_the_success_that_followed(client, alice):
    text = {"text": "database connection refused"}
    await log(client, alice, report(1, status="failed", outputs=text, inputs={"host": "a"}))
    await log(client, alice, report(2, inputs={"host": "b"}), report(3, status="failed", outputs=text))

    async def similar():
        answer = await (await client.get("/api/v1/runs/run-3/similar", headers=alice)).get_json()
        return answer["data"]["results"]

    [hit] = await eventually(similar)
    assert (hit["run_id"], hit["succeeded_after"]["run_id"], hit["succeeded_after"]["changed"]) == (
        "run-1",
        "run-2",
        ["input"],
    )


async def test_stats_count_and_rate(client, alice):
    now = datetime.now(UTC).isoformat()
    await log(client, alice, report(1, created_at=now), report(2, created_at=now, status="failed"))

    answer = await (await client.get(f"/api/v1/workflows/{PACKAGE}/stats", headers=alice)).get_json()

    assert (answer["data"]["runs"], answer["data"]["success_rate"]) == (2, 0.5)


async def test_stats_name_the_slowest_nodes(client, alice):
    logs = [{"node": "fetch", "duration_ms": 20}, {"node": "load", "duration_ms": 300}]
    await log(client, alice, *(report(n, node_logs=logs) for n in range(3)))

    answer = await (await client.get(f"/api/v1/workflows/{PACKAGE}/stats?days=3660", headers=alice)).get_json()

    assert answer["data"]["nodes"] == [
        {"node": "load", "runs": 3, "duration_ms": {"p50": 300, "p95": 300, "average": 300}},
        {"node": "fetch", "runs": 3, "duration_ms": {"p50": 20, "p95": 20, "average": 20}},
    ]


# ---- who sees what ---------------------------------------------------------------------------------------------------


@pytest.fixture
async def secret(client, here, key_for, alice, workflow):
    """A run of a workflow in community 7, one of community 7 without a workflow; bob is not there, carol is."""
    await workflow(community_id=7)
    await log(client, alice, report(1, outputs={"text": "secret workflow"}))
    carol = await key_for("carol", roles={(7, "viewer")})
    await log(client, carol, report(2, wpk_id="agent-1.0.0", outputs={"text": "secret agent"}, community_id=7))
    return carol


READS = [
    "/workflows/{package}/runs", "/api/v1/workflows/{package}/runs", "/api/v1/workflows/{package}/stats",
    "/api/v1/runs/run-1", "/api/v1/runs/run-2", "/api/v1/runs/run-1/similar", "/workflows/agent-1.0.0/runs",
    "/api/v1/workflows/agent-1.0.0/stats",
]  # fmt: skip


@pytest.mark.parametrize("path", READS)
async def test_another_communitys_runs_look_like_nothing_is_there(client, secret, bob, path):
    path = path.format(package=PACKAGE)
    there = await client.get(path, headers=bob)
    nowhere = await client.get(
        path.replace("run-1", "run-x").replace("run-2", "run-x").replace(PACKAGE, "x-1.0.0").replace("agent", "y"),
        headers=bob,
    )

    assert there.status_code == nowhere.status_code == 404
    assert (await there.get_json())["error_code"] == (await nowhere.get_json())["error_code"]


async def test_another_communitys_runs_are_neither_listed_found_nor_counted(client, secret, bob):
    async def found():
        mine = await client.get("/api/v1/runs/search?q=secret", headers=secret)
        return (await mine.get_json())["data"]["results"]

    assert [hit["run_id"] for hit in await eventually(found)] == ["run-2"]
    listed = await (await client.get("/api/v1/runs", headers=bob)).get_json()
    searched = await (await client.get("/api/v1/runs/search?q=secret", headers=bob)).get_json()
    assert (listed["data"], listed["meta"]["pagination"]["total"]) == ([], 0)
    assert searched["data"]["results"] == []


async def test_only_members_add_runs_to_a_community(client, bob, secret):
    refused = await client.post(
        "/langgraph/hooks/log_run", json=report(5, wpk_id="agent-1.0.0", community_id=7), headers=bob
    )

    assert refused.status_code == 403


async def test_public_reads_show_runs_of_no_community_only(client, secret, alice):
    await log(client, alice, report(9, wpk_id="open-1.0.0"))

    opened = await client.get("/workflows/open-1.0.0/runs")
    hidden = await client.get(f"/workflows/{PACKAGE}/runs")
    forwarded = await client.get("/workflows/open-1.0.0/runs", headers={"X-Forwarded-For": "1.2.3.4"})
    detail = await client.get("/api/v1/runs/run-9")

    assert (opened.status_code, hidden.status_code, forwarded.status_code, detail.status_code) == (200, 404, 401, 401)


# ---- our own executions ----------------------------------------------------------------------------------------------


async def test_an_execution_is_a_run_whose_payloads_are_read_from_it(client, admin):
    definition = {
        "tasks": [{"name": "say", "action": "core.echo", "input": {"message": "hi {{ parameters.who }}"}}],
        "output": {"said": "{{ task.say.result.message }}"},
    }
    workflow = {
        "ref": "default.hello",
        "pack_ref": "default",
        "label": "Hello",
        "version": "1.0.0",
        "definition": definition,
    }
    assert (await client.post("/api/v1/workflows", json=workflow, headers=admin)).status_code == 201
    path = "/api/v1/workflows/default.hello/execute?wait=20"
    started = await (await client.post(path, json={"variables": {"who": "Ada"}}, headers=admin)).get_json()

    run_id = started["data"]["execution_id"]
    run = (await (await client.get(f"/api/v1/runs/{run_id}", headers=admin)).get_json())["data"]
    listed = await (await client.get("/workflows/hello-1.0.0/runs", headers=admin)).get_json()

    assert (run["source"], run["wpk_id"], run["status"]) == ("engine", "hello-1.0.0", "completed")
    assert (run["inputs"], run["outputs"]) == ({"who": "Ada"}, {"said": "hi Ada"})
    assert [node["node_id"] for node in run["node_logs"]] == ["say"]
    assert [(line["run_id"], line["status"]) for line in listed["runs"]] == [(run_id, "completed")]
    assert listed["total"] == 1
    stats = (await (await client.get("/api/v1/workflows/hello-1.0.0/stats", headers=admin)).get_json())["data"]
    assert [(node["node"], node["runs"]) for node in stats["nodes"]] == [("say", 1)]


async def test_logged_runs_are_counted_in_the_metrics(client, alice):
    await log(client, alice, report(1), report(2, status="failed"))

    text = await (await client.get("/metrics")).get_data(as_text=True)

    assert 'millrace_runs_logged_total{source="langgraph",status="completed"} 1.0' in text
    assert 'millrace_runs_logged_total{source="langgraph",status="failed"} 1.0' in text


@pytest.mark.parametrize("environ", [{"OPENAI_BASE_URL": "http://127.0.0.1:9/v1"}])
async def test_readiness_says_how_far_embedding_has_come(client, environ):
    ready = await (await client.get("/ready")).get_json()

    assert ready["checks"]["embeddings"]["detail"].startswith("0 runs embedded with text-embedding-3-small")
