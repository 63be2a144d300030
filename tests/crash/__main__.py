"""`python -m tests.crash --seed N --seconds S --executions N --engine postgres|sqlite`: the long storm."""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson

from tests.crash.callee import Callee
from tests.crash.fleet import fleet
from tests.crash.shapes import write_pack
from tests.crash.storm import Plan, Store, Storm, verdict
from tests.support.postgres_cluster import PostgresCluster


@asynccontextmanager
async def brewing(plan: Plan, engine: str, folder: Path) -> AsyncIterator[Storm]:
    """A storm over a server and two workers on PostgreSQL, or over one process on SQLite."""
    write_pack(folder / "packs")
    cluster = PostgresCluster() if engine == "postgres" else None
    callee = Callee()
    dsn = cluster.dsn() if cluster else None
    try:
        with fleet(folder, {"POSTGRES_DSN": dsn} if dsn else {}) as processes:
            server = await asyncio.to_thread(processes.serve(*(["--no-worker"] if dsn else [])).wait_until_up)
            for _ in range(2 if dsn else 0):
                await asyncio.to_thread(processes.worker().wait_until_up)
            storm = Storm(plan, processes, callee, Store(dsn, folder / "millrace.db"), cluster, server)
            async with storm.client:
                yield storm
    finally:
        callee.close()
        if cluster is not None:
            cluster.stop()


async def weathered(plan: Plan, engine: str) -> dict[str, Any]:
    """Run a storm and say what came of it; the counts."""
    with tempfile.TemporaryDirectory(prefix="millrace-storm-") as folder:
        async with brewing(plan, engine, Path(folder)) as storm:
            await storm.run()
            problems, counts = await verdict(storm)
    for problem in problems[:50]:
        print("PROBLEM", problem)
    print(orjson.dumps({"storm": engine, **counts}).decode(), flush=True)
    return counts


def main() -> None:
    """Both engines, or the one that is asked for. The last line is the summary."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash")
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--executions", type=int, default=2000)
    parser.add_argument("--engine", choices=["postgres", "sqlite"], action="append")
    chosen = parser.parse_args()
    plan = Plan(seed=chosen.seed, seconds=chosen.seconds, executions=chosen.executions)
    counts = {engine: asyncio.run(weathered(plan, engine)) for engine in chosen.engine or ["postgres", "sqlite"]}
    problems = sum(found["problems"] for found in counts.values())
    accepted = sum(found["accepted"] for found in counts.values())
    summary = {"storm": "summary", "seed": plan.seed, "seconds": plan.seconds, "accepted": accepted}
    print(orjson.dumps({**summary, "problems": problems, "ok": not problems, "engines": counts}).decode(), flush=True)
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
