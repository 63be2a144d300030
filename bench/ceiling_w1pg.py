"""The ceiling of W1 on PostgreSQL: bare Quart, grouped commits, PgQueuer, a worker process, NOTIFY; no engine.

`python -m bench.ceiling_w1pg worker` drives, `uvicorn bench.ceiling_w1pg:app` answers; both read CEILING_DSN.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import uuid
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
from quart import Quart, request

from bench.processes import ROOT, free_port, wait_for, wrk

CHANNEL = "ceiling"
DDL = """
CREATE TABLE ceiling_execution (id uuid PRIMARY KEY, body jsonb, epoch int NOT NULL DEFAULT 0, result jsonb);
CREATE TABLE ceiling_journal (execution uuid, seq int, epoch int, body jsonb, PRIMARY KEY (execution, seq));
"""
REQUEST = """
WITH v AS (SELECT * FROM unnest($1::uuid[], $2::jsonb[]) AS u(id, body)),
started AS (INSERT INTO ceiling_execution (id, body) SELECT id, body FROM v)
INSERT INTO pgqueuer (priority, entrypoint, payload, status) SELECT 0, 'drive', uuid_send(id), 'queued' FROM v
"""
LEASE = "UPDATE ceiling_execution SET epoch = epoch + 1 WHERE id = ANY($1::uuid[]) RETURNING id, epoch"
STEP = """
INSERT INTO ceiling_journal SELECT u.* FROM unnest($1::uuid[], $2::int[], $3::int[], $4::jsonb[]) AS u(e, s, p, b)
JOIN ceiling_execution x ON x.id = u.e AND x.epoch = u.p
"""
FINISH = """
UPDATE ceiling_execution x SET result = u.b FROM unnest($1::uuid[], $2::int[], $3::jsonb[]) AS u(e, p, b)
WHERE x.id = u.e AND x.epoch = u.p
"""
Flush = Callable[[Any, list[Any]], Awaitable[list[Any]]]


class Group:
    """Whatever waits goes out in one transaction on one connection."""

    def __init__(self, connection: Any, flush: Flush) -> None:
        self.connection, self.flush = connection, flush
        self.waiting: list[tuple[Any, asyncio.Future[Any]]] = []
        self.stir = asyncio.Event()
        self.task = asyncio.get_running_loop().create_task(self.run())

    async def run(self) -> None:
        while True:
            await self.stir.wait()
            self.stir.clear()
            taken, self.waiting = self.waiting, []
            async with self.connection.transaction():
                answers = await self.flush(self.connection, [item for item, _ in taken])
            for (_, future), answer in zip(taken, answers, strict=True):
                if not future.done():  # a client that went away
                    future.set_result(answer)

    def __call__(self, item: Any) -> asyncio.Future[Any]:
        future = asyncio.get_running_loop().create_future()
        self.waiting.append((item, future))
        self.stir.set()
        return future


async def _leased(connection: Any, items: list[Any]) -> list[Any]:
    epochs = {row["id"]: row["epoch"] for row in await connection.fetch(LEASE, items)}
    return [epochs[item] for item in items]


async def _stepped(connection: Any, items: list[Any]) -> list[Any]:
    await connection.execute(STEP, *[list(column) for column in zip(*items, strict=True)])
    return [None] * len(items)


async def _finished(connection: Any, items: list[Any]) -> list[Any]:
    await connection.execute(FINISH, *[list(column) for column in zip(*items, strict=True)])
    await connection.execute("SELECT pg_notify($1, $2)", CHANNEL, " ".join(str(item[0]) for item in items))
    return [None] * len(items)


async def _requested(connection: Any, items: list[Any]) -> list[Any]:
    await connection.execute(REQUEST, *[list(column) for column in zip(*items, strict=True)])
    return [None] * len(items)


async def work(dsn: str) -> None:
    """Drive what the queue brings."""
    from pgqueuer import PgQueuer
    from pgqueuer.db import AsyncpgDriver

    lease, step, finish = [Group(await asyncpg.connect(dsn), f) for f in (_leased, _stepped, _finished)]
    queue = PgQueuer(AsyncpgDriver(await asyncpg.connect(dsn)))

    @queue.entrypoint("drive")
    async def drive(job: Any) -> None:
        execution, x = uuid.UUID(bytes=job.payload), 0
        epoch = await lease(execution)
        for seq in range(3):
            x += 1
            await step((execution, seq, epoch, json.dumps({"result": x})))
        await finish((execution, epoch, json.dumps({"x": x})))

    await queue.run(batch_size=100, max_concurrent_tasks=400, dequeue_timeout=timedelta(seconds=1))


app = Quart(__name__)
waiting: dict[str, asyncio.Future[None]] = {}


@app.before_serving
async def connect() -> None:
    dsn = os.environ["CEILING_DSN"]
    listening = await asyncpg.connect(dsn)
    await listening.add_listener(CHANNEL, _heard)
    app.extensions["request"] = Group(await asyncpg.connect(dsn), _requested)
    app.extensions["listening"] = listening


def _heard(_connection: Any, _pid: int, _channel: str, text: str) -> None:
    for id_ in text.split(" "):
        future = waiting.pop(id_, None)
        if future is not None and not future.done():  # a client that went away
            future.set_result(None)


@app.get("/health")
async def health() -> str:
    return "ok"


@app.post("/run")
async def run() -> dict[str, str]:
    id_ = uuid.uuid4()
    ended = waiting[str(id_)] = asyncio.get_running_loop().create_future()
    await app.extensions["request"]((id_, json.dumps(await request.get_json())))
    await ended
    return {"id": str(id_)}


@contextmanager
def process(command: list[str], dsn: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("ab") as out:
        started = subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, "CEILING_DSN": dsn}, stdout=out, stderr=subprocess.STDOUT
        )
    try:
        yield started
    finally:
        started.kill()
        started.wait()


def measured(dsn: str, folder: Path, seconds: int) -> float:
    """Executions per second of the prototype on an empty database."""
    asyncio.run(_install(dsn))
    port = free_port()
    uvicorn = [str(Path(sys.executable).with_name("uvicorn")), "--loop", "uvloop", "--http", "httptools"]
    answer = [*uvicorn, "--no-access-log", "--log-level", "error", "--port", str(port), "bench.ceiling_w1pg:app"]
    drive = [sys.executable, "-m", "bench.ceiling_w1pg"]
    with process(drive, dsn, folder / "drive.log"), process(answer, dsn, folder / "answer.log") as front:
        wait_for(f"http://127.0.0.1:{port}/health", front)
        url = f"http://127.0.0.1:{port}/run"
        wrk(url, '{"x": 1}', seconds=1, folder=folder)
        return wrk(url, '{"x": 1}', seconds=seconds, folder=folder).per_s


async def _install(dsn: str) -> None:
    from pgqueuer.db import AsyncpgDriver
    from pgqueuer.queries import Queries

    connection = await asyncpg.connect(dsn)
    await Queries(AsyncpgDriver(connection)).install()
    await connection.execute(DDL)
    await connection.close()


if __name__ == "__main__":
    import uvloop

    uvloop.run(work(os.environ["CEILING_DSN"]))
