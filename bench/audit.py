"""Whether the sealer of the audit record keeps up: mutations at a fixed rate on one side, the chain on the other.

python -m bench.audit [SECONDS]     per database one line: rows sealed per second of sealing, beside 2,000 mutations/s,
                                    and one: how old a row at most is that a round of sealing left behind, in seconds

The sealer works as in the server: in rounds, once a second, rows of at least one second of age.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from bench.report import Figure, report
from models.dal import AsyncDAL, Options, sqlite_url
from models.schema import declare
from services.access.audit import AuditLog, Category, Entry, Result
from services.access.authentication import utc_now
from services.access.sealer import SETTLE, Sealer
from tests.support.postgres_cluster import PostgresCluster

RATE = 2_000
WRITERS = 32
ROUNDS = 3
EVERY_S = 1.0
MIGRATIONS = Path(__file__).parents[1] / "migrations"


@dataclass
class Tally:
    """What happened in one round."""

    written: int = 0
    sealed: int = 0
    sealing_s: float = 0.0
    writing_s: float = 0.0
    lag_s: list[float] = field(default_factory=list)


async def mutate(audit: AuditLog, tally: Tally, until: float) -> None:
    """Mutations as they come over HTTP, each awaited: this writer's share of the rate."""
    due = time.perf_counter()
    while due < until:
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        entry = Entry(category=Category.AUDIT, action="bench", result=Result.SUCCESS, details={"n": tally.written})
        await audit.call(entry)
        tally.written += 1
        due += WRITERS / RATE


async def seal(sealer: Sealer, tally: Tally, until: float) -> None:
    """The sealer's job."""
    while time.perf_counter() < until:
        await asyncio.sleep(EVERY_S)
        began = time.perf_counter()
        tally.sealed += await sealer.seal()
        tally.sealing_s += time.perf_counter() - began
        tally.lag_s.append(SETTLE.total_seconds() + time.perf_counter() - began)


async def one_round(url: str, seconds: float) -> Tally:
    """Write and seal beside each other on a fresh database; the chain is verified in the end."""
    async with declare(AsyncDAL(url, Options(pool_size=8))) as db:
        await db.migrate(MIGRATIONS)
        audit, sealer, tally = AuditLog(db, now=utc_now), Sealer(db, now=utc_now), Tally()
        tally.writing_s, began = seconds, time.perf_counter()
        async with asyncio.TaskGroup() as tasks:
            for _ in range(WRITERS):
                tasks.create_task(mutate(audit, tally, began + seconds))
            tasks.create_task(seal(sealer, tally, began + seconds))
        await sealer.seal(settle=timedelta(0))
        chain = await sealer.verify()
        if not chain.intact or chain.sealed != tally.written:
            raise SystemExit(f"the chain is broken: {chain}")
    return tally


def figures(database: str, tallies: list[Tally]) -> bool:
    """Report; whether the bars are reached."""
    rates = [tally.sealed / tally.sealing_s for tally in tallies]
    unit = f"rows/s beside {min(tally.written / tally.writing_s for tally in tallies):.0f} mutations/s"
    lags = [max(tally.lag_s) for tally in tallies]
    kept_up = report(Figure(workload=f"audit sealing, {database}", unit=unit, runs=rates, bar=RATE))
    waits = Figure(
        workload=f"audit tail, {database}", unit="s", runs=lags, bar=SETTLE.total_seconds() + 1, smaller_is_better=True
    )
    return report(waits) and kept_up


def main(seconds: float = 4.0) -> bool:
    """Both databases; whether every bar is reached."""
    results = []
    folder = Path(tempfile.mkdtemp(prefix="millrace-bench-"))
    cluster = PostgresCluster()
    try:
        for database in ("sqlite", "postgres"):
            tallies = []
            for number in range(ROUNDS):
                url = sqlite_url(folder / f"{number}.db")
                if database == "postgres":
                    asyncio.run(_create(cluster.dsn(), f"round{number}"))
                    url = cluster.dsn(f"round{number}")
                tallies.append(asyncio.run(one_round(url, seconds)))
            results.append(figures(database, tallies))
    finally:
        cluster.stop()
        shutil.rmtree(folder)
    return all(results)


async def _create(dsn: str, name: str) -> None:
    import asyncpg

    connection = await asyncpg.connect(dsn)
    await connection.execute(f'CREATE DATABASE "{name}"')
    await connection.close()


if __name__ == "__main__":
    sys.exit(0 if main(*map(float, sys.argv[1:2])) else 1)
