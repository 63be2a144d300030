"""A server that only accepts, two workers, what they call, and what can be read of an execution they drove (PostgreSQL)."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import orjson

from models.dal import AsyncDAL, Options
from models.schema import declare
from tests.crash.servers import KEY, Process
from tests.crash.target import Target

STEPS = 60


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


@asynccontextmanager
async def at_work(folder: Path, database_url: str) -> AsyncIterator[Crew]:
    """A crew whose processes are up; all of them are ended at the end."""
    environ = {"POSTGRES_DSN": database_url}
    processes = [Process(folder / "api", environ, "serve", "--no-worker")]
    processes[0].wait_until_up()
    processes += [Process(folder / name, environ, "worker") for name in "ab"]
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
