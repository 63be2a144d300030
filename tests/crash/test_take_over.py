"""A worker dies, or freezes and comes back, while it drives an execution; another one goes on (PostgreSQL)."""

from __future__ import annotations

import asyncio
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import orjson
import pytest

from models.dal import AsyncDAL, Options
from models.schema import declare
from tests.crash.servers import KEY, Process
from tests.crash.target import Target

pytestmark = [pytest.mark.crash, pytest.mark.timeout(180)]

STEPS = 60
TAKE_OVER_S = 5.0


@pytest.fixture
def database_engine() -> str:
    """One SQLite file has one driver; taking over is PostgreSQL's."""
    return "postgres"


@dataclass
class Crew:
    """A server that only accepts, two workers, and what they call."""

    client: httpx.AsyncClient
    workers: list[Process]
    db: AsyncDAL
    target: Target

    async def start(self) -> str:
        url = self.target.url
        first = {
            "name": "s0",
            "action": "core.http",
            "input": {"method": "POST", "url": f"{url}/step", "json": {"n": 0}},
        }
        rest = [
            {
                "name": f"s{i}",
                "action": "core.http",
                "input": {
                    "method": "POST",
                    "url": f"{url}/step",
                    "json": {"was": f"{{{{ task.s{i - 1}.result.body.serial }}}}"},
                },
            }
            for i in range(1, STEPS)
        ]
        body = {
            "ref": "default.long",
            "pack_ref": "default",
            "label": "long",
            "version": "1",
            "definition": {"tasks": [first, *rest]},
        }
        assert (await self.client.post("/api/v1/workflows", json=body)).status_code == 201
        answer = await self.client.post("/api/v1/workflows/default.long/execute", json={})
        assert answer.status_code == 202
        return str(answer.json()["data"]["execution_id"])

    async def driver(self, execution: str) -> Process:
        """The worker process that drives the execution now."""
        row = await self.db.sql(
            "SELECT w.name FROM workflow_executions e JOIN worker w ON w.id = e.driver WHERE e.execution_id = :id",
            id=UUID(execution),
        ).first()
        pid = int(row["name"].rsplit(":", 1)[1])
        return next(worker for worker in self.workers if worker.pid == pid)

    async def calls(self, count: int, limit_s: float = 60.0) -> None:
        async with asyncio.timeout(limit_s):
            while self.target.total < count:
                await asyncio.sleep(0.01)

    async def ended(self, execution: str) -> Any:
        async with asyncio.timeout(90):
            while True:
                row = await self.db.workflow_executions(UUID(execution))
                if row.ended_at is not None:
                    return row
                await asyncio.sleep(0.05)

    async def log(self, execution: str) -> list[Any]:
        return list(
            await self.db.sql(
                "SELECT seq, events FROM execution_event WHERE execution_id = :id ORDER BY seq", id=UUID(execution)
            )
        )


@pytest.fixture
async def crew(tmp_path: Path, database_url: str) -> AsyncIterator[Crew]:
    environ = {"POSTGRES_DSN": database_url}
    processes = [Process(tmp_path / "api", environ, "serve", "--no-worker")]
    processes[0].wait_until_up()
    processes += [Process(tmp_path / name, environ, "worker") for name in "ab"]
    target = Target()
    try:
        for worker in processes[1:]:
            worker.wait_until_up()
        async with AsyncExitStack() as stack:
            client = await stack.enter_async_context(
                httpx.AsyncClient(base_url=processes[0].url, headers={"X-API-Key": KEY}, timeout=30)
            )
            db = await stack.enter_async_context(declare(AsyncDAL(database_url, Options())))
            yield Crew(client, processes[1:], db, target)
    finally:
        for process in processes:
            process.stop()
        target.close()


def results(log: list[Any]) -> Counter[str]:
    """How often each node's end is in the log."""
    ends: Counter[str] = Counter()
    for row in log:
        ends.update(event["node"] for event in orjson.loads(row["events"]) if event["e"] == "node_ended")
    return ends


def claims(log: list[Any]) -> int:
    return sum(event["e"] == "claimed" for row in log for event in orjson.loads(row["events"]))


async def test_another_worker_goes_on_when_one_is_killed(crew: Crew) -> None:
    execution = await crew.start()
    await crew.calls(10)

    (await crew.driver(execution)).kill()
    killed_at, seen = time.monotonic(), crew.target.total
    await crew.calls(seen + 2)
    taken_over_s = time.monotonic() - killed_at
    row = await crew.ended(execution)

    log = await crew.log(execution)
    assert row.status == "completed"
    assert taken_over_s < TAKE_OVER_S
    assert [entry["seq"] for entry in log] == list(range(len(log)))
    assert set(results(log).values()) == {1}
    assert claims(log) == 1
    assert all(len(set(bodies)) == 1 and len(bodies) <= 2 for bodies in crew.target.calls.values())
    assert sum(len(bodies) - 1 for bodies in crew.target.calls.values()) <= 1


async def test_a_worker_that_was_frozen_finds_that_it_lost_its_lease(crew: Crew) -> None:
    execution = await crew.start()
    await crew.calls(10)
    frozen = await crew.driver(execution)

    frozen.signal(signal.SIGSTOP)
    await crew.calls(crew.target.total + 3)
    frozen.signal(signal.SIGCONT)
    row = await crew.ended(execution)

    log = await crew.log(execution)
    assert row.status == "completed"
    assert [entry["seq"] for entry in log] == list(range(len(log)))
    assert set(results(log).values()) == {1}
    assert claims(log) == 1
    assert all(len(set(bodies)) == 1 for bodies in crew.target.calls.values())


async def test_a_request_reaches_the_worker_that_drives(crew: Crew) -> None:
    execution = await crew.start()
    await crew.calls(5)

    began = time.monotonic()
    answer = await crew.client.post(f"/api/v1/workflows/executions/{execution}/cancel")
    row = await crew.ended(execution)

    assert answer.status_code == 200
    assert row.status == "cancelled"
    assert time.monotonic() - began < 2.0
