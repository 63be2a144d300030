"""A server that only answers and workers that drive: one system in several processes on PostgreSQL."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
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
