"""What insight costs: points per second, state of a series, watches a minute, lag of the event loop while probing.

usage: python -m bench.insight
"""
# ruff: noqa: SLF001 - puts a source of its own inside

from __future__ import annotations

import asyncio
import json
import resource
import tempfile
import time
from datetime import timedelta
from pathlib import Path

import numpy as np

from app import create_app
from config import load
from controllers.context import EXTENSION
from services.access.actor import SYSTEM
from services.access.authentication import utc_now
from services.insight.detectors import textbook
from services.insight.detectors.auto import AutoBank
from services.insight.probes import Question
from services.insight.sources import Fetched
from services.insight.watches import WatchWish

KEY = "k" * 40


def points_per_second() -> None:
    values = np.random.default_rng(1).normal(size=2_000_000)
    for name, method in (("zscore", textbook.zscores), ("ewma", textbook.ewmas)):
        begun = time.perf_counter()
        method(values)
        print(f"{name} batch: {len(values) / (time.perf_counter() - begun):,.0f} points/s")
    for series, steps in ((1, 500), (100, 300), (1000, 150)):
        bank, points = AutoBank(series), np.random.default_rng(2).normal(size=(steps, series))
        begun = time.perf_counter()
        for step in range(steps):
            bank.step(np.full(series, 1.7e9 + 60.0 * step), points[step])
        print(f"auto stream, {series} series: {series * steps / (time.perf_counter() - begun):,.0f} points/s")


def memory() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    bank = AutoBank(100_000)
    bank.step(np.full(100_000, 1.7e9), np.random.default_rng(3).normal(size=100_000))
    for part in bank._parts():
        for name in part.LAYOUT:
            getattr(part, name)[:] = getattr(part, name)  # touch every page
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        f"auto state: {AutoBank.row_bytes()} bytes a series, 100,000 series {AutoBank.row_bytes() / 10:,.0f} MB"
        f" (peak with one step of scratch +{(after - before) / 1024:,.0f} MB)"
    )


class Series:
    """A source in memory: `count` series of `points` points as Prometheus would send them."""

    def __init__(self, count: int) -> None:
        self.count = count

    async def fetch(self, wanted):
        start, rng = wanted.start.timestamp(), np.random.default_rng(4)
        result = [
            {
                "metric": {"__name__": "load", "n": str(n)},
                "values": [
                    [start + wanted.step_s * i, f"{value:.6f}"]
                    for i, value in enumerate(rng.normal(size=wanted.points))
                ],
            }
            for n in range(self.count)
        ]
        return Fetched(source="prometheus", prometheus=json.dumps({"data": {"result": result}}).encode())


async def served() -> None:
    with tempfile.TemporaryDirectory() as folder:
        settings = load({"DATA_DIR": folder, "MILLRACE_ADMIN_KEY": KEY, "PACKS_DIR": str(Path(folder) / "packs")})
        app = create_app(settings, announce=lambda _: None)
        async with app.test_app():
            here = app.extensions[EXTENSION]
            await lag(here)
            await watches(here)


async def lag(here) -> None:
    """Lag of the loop while 100 series of 10,000 points are probed. The answer is made before the clock starts."""
    made = await Series(100).fetch(_wanted(10_000))

    class Ready:
        async def fetch(self, _wanted):
            return made

    here.insight.probes._sources = Ready()
    await here.insight.helper.call("probe", "zscore", Fetched(source="local"))
    lags, stop = [], asyncio.Event()

    async def tick() -> None:
        while not stop.is_set():
            begun = time.perf_counter()
            await asyncio.sleep(0.002)
            lags.append(time.perf_counter() - begun - 0.002)

    async with asyncio.TaskGroup() as group:
        group.create_task(tick())
        begun = time.perf_counter()
        for method in ("zscore", "auto"):
            await here.insight.probes.probe(SYSTEM, Question(query="load", method=method, threshold=50), now=utc_now())
            print(f"probe of 100 x 10,000 points by {method}: {time.perf_counter() - begun:.1f} s")
            begun = time.perf_counter()
        stop.set()
    print(
        f"lag of the event loop meanwhile: p50 {np.quantile(lags, 0.5) * 1e3:.1f} ms, p99 {np.quantile(lags, 0.99) * 1e3:.1f} ms, max {max(lags) * 1e3:.0f} ms"
    )


def _wanted(points):
    from services.insight.sources import Wanted

    now = utc_now()
    return Wanted(query="load", start=now - timedelta(seconds=60 * (points - 1)), end=now, step_s=60, actor=SYSTEM)


async def watches(here) -> None:
    """One turn of 1,000 learned `auto` watches: CPU of server and helper together."""

    class One:
        async def fetch(self, wanted):
            return await Series(1).fetch(wanted)

    watches = here.insight.watches
    watches._sources = One()
    owner = await watches._owner(type("Row", (), {"owner_id": 1, "community_id": None})())
    now = utc_now()
    for _ in range(1000):
        await watches.create(owner, WatchWish(query="load", lookback_minutes=120), now=now + timedelta(days=1))
    first = now + timedelta(days=1, seconds=1)
    while await watches.run_due(first):
        pass
    begun = cpu(here)
    turn = first + timedelta(seconds=60)
    ran = 0
    while count := await watches.run_due(turn):
        ran += count
    used = cpu(here) - begun
    print(f"{ran} watches in one minute's turn: {used:.1f} s of CPU = {used / 60:.0%} of a core (source in memory)")


def cpu(here) -> float:
    own = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
    pid = here.insight.helper.process_id
    if pid is None:
        return own
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return own + (int(fields[11]) + int(fields[12])) / 100


def main() -> None:
    points_per_second()
    memory()
    asyncio.run(served())


if __name__ == "__main__":
    main()
