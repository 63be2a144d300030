"""Background work of the server: every task has an owner, and what falls over is started again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from models.dal import Unavailable as DatabaseUnavailable
from services.errors import Unavailable
from services.metrics import Metrics

log = logging.getLogger("millrace.background")
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 5.0
Work = Callable[[], Awaitable[object]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Work with a name. `every_s`: pause between two runs; None = it runs once. `until`: when to stop repeating."""

    name: str
    work: Work
    every_s: float | None = None
    until: Callable[[], bool] = lambda: False


class Background:
    """Owns the jobs of one process. Jobs are added before it runs, or while it does."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._jobs: list[Job] = []
        self._stops: list[tuple[str, Work]] = []
        self._group: asyncio.TaskGroup | None = None
        self._tasks: list[asyncio.Task[None]] = []

    def add(self, job: Job) -> None:
        """Own a job."""
        self._jobs.append(job)
        if self._group is not None:
            self._start(self._group, job)

    def keep(self, *names: str) -> None:
        """Forget every job but these."""
        self._jobs = [job for job in self._jobs if job.name in names]

    def on_stop(self, name: str, work: Work) -> None:
        """Something to do before the jobs are cancelled; the last added comes first."""
        self._stops.append((name, work))

    @asynccontextmanager
    async def running(self, *, stop_limit_s: float) -> AsyncIterator[None]:
        """Run every job; at the end the stops, within `stop_limit_s` altogether, then cancel what still runs."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            for job in self._jobs:
                self._start(group, job)
            try:
                yield
            finally:
                await self._stop(stop_limit_s)
                self._group = None
                for task in self._tasks:
                    task.cancel()

    def _start(self, group: asyncio.TaskGroup, job: Job) -> None:
        self._tasks.append(group.create_task(self._supervise(job), name=f"millrace:{job.name}"))

    async def _supervise(self, job: Job) -> None:
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                await job.work()
            except Exception as error:  # noqa: BLE001 - the worker loop: whatever fell over is started again
                self._report(job, error, pause_s)
                await asyncio.sleep(pause_s)
                pause_s = min(LONGEST_PAUSE_S, pause_s * 2)
                continue
            if job.every_s is None or job.until():
                return
            pause_s = FIRST_PAUSE_S
            await asyncio.sleep(job.every_s)

    def _report(self, job: Job, error: Exception, pause_s: float) -> None:
        self._metrics.restarts.labels(job.name).inc()
        if isinstance(error, (DatabaseUnavailable, Unavailable)):
            log.warning("background.waiting job=%s error=%s again_in_s=%g", job.name, error, pause_s)
        else:
            log.error("background.failed job=%s again_in_s=%g", job.name, pause_s, exc_info=error)

    async def _stop(self, limit_s: float) -> None:
        try:
            async with asyncio.timeout(limit_s):
                for name, work in reversed(self._stops):
                    await self._stop_one(name, work)
        except TimeoutError:
            log.warning("background.cut_off after_s=%g", limit_s)

    async def _stop_one(self, name: str, work: Work) -> None:
        try:
            await work()
        except Exception:
            log.exception("background.stop_failed what=%s", name)
