"""W=history: the run history at a million runs.

`python -m bench.history [sqlite|postgres …] [--runs N]`: fills a database (1,000,000 runs over 500 workflows), then
prints p95 latencies in milliseconds of lists, filters, statistics and keyword search through the services, and how
many runs are logged in a second. There is no ceiling: the bars are absolute, as in docs/reference/benchmarks.md.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from bench.history_rows import END, fill
from bench.report import Figure, report
from models.dal import AsyncDAL, Options, sqlite_url
from models.run_facts import RunFilter, Visible
from models.run_stats import days
from models.runs import WorkflowRuns, page, workflow_page, workflow_total
from models.schema import declare
from services.history.record import Run
from services.history.runs import RunLog
from services.history.search import RunSearch
from services.history.stats import summary
from tests.support.postgres_cluster import PostgresCluster

ROOT = Path(__file__).parents[1]
ASKED = 60
RUNS = 3
EVERYTHING = Visible(everything=True)
MEMBER = Visible(communities=frozenset(range(1, 11)))
BIG = WorkflowRuns(packages=["w0-1.0.0"])
Question = Callable[[int], Awaitable[Any]]


async def p95(ask: Question) -> list[float]:
    """The 95th percentile of the answer times in ms, of three rounds."""
    found = []
    for turn in range(RUNS):
        times = []
        for n in range(ASKED):
            began = time.perf_counter()
            await ask(turn * ASKED + n)
            times.append((time.perf_counter() - began) * 1000)
        found.append(sorted(times)[int(ASKED * 0.95)])
    return found


async def deep(db: AsyncDAL, wanted: WorkflowRuns, rows: int) -> Any:
    """The position so many rows deep in a list."""
    row = await db.sql(
        "SELECT created_at, id FROM workflow_runs WHERE wpk_id = :w ORDER BY created_at DESC, id DESC LIMIT 1 OFFSET :n",
        into=db.workflow_runs, w=wanted.packages[0], n=rows,
    ).first()  # fmt: skip
    return row["created_at"], row["id"]


def filters() -> dict[str, RunFilter]:
    """Every filter alone, and the one combination that has a bar."""
    all_runs = RunFilter(visible=EVERYTHING)
    return {
        "no filter": all_runs,
        "a member of 10 communities": RunFilter(visible=MEMBER),
        "wpk_id": replace(all_runs, wpk_id="w3-1.0.0"),
        "status": replace(all_runs, status="failed"),
        "source": replace(all_runs, source="engine"),
        "since": replace(all_runs, since=END - timedelta(days=2)),
        "until": replace(all_runs, until=END - timedelta(days=20)),
        "min_duration_ms": replace(all_runs, min_duration_ms=20_000),
        "status + wpk_id + since": replace(
            all_runs, status="failed", wpk_id="w3-1.0.0", since=END - timedelta(days=20)
        ),
    }


async def reading(db: AsyncDAL, name: str, count: int) -> bool:
    """Lists, filters, figures, search."""
    ok = True

    async def figure(what: str, bar: float, ask: Question) -> None:
        nonlocal ok
        runs = await p95(ask)
        ok &= report(
            Figure(workload=f"history {name}: {what}", unit="ms p95", runs=runs, bar=bar, smaller_is_better=True)
        )

    await figure("first page of a workflow", 20, lambda _: workflow_page(db, BIG, after=None, skip=0, count=20))
    depth = min(200_000, int(count * 0.3))
    position = await deep(db, BIG, depth)
    await figure(f"page {depth} rows deep", 20, lambda _: workflow_page(db, BIG, after=position, skip=0, count=20))
    await figure("exact total of a workflow", 20, lambda _: workflow_total(db, BIG))
    for what, wanted in filters().items():
        await figure(f"all runs, {what}", 30, lambda _, w=wanted: page(db, w, after=None, count=21))
    since = (END - timedelta(days=30)).date().isoformat()

    async def stats(_: int) -> Any:
        return summary(await days(db, BIG, since=since))

    await figure("stats of 30 days", 20, stats)
    search, rng = RunSearch(db), random.Random(3)
    everything, member = RunFilter(visible=EVERYTHING), RunFilter(visible=MEMBER)
    rare = [f"rare{rng.randrange(max(1, count // 5_000))}" for _ in range(ASKED * RUNS)]
    await figure("keyword, 5,000 hits", 60, lambda n: search.search(rare[n], everything, k=10))
    await figure("keyword, 5,000 hits, a member", 60, lambda n: search.search(rare[n], member, k=10))
    await figure("keyword, a hit in every run", 250, lambda _: search.search("common", everything, k=10))
    return ok


async def writing(db: AsyncDAL, name: str) -> bool:
    """Runs logged in a second: one a request by 64 senders, and in batches of 1,000 by 4."""
    log, ok = RunLog(db, lambda: datetime.now(UTC)), True

    async def rate(senders: int, size: int, seconds: float, tag: str) -> float:
        ends, done = time.perf_counter() + seconds, 0

        async def send(k: int) -> None:
            nonlocal done
            n = 0
            while time.perf_counter() < ends:
                batch = [
                    Run(wpk_id=f"new{(n + i) % 50}", run_id=f"{tag}-{k}-{n + i}", status="completed", duration_ms=5,
                        inputs={"a": 1}, outputs={"text": "logged while measuring"})
                    for i in range(size)
                ]  # fmt: skip
                await log.log(batch, source="langgraph")
                n += size
                done += size

        began = time.perf_counter()
        await asyncio.gather(*(send(k) for k in range(senders)))
        return done / (time.perf_counter() - began)

    for what, senders, size, bar in (
        ("log_run, single", 64, 1, 1_500),
        ("log_run, batches of 1,000", 4, 1_000, 15_000),
    ):
        rates = [await rate(senders, size, 2.0, f"{what}-{turn}") for turn in range(RUNS)]
        ok &= report(Figure(workload=f"history {name}: {what}", unit="runs/s", runs=rates, bar=bar))
    return ok


async def measure(name: str, url: str, count: int) -> bool:
    """One database, filled and measured."""
    async with declare(AsyncDAL(url, Options(statement_timeout_s=600))) as db:
        await db.migrate(ROOT / "migrations")
        began = time.perf_counter()
        await fill(db, url, count)
        report(
            Figure(
                workload=f"history {name}: {count} runs written in bulk", unit="s", runs=[time.perf_counter() - began]
            )
        )
        return bool(await reading(db, name, count) & await writing(db, name))


def main(arguments: list[str]) -> int:
    """Measure the named databases, both without a name; 1 when a bar is missed."""
    parser = argparse.ArgumentParser(prog="bench.history")
    parser.add_argument("databases", nargs="*", choices=["sqlite", "postgres", []], default=[])
    parser.add_argument("--runs", type=int, default=1_000_000)
    asked = parser.parse_args(arguments)
    ok = True
    with tempfile.TemporaryDirectory(prefix="bench-history-") as folder:
        for name in asked.databases or ["sqlite", "postgres"]:
            if name == "sqlite":
                ok &= asyncio.run(measure(name, sqlite_url(Path(folder) / "history.db"), asked.runs))
                continue
            cluster = PostgresCluster()
            try:
                ok &= asyncio.run(measure(name, cluster.dsn(), asked.runs))
            finally:
                cluster.stop()
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
