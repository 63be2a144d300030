"""An execution that brings its drivers down is given up after three of them, and only when it got no further."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from models.dal import AsyncDAL
from models.operator_lists import QUARANTINED
from models.records import uuid7
from services.execution.dispatch.rules import Rules
from tests.support.execution import World, world

STUCK = {"tasks": [{"name": "a", "action": "test.gated"}]}
THEN_RESTS = {"tasks": [{"name": "a", "action": "test.gated"}, {"name": "b", "wait": {"seconds": 600}}]}


async def accepted(db: AsyncDAL, definition: dict[str, Any]) -> str:
    """An execution that nobody has driven yet."""
    async with world(db, rules=Rules(drives=False)) as api:
        await api.register(definition)
        return await api.start()


async def dies(db: AsyncDAL, execution: str) -> None:
    """Its driver is gone and has handed nothing back."""
    await db.sql(
        "UPDATE workflow_executions SET driver = :dead, wake_at = NULL WHERE execution_id = :id AND ended_at IS NULL",
        dead=uuid7(),
        id=UUID(execution),
    )


async def row_of(here: World, execution: str) -> Any:
    return await here.execution.library.row(execution)


async def taken_over(db: AsyncDAL, execution: str, *, go_on: bool = False) -> Any:
    """A worker takes it over; `go_on`: and performs its action before it dies, too."""
    await dies(db, execution)
    async with world(db) as here:
        before = (await row_of(here, execution)).epoch

        async def is_taken() -> bool:
            row = await row_of(here, execution)
            return row.ended_at is not None or (row.epoch > before and bool(here.calls))

        await here.until(is_taken)
        if go_on:
            here.gate.set()

            async def rests() -> bool:
                return (await row_of(here, execution)).waiting_for is not None

            await here.until(rests)
        return await row_of(here, execution)


async def test_the_third_take_over_without_progress_is_the_last(db: AsyncDAL) -> None:
    execution = await accepted(db, STUCK)

    rows = [await taken_over(db, execution) for _ in range(3)]
    listed = await db.sql(f"SELECT execution_id FROM workflow_executions WHERE {QUARANTINED}")

    assert [row.takeovers for row in rows[:2]] == [1, 2]
    assert [row.status for row in rows] == ["running", "running", "failed"]
    assert rows[2].error_type == "interrupted"
    assert "3 workers ended while driving" in rows[2].error_message
    assert [str(found["execution_id"]) for found in listed] == [execution]


async def test_progress_makes_the_count_begin_anew(db: AsyncDAL) -> None:
    execution = await accepted(db, THEN_RESTS)
    before = [await taken_over(db, execution), await taken_over(db, execution, go_on=True)]

    await dies(db, execution)
    async with world(db) as here:

        async def is_taken() -> bool:
            return (await row_of(here, execution)).driver is None

        await here.until(is_taken)
        after = await row_of(here, execution)

    assert [row.takeovers for row in before] == [1, 2]
    assert after.takeovers == 1
    assert after.status == "running"
