"""W1 on PostgreSQL through PgQueuer: one process answers, one drives, the database beside them on the same machine.

Three figures: executions completed per second for 32 clients that wait, start to finish on an idle system, and how
fast a backlog is driven that was accepted while no worker was there. The ceiling is the prototype of the same shape
(`ceiling_w1pg.py`: bare Quart, a row and a job in one commit, three steps one by one, NOTIFY), in turns with us.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg

from bench import ceiling_w1pg
from bench.processes import Load, post, product, wrk
from bench.report import Figure, report
from tests.support.postgres_cluster import PostgresCluster

SECONDS = 5
ROUNDS = 3
BACKLOG = 4_000
IDLE = 40
EXECUTE = "/api/v1/workflows/bench.chain3/execute"
BODY = '{"variables": {"x": 1}}'


@contextmanager
def database() -> Iterator[str]:
    """A server of our own with a database in it."""
    cluster = PostgresCluster()
    try:
        yield cluster.dsn()
    finally:
        cluster.stop()


def closed_loop(folder: Path, seconds: int) -> tuple[Load, float]:
    """32 clients that wait; then one at a time on the idle system: milliseconds at the median."""
    folder.mkdir()
    with (
        database() as dsn,
        product(folder, "api", POSTGRES_DSN=dsn) as api,
        product(folder, "worker", POSTGRES_DSN=dsn),
    ):
        url = f"{api.url}{EXECUTE}?wait=30"
        wrk(url, BODY, seconds=1, folder=folder)
        load = wrk(url, BODY, seconds=seconds, folder=folder)
        took = []
        for _ in range(IDLE):
            began = time.perf_counter()
            post(url, {"variables": {"x": 1}})
            took.append((time.perf_counter() - began) * 1000)
            time.sleep(0.05)
        return load, statistics.median(took)


def backlog(folder: Path) -> float:
    """Executions per second from the first end to the last, after `BACKLOG` were accepted with nobody to drive."""
    folder.mkdir()
    with database() as dsn, product(folder, "api", POSTGRES_DSN=dsn) as api:
        accepted = 0
        while accepted < BACKLOG:
            accepted += round(wrk(api.url + EXECUTE, BODY, seconds=2, folder=folder).per_s * 2)
        with product(folder, "worker", POSTGRES_DSN=dsn):
            return asyncio.run(_drained(dsn))


async def _drained(dsn: str) -> float:
    connection = await asyncpg.connect(dsn)
    sql = "SELECT count(*) FILTER (WHERE ended_at IS NULL), min(ended_at), max(ended_at), count(ended_at)"
    try:
        while True:
            left, first, last, ended = await connection.fetchrow(sql + " FROM workflow_executions")
            if not left:
                return float(ended / (last - first).total_seconds())
            await asyncio.sleep(0.25)
    finally:
        await connection.close()


def main(rounds: int = ROUNDS, seconds: int = SECONDS) -> bool:
    """Run it; whether every bar is reached."""
    loads, idle, drained, ceilings = [], [], [], []
    with tempfile.TemporaryDirectory(prefix="millrace-bench-") as temporary:
        for n in range(rounds):
            with database() as dsn:
                ceilings.append(ceiling_w1pg.measured(dsn, Path(temporary), seconds))
            load, idle_ms = closed_loop(Path(temporary) / f"loop{n}", seconds)
            loads.append(load)
            idle.append(idle_ms)
            drained.append(backlog(Path(temporary) / f"backlog{n}"))
    rate = [load.per_s for load in loads]
    bad = [float(load.bad) for load in loads]
    slow = {"unit": "ms", "smaller_is_better": True}
    reached = [
        report(Figure(workload="W1pg", unit="executions/s", runs=rate, bar=1000)),
        report(Figure(workload="W1pg of the ceiling", unit="executions/s", runs=rate, ceilings=ceilings)),
        report(Figure(workload="W1pg idle start to finish, p50", runs=idle, bar=20, **slow)),
        report(Figure(workload="W1pg backlog", unit="executions/s", runs=drained, bar=2500)),
        report(Figure(workload="W1pg errors", unit="answers", runs=bad, bar=0, smaller_is_better=True)),
    ]
    return all(reached)
