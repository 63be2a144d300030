"""Background work: supervised, owned, stopped in order."""

import asyncio
import logging

from services import background
from services.background import Background, Job
from services.metrics import Metrics


async def test_a_job_that_falls_over_is_started_again(monkeypatch, caplog):
    monkeypatch.setattr(background, "FIRST_PAUSE_S", 0.0)
    caplog.set_level(logging.CRITICAL)
    recovered, tries = asyncio.Event(), []

    async def work():
        tries.append(1)
        if len(tries) < 3:
            raise RuntimeError
        recovered.set()

    jobs = Background(Metrics())
    jobs.add(Job(name="shaky", work=work))
    async with jobs.running(stop_limit_s=1), asyncio.timeout(5):
        await recovered.wait()

    assert len(tries) == 3


async def test_a_job_added_while_running_runs():
    ran = asyncio.Event()

    async def work():
        ran.set()

    jobs = Background(Metrics())
    async with jobs.running(stop_limit_s=1), asyncio.timeout(5):
        jobs.add(Job(name="late", work=work))
        await ran.wait()

    assert ran.is_set()


async def test_a_repeating_job_ends_when_it_is_done():
    runs = []
    done = asyncio.Event()

    async def work():
        runs.append(1)
        if len(runs) == 3:
            done.set()

    jobs = Background(Metrics())
    jobs.add(Job(name="thrice", work=work, every_s=0.0, until=done.is_set))
    async with jobs.running(stop_limit_s=1), asyncio.timeout(5):
        await done.wait()

    assert len(runs) == 3


async def test_stops_come_last_added_first_and_before_jobs_are_cancelled():
    order = []
    running = asyncio.Event()

    async def forever():
        running.set()
        try:
            await asyncio.Event().wait()
        finally:
            order.append("cancelled")

    async def stop(name):
        order.append(name)

    jobs = Background(Metrics())
    jobs.add(Job(name="forever", work=forever))
    jobs.on_stop("first", lambda: stop("first"))
    jobs.on_stop("second", lambda: stop("second"))
    async with jobs.running(stop_limit_s=1), asyncio.timeout(5):
        await running.wait()

    assert order == ["second", "first", "cancelled"]


async def test_a_stop_that_hangs_does_not_hold_the_end(caplog):
    caplog.set_level(logging.CRITICAL)

    async def hang():
        await asyncio.Event().wait()

    jobs = Background(Metrics())
    jobs.on_stop("hangs", hang)

    async with asyncio.timeout(5):
        async with jobs.running(stop_limit_s=0.01):
            pass
