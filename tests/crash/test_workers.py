"""A server that only answers and workers that drive: one system in several processes on PostgreSQL."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.crash.callee import Callee
from tests.crash.fleet import HEADERS, Fleet, fleet
from tests.support.exposition import ELSEWHERE, declared, moved

pytestmark = pytest.mark.timeout(240)

ECHO = {"tasks": [{"name": "a", "action": "core.echo", "input": {"message": "{{ parameters.n }}"}}], "output": {"n": 7}}
NAP = {
    "tasks": [
        {"name": "a", "action": "core.echo", "input": {"message": "x"}, "on_success": "b"},
        {"name": "b", "action": "core.sleep", "input": {"seconds": 1.9}},
    ]
}


def call(url: str, **data: Any) -> dict[str, Any]:
    return {"action": "core.http", "input": {"method": "POST", "url": url, "json": data}}


@dataclass
class System:
    """What a test works with."""

    fleet: Fleet
    client: httpx.AsyncClient
    callee: Callee

    async def register(self, name: str, definition: Any) -> None:
        body = {
            "ref": f"default.{name}",
            "pack_ref": "default",
            "label": name,
            "version": "1",
            "definition": definition,
        }
        answer = await self.client.post("/api/v1/workflows", json=body)
        assert answer.status_code == 201, answer.text

    async def execute(self, name: str, wait: int = 0, **variables: Any) -> dict[str, Any]:
        path = f"/api/v1/workflows/default.{name}/execute"
        answer = await self.client.post(path, params={"wait": wait} if wait else {}, json={"variables": variables})
        assert answer.status_code in (200, 202), answer.text
        return dict(answer.json()["data"])

    async def get(self, execution_id: str) -> dict[str, Any]:
        answer = await self.client.get(f"/api/v1/workflows/executions/{execution_id}")
        assert answer.status_code == 200, answer.text
        return dict(answer.json()["data"])

    async def ended(self, execution_id: str, limit_s: float = 60) -> dict[str, Any]:
        async def is_over() -> bool:
            return (await self.get(execution_id))["end_time"] is not None

        await until(is_over, limit_s)
        return await self.get(execution_id)

    async def events(self, execution_id: str) -> list[dict[str, Any]]:
        answer = await self.client.get(f"/api/v1/workflows/executions/{execution_id}/events")
        return list(answer.json()["data"])


async def until(condition: Any, limit_s: float = 60) -> None:
    async with asyncio.timeout(limit_s):
        while True:
            found = condition()
            if await found if asyncio.iscoroutine(found) else found:
                return
            await asyncio.sleep(0.03)


@pytest.fixture
def callee() -> Iterator[Callee]:
    made = Callee()
    yield made
    made.close()


@pytest.fixture
async def system(tmp_path: Path, databases, callee: Callee) -> AsyncIterator[System]:
    """A server without a worker, and nobody who drives yet."""
    url = databases.create("postgres")
    with fleet(tmp_path, {"POSTGRES_DSN": url}) as processes:
        server = processes.serve("--no-worker")
        processes.worker()
        server.wait_until_up()
        async with httpx.AsyncClient(base_url=server.url, headers=HEADERS, timeout=70) as client:
            yield System(processes, client, callee)
    databases.drop(url)


async def test_a_caller_who_waits_hears_of_an_end_in_another_process(system: System) -> None:
    system.fleet.workers[0].wait_until_up()
    await system.register("echo", ECHO)
    await system.execute("echo", wait=30, n=1)

    began = time.monotonic()
    answers = [await system.execute("echo", wait=30, n=n) for n in range(10)]
    each_s = (time.monotonic() - began) / 10

    assert {answer["status"] for answer in answers} == {"completed"}
    assert each_s < 0.7, "it was found by the look of every second, not heard of"


async def test_a_worker_answers_for_its_health_and_metrics(system: System) -> None:
    worker = system.fleet.workers[0].wait_until_up()
    await system.register("echo", ECHO)
    await system.execute("echo", wait=30, n=1)

    async with httpx.AsyncClient(base_url=worker.url) as client:
        health, ready, metrics, other = [
            await client.get(path) for path in ("/health", "/ready", "/metrics", "/api/v1/workflows")
        ]

    assert (health.status_code, ready.status_code, other.status_code) == (200, 200, 404)
    assert 'millrace_workflow_executions_total{status="completed"} 1.0' in metrics.text


BY_SERVERS = {
    f"millrace_{name}"
    for name in ("access_verdicts", "insight_signals", "outbox_backlog", "outbox_failures", "background_restarts")
}
SWITCHED_OFF = {"millrace_trace_spans_sent", "millrace_trace_drops"}
MOMENTARY = {"millrace_database_connections_in_use"}  # tests/http/test_metrics.py holds one to see it


async def test_a_worker_moves_every_metric_of_what_it_does(system: System) -> None:
    worker = system.fleet.workers[0].wait_until_up()
    await system.register("nap", NAP)
    await system.execute("nap")

    async with httpx.AsyncClient(base_url=worker.url) as client:

        async def seen() -> set[str]:
            return moved((await client.get("/metrics")).text)

        async def is_driving() -> bool:
            return "millrace_active_workflows" in await seen()

        async def has_ended() -> bool:
            return "millrace_workflow_executions" in await seen()

        await until(is_driving)
        await until(has_ended)
        missing = declared() - BY_SERVERS - SWITCHED_OFF - MOMENTARY - ELSEWHERE.keys() - await seen()

    assert missing == {"millrace_active_workflows"}, "it is idle again"


async def test_what_was_accepted_without_a_worker_is_driven_when_one_comes(system: System) -> None:
    worker = system.fleet.workers[0].wait_until_up()
    await system.register("echo", ECHO)
    worker.kill()
    accepted = [await system.execute("echo", n=n) for n in range(20)]

    system.fleet.worker().wait_until_up()
    ended = [await system.ended(one["execution_id"]) for one in accepted]

    assert {one["status"] for one in ended} == {"completed"}


async def test_a_cancel_interrupts_what_runs_on_another_machine(system: System) -> None:
    system.fleet.workers[0].wait_until_up()
    await system.register("slow", {"tasks": [{"name": "a", **call(system.callee.url + "/slow", ms=60_000)}]})
    started = await system.execute("slow")
    await until(lambda: system.callee.total == 1)

    answer = await system.client.post(f"/api/v1/workflows/executions/{started['execution_id']}/cancel")
    ended = await system.ended(started["execution_id"], limit_s=20)

    assert answer.status_code == 200
    assert ended["status"] == "cancelled"


async def test_a_cancel_stops_parent_and_child_on_whatever_worker_within_a_second(system: System) -> None:
    for worker in (*system.fleet.workers, system.fleet.worker()):
        worker.wait_until_up()
    slow = call(system.callee.url + "/slow", ms=60_000)
    await system.register("child", {"tasks": [{"name": "a", **slow}]})
    await system.register("parent", {"tasks": {"sub": {"action": "default.child"}, "own": slow}})
    took_s = []

    for number in range(3):
        parent = (await system.execute("parent"))["execution_id"]
        await until(lambda expected=2 * (number + 1): system.callee.total == expected)
        children = await system.client.get("/api/v1/executions?unfinished=true&workflow=default.child")
        child = children.json()["data"][0]["execution_id"]
        answer = await system.client.post(f"/api/v1/workflows/executions/{parent}/cancel")
        ends = [await system.ended(one, limit_s=20) for one in (parent, child)]
        assert {one["status"] for one in ends} == {"cancelled"}
        asked_at = datetime.fromisoformat(answer.json()["data"]["cancelled_at"])
        took_s.append(max((datetime.fromisoformat(one["end_time"]) - asked_at).total_seconds() for one in ends))

    assert min(took_s) < 1.0, took_s  # a loaded machine may be slow once, not three times


async def test_pausing_everything_reaches_every_worker_and_outlives_it(system: System) -> None:
    worker = system.fleet.workers[0].wait_until_up()
    await system.register("echo", ECHO)
    assert (await system.client.post("/api/v1/operator/pause", json={"reason": "test"})).status_code == 200

    async def is_paused(url: str) -> bool:
        async with httpx.AsyncClient() as client:
            return bool((await client.get(f"{url}/health")).json()["paused"])

    await until(lambda: is_paused(worker.url), limit_s=5)
    accepted = [(await system.execute("echo", n=n))["execution_id"] for n in range(5)]
    worker.kill()
    other = system.fleet.worker().wait_until_up()
    assert await is_paused(other.url)
    listed = (await system.client.get("/api/v1/executions?unfinished=true")).json()["data"]
    assert {one["execution_id"]: one["driver"] for one in listed} == dict.fromkeys(accepted)

    await system.client.post("/api/v1/operator/resume")
    assert {(await system.ended(one))["status"] for one in accepted} == {"completed"}
