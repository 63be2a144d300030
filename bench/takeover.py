"""A worker dies in the middle of an execution, or freezes past its lease and comes back: python -m bench takeover [ROUNDS].

A server that only accepts and two workers on PostgreSQL; an execution of sixty calls. One line says how long nobody went
on after `kill -9`, one how long while the worker was stopped (SIGSTOP), one how many results were recorded twice, calls
made with another body, or rows missing from the log.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import tempfile
import time
from pathlib import Path

from bench.report import Figure, report
from tests.crash.crew import Crew, at_work, results
from tests.support.postgres_cluster import PostgresCluster

ROUNDS = 3
INTO = 10
"""Calls that are made before it happens."""
MORE = 2
"""Calls after which somebody else goes on for certain: one may have been under way."""


async def seconds_until_it_goes_on(crew: Crew) -> float:
    """From now to the next calls of the target."""
    began, seen = time.monotonic(), crew.target.total
    await crew.calls(seen + MORE)
    return time.monotonic() - began


async def wrong(crew: Crew, execution: str) -> int:
    """What must not be, once the execution has ended."""
    row, log = await crew.ended(execution), await crew.log(execution)
    doubled = sum(n - 1 for n in results(log).values())
    changed = sum(len(set(bodies)) - 1 for bodies in crew.target.calls.values())
    gaps = sum(entry["seq"] != n for n, entry in enumerate(log))
    return doubled + changed + gaps + (row.status != "completed")


async def killed(folder: Path, dsn: str) -> tuple[float, int]:
    """kill -9 of the worker that drives."""
    async with at_work(folder, dsn) as crew:
        execution = await crew.start()
        await crew.calls(INTO)
        (await crew.driver(execution)).kill()
        return await seconds_until_it_goes_on(crew), await wrong(crew, execution)


async def frozen(folder: Path, dsn: str) -> tuple[float, int]:
    """The worker that drives is stopped until another goes on, then resumed."""
    async with at_work(folder, dsn) as crew:
        execution = await crew.start()
        await crew.calls(INTO)
        driver = await crew.driver(execution)
        driver.signal(signal.SIGSTOP)
        took = await seconds_until_it_goes_on(crew)
        driver.signal(signal.SIGCONT)
        return took, await wrong(crew, execution)


def main(rounds: float = ROUNDS) -> bool:
    """Run it; whether every bar is reached."""
    kills, freezes = [], []
    with tempfile.TemporaryDirectory(prefix="millrace-bench-") as temporary:
        for n in range(int(rounds)):
            for name, scene, found in (("kill", killed, kills), ("freeze", frozen, freezes)):
                cluster = PostgresCluster()
                try:
                    found.append(asyncio.run(scene(Path(temporary) / f"{name}{n}", cluster.dsn())))
                finally:
                    cluster.stop()
    small = {"smaller_is_better": True}
    wrongs = [float(sum(n for _, n in [*kills, *freezes]))]
    reached = [
        report(Figure(workload="takeover after kill -9", unit="s", runs=[s for s, _ in kills], bar=5, **small)),
        report(Figure(workload="takeover of a frozen worker", unit="s", runs=[s for s, _ in freezes], bar=5, **small)),
        report(Figure(workload="takeover: doubled, changed or lost", unit="effects", runs=wrongs, bar=0, **small)),
    ]
    return all(reached)


if __name__ == "__main__":
    sys.exit(0 if main(*map(float, sys.argv[1:2])) else 1)
