"""The clock of the machine jumps back while an execution is under way."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

from models import executions
from models.dal import AsyncDAL
from tests.integration.execution.test_lifecycle import chain
from tests.support.execution import world


class Clock:
    """A clock that can be set."""

    def __init__(self) -> None:
        self.shift = timedelta(0)

    def now(self) -> datetime:
        return datetime.now(UTC) + self.shift


async def test_a_clock_that_jumps_back_neither_stops_an_execution_nor_turns_its_log_around(db: AsyncDAL) -> None:
    clock = Clock()
    async with world(db, now=clock.now) as here:
        await here.register(chain("test.gated", "test.write", "test.write"))
        execution = await here.start()
        await here.until(lambda: here.calls)

        clock.shift = timedelta(hours=-1)
        here.gate.set()
        row = await here.ended(execution)
        times = [entry["at"] for entry in await executions.events_after(db, UUID(execution), -1)]

    assert row.status == "completed"
    assert times == sorted(times)
    assert row.execution_time_seconds >= 0
