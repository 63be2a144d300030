"""The database takes no writes: what callers and operators are told, what still works, and that it passes by itself."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.outages import READABLE, Outage

KINDS = [("sqlite", "full"), ("postgres", "read_only"), ("postgres", "refused")]
SAID = {
    "full": ("The database has no room left: nothing was done, reading still works", "database or disk is full"),
    "read_only": ("The database takes no writes now: nothing was done, reading still works", "read-only"),
    "refused": ("The database is unavailable", "not currently accepting connections"),
}
PAD = "x" * 200_000
"""What does not fit into the pages there are."""


@pytest.fixture(params=KINDS, ids=lambda param: param[1])
def kind(request):
    return request.param[1]


@pytest.fixture
def database_engine(kind):
    return "sqlite" if kind == "full" else "postgres"


@pytest.fixture
async def outage(kind, database_url, databases, here):
    return Outage(kind, database_url, databases, here.db)


@pytest.fixture
async def flow(client, admin):
    body = {
        "ref": "default.flow",
        "pack_ref": "default",
        "label": "flow",
        "version": "1",
        "definition": {"tasks": [{"name": "a", "action": "core.echo", "input": {"message": "{{ parameters.pad }}"}}]},
    }
    answer = await client.post("/api/v1/workflows", json=body, headers=admin)
    assert answer.status_code == 201
    return "/api/v1/workflows/default.flow"


async def execute(client, flow, admin, **query):
    return await client.post(f"{flow}/execute", json={"variables": {"pad": PAD}}, headers=admin, query_string=query)


async def refusal(client, flow, admin, kind):
    """The answer to a start during an outage; the first few may find connections that were cut off by it."""
    for _ in range(5):
        answer = await execute(client, flow, admin)
        if (await answer.get_json())["message"] == SAID[kind][0]:
            break
    return answer


async def ready(client):
    answer = await client.get("/ready")
    return answer, (await answer.get_json())["checks"]["database"]


async def test_a_start_is_refused_in_words_and_the_service_comes_back_by_itself(client, admin, flow, outage, kind):
    accepted = await execute(client, flow, admin, wait=30)
    await outage.begin()

    refused = await refusal(client, flow, admin, kind)
    unready, check = await ready(client)
    read = await client.get(accepted.headers["Location"], headers=admin)
    await outage.end()
    async with asyncio.timeout(30):
        while (await ready(client))[0].status_code != 200:
            await asyncio.to_thread(lambda: None)
    again = await execute(client, flow, admin, wait=30)

    assert refused.status_code == 503
    assert (await refused.get_json())["error_code"] == "SERVICE_UNAVAILABLE"
    assert (await refused.get_json())["message"] == SAID[kind][0]
    assert int(refused.headers["Retry-After"]) >= 1
    assert (unready.status_code, check["ok"]) == (503, False)
    assert SAID[kind][1] in check["detail"]
    assert read.status_code == (200 if kind in READABLE else 503)
    assert again.status_code == 200
    assert (await again.get_json())["data"]["status"] == "completed"


async def test_a_refused_start_has_left_nothing(client, admin, flow, outage, here):
    await outage.begin()
    refused = [(await execute(client, flow, admin)).status_code for _ in range(3)]
    await outage.end()
    async with asyncio.timeout(30):
        while (await ready(client))[0].status_code != 200:
            await asyncio.to_thread(lambda: None)

    left = await here.db(here.db.workflow_executions).count()
    answer = await client.get("/api/v1/audit/verify", headers=admin)

    assert refused == [503] * 3
    assert left == 0
    assert (await answer.get_json())["data"]["intact"]
    assert here.execution.is_alive


async def test_the_probe_that_finds_room_again_leaves_nothing(client, here, outage, kind):
    here.db.refusal = RuntimeError("some time ago")

    answer, _ = await ready(client)

    assert answer.status_code == 200
    assert here.db.refusal is None
    assert await here.db(here.db.payload).count() == 0


async def test_a_key_whose_use_cannot_be_noted_opens_the_door_all_the_same(client, admin, flow, outage, here, kind):
    await here.db(here.db.api_key).update(last_used_at=None)
    here.authentication.forget()
    await outage.begin()

    answer = await client.get("/api/v1/workflows", headers=admin)
    await outage.end()

    assert answer.status_code == (200 if kind in READABLE else 503)
