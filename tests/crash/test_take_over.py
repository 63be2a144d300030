"""A worker dies, or freezes and comes back, while it drives an execution; another one goes on (PostgreSQL)."""

from __future__ import annotations

import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.crash.crew import Crew, at_work, claims, results

pytestmark = [pytest.mark.crash, pytest.mark.timeout(180)]

TAKE_OVER_S = 5.0


@pytest.fixture
def database_engine() -> str:
    """One SQLite file has one driver; taking over is PostgreSQL's."""
    return "postgres"


@pytest.fixture
async def crew(tmp_path: Path, database_url: str) -> AsyncIterator[Crew]:
    async with at_work(tmp_path, database_url) as made:
        yield made


async def test_another_worker_goes_on_when_one_is_killed(crew: Crew) -> None:
    execution = await crew.start()
    await crew.calls(10)

    (await crew.driver(execution)).kill()
    killed_at, seen = time.monotonic(), crew.target.total
    await crew.calls(seen + 2)
    taken_over_s = time.monotonic() - killed_at
    row = await crew.ended(execution)

    log = await crew.log(execution)
    assert row.status == "completed"
    assert taken_over_s < TAKE_OVER_S
    assert [entry["seq"] for entry in log] == list(range(len(log)))
    assert set(results(log).values()) == {1}
    assert claims(log) == 1
    assert all(len(set(bodies)) == 1 and len(bodies) <= 2 for bodies in crew.target.calls.values())
    assert sum(len(bodies) - 1 for bodies in crew.target.calls.values()) <= 1


async def test_a_worker_that_was_frozen_finds_that_it_lost_its_lease(crew: Crew) -> None:
    execution = await crew.start()
    await crew.calls(10)
    frozen = await crew.driver(execution)

    frozen.signal(signal.SIGSTOP)
    await crew.calls(crew.target.total + 3)
    frozen.signal(signal.SIGCONT)
    row = await crew.ended(execution)

    log = await crew.log(execution)
    assert row.status == "completed"
    assert [entry["seq"] for entry in log] == list(range(len(log)))
    assert set(results(log).values()) == {1}
    assert claims(log) == 1
    assert all(len(set(bodies)) == 1 for bodies in crew.target.calls.values())


async def test_a_request_reaches_the_worker_that_drives(crew: Crew) -> None:
    execution = await crew.start()
    await crew.calls(5)

    began = time.monotonic()
    answer = await crew.client.post(f"/api/v1/workflows/executions/{execution}/cancel")
    row = await crew.ended(execution)

    assert answer.status_code == 200
    assert row.status == "cancelled"
    assert time.monotonic() - began < 2.0
