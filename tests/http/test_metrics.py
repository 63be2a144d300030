"""Every metric that is declared is fed: what a server and a worker do can be read from /metrics."""

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from services.access.authentication import utc_now
from services.background import Job
from tests.support.exposition import ELSEWHERE, declared, moved, value
from tests.support.otlp_receiver import receiving

ROOT = Path(__file__).parents[2]
FLOW = {"tasks": [{"name": "a", "action": "core.echo", "input": {"message": "x"}}]}
NAP = {"tasks": [{"name": "a", "action": "core.sleep", "input": {"seconds": 1.9}}]}
NOTHING = {"tasks": [{"name": "a"}]}
FAILS = {"tasks": [{"name": "a", "action": "core.fail", "input": {"message": "no luck"}}]}
ASKS = {"tasks": [{"name": "a", "action": "core.inquiry", "input": {"prompt": "Go on?"}}]}
NOTHING_LISTENS = {"OPENAI_KEY": "k", "OPENAI_BASE_URL": "http://127.0.0.1:1/v1"}


async def metrics(client):
    return await (await client.get("/metrics")).get_data(as_text=True)


async def register(client, headers, name, definition):
    body = {"ref": f"default.{name}", "pack_ref": "default", "label": name, "version": "1", "definition": definition}
    answer = await client.post("/api/v1/workflows", json=body, headers=headers)
    assert answer.status_code == 201, await answer.get_data(as_text=True)


async def execute(client, headers, name, wait="20"):
    path, query = f"/api/v1/workflows/default.{name}/execute", {"wait": wait} if wait else {}
    answer = await client.post(path, json={}, query_string=query, headers=headers)
    assert answer.status_code in (200, 202), await answer.get_data(as_text=True)
    return (await answer.get_json())["data"]


async def until(text_of, holds):
    async with asyncio.timeout(20):
        while not holds(text := await text_of()):
            await asyncio.sleep(0.02)
    return text


def job(here, name):
    return next(job for job in here.background._jobs if job.name == name)


async def fail_once(here):
    failed = asyncio.Event()

    async def work():
        if not failed.is_set():
            failed.set()
            raise RuntimeError("for the test")

    here.background.add(Job(name="fails-once", work=work))
    await failed.wait()


async def log_a_burst(client, headers):
    """A quiet hour and a half, then a burst in the last whole minute."""
    end = utc_now().replace(second=0, microsecond=0)
    runs = [
        {"wpk_id": "theirs-1", "run_id": f"{minute}-{n}", "status": "completed", "outputs": {"text": "to be embedded"}}
        | {"created_at": (end - timedelta(minutes=minute) + timedelta(seconds=n)).isoformat()}
        for minute in range(1, 90)
        for n in range(40 if minute == 1 else 2 + minute % 2)
    ]
    answer = await client.post("/api/v1/runs", json=runs, headers=headers)
    assert answer.status_code == 200, await answer.get_data(as_text=True)
    probe = {"query": 'local:workflow_runs_total{workflow="theirs-1"}', "lookback_minutes": 85, "threshold": 1}
    found = await client.post("/probe", json=probe, headers=headers)
    assert found.status_code == 200, await found.get_data(as_text=True)


@pytest.fixture
def collector():
    with receiving() as made:
        made.answers.append(400)  # one batch of spans is refused
        yield made


@pytest.fixture
def environ(request):
    if "collector" not in request.fixturenames:
        return {}
    return {**NOTHING_LISTENS, "OTEL_EXPORTER_OTLP_ENDPOINT": request.getfixturevalue("collector").url}


async def test_a_server_moves_every_metric_there_is(collector, client, here, admin):
    await client.get("/api/v1/workflows")  # without a key
    await register(client, admin, "nap", NAP)
    await execute(client, admin, "nap", wait=None)
    seen = moved(await metrics(client))  # while it naps
    await register(client, admin, "flow", FLOW)
    await execute(client, admin, "flow")
    await log_a_burst(client, admin)
    await fail_once(here)
    await until(lambda: metrics(client), lambda text: value(text, "millrace_outbox_failures_total", kind="embed"))
    await job(here, "measure-outbox").work()
    for _ in range(2):
        await execute(client, admin, "flow")
        await job(here, "send-traces").work()

    async with here.db.transaction():
        seen |= moved(await metrics(client))

    assert declared() - seen == ELSEWHERE.keys()
    for name, path in ELSEWHERE.items():
        assert name.removeprefix("millrace_") in (ROOT / path).read_text(), f"{path} does not move {name} any more"


async def test_ends_are_counted_whoever_writes_them(client, admin):
    for name, definition in (("flow", FLOW), ("fails", FAILS), ("asks", ASKS), ("nothing", NOTHING)):
        await register(client, admin, name, definition)
    for name in ("flow", "fails", "nothing"):
        await execute(client, admin, name)
    waiting = await execute(client, admin, "asks", wait=None)  # nobody drives it when it is cancelled
    await client.post(f"/api/v1/workflows/executions/{waiting['execution_id']}/cancel", headers=admin)

    text = await metrics(client)

    counts = {
        status: value(text, "millrace_workflow_executions_total", status=status)
        for status in ("completed", "failed", "cancelled")
    }
    assert counts == {"completed": 2, "failed": 1, "cancelled": 1}
    assert value(text, "millrace_workflow_duration_seconds_count", status="cancelled") == 1
    assert value(text, "millrace_workflow_queue_wait_seconds_count") == 3  # what ends at its start waits for nobody
    assert value(text, "millrace_task_attempts_total", outcome="completed") == 1
    assert value(text, "millrace_task_attempts_total", outcome="failed") == 1
    assert value(text, "millrace_runs_logged_total", source="engine", status="completed") == 2


async def test_labels_are_bounded_by_what_we_know_not_by_what_is_sent(client, admin):
    for n in range(3):
        await client.open(f"/nowhere/{n}", method=f"MADE{n}")
        await client.get(f"/api/v1/workflows/no-such-{n}", headers=admin)

    text = await metrics(client)

    assert value(text, "millrace_http_requests_total", method="other", route="unmatched", status="404") == 3
    route = "/api/v1/workflows/<identifier>"
    assert value(text, "millrace_http_requests_total", method="GET", route=route, status="404") == 3
    assert "no-such" not in text


async def test_doors_that_were_passed_and_refusals_are_counted(client, alice):
    await client.get("/api/v1/me", headers=alice)
    await client.get("/api/v1/me")
    await client.get("/api/v1/audit", headers=alice)

    text = await metrics(client)

    def verdicts(permission, result):
        return value(text, "millrace_access_verdicts_total", permission=permission, result=result)

    assert verdicts("self:view", "passed") == 1
    assert verdicts("self:view", "unauthenticated") == 1
    assert verdicts("audit:view", "denied") == 1
