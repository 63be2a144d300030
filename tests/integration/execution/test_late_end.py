"""A driver that lost its lease may still end its execution, after somebody else has claimed it or is about to fail it.

The row that the others have read says "running", the log says "finished": what has ended stays as it is, and counts once.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from models.dal import AsyncDAL
from models.records import uuid7
from services.errors import BadRequest
from services.execution.operator import Operator
from tests.support.execution import ADMIN, World, world

GATED = {"tasks": [{"name": "a", "action": "test.gated"}]}
AS_READ_BEFORE = (
    "UPDATE workflow_executions SET ended_at = NULL, driver = :dead, takeovers = :takeovers, takeover_seq = 99"
)


LEFT = {
    "log": "SELECT count(*) AS n FROM execution_event",
    "history": "SELECT count(*) AS n FROM workflow_runs",
    "total_runs": "SELECT sum(total_runs) AS n FROM workflow",
    "run_count": "SELECT sum(runs) AS n FROM run_count",
    "workflow_daily": "SELECT sum(runs) AS n FROM workflow_daily",
}


async def left_behind(db: AsyncDAL) -> dict[str, int]:
    """How many rows an execution has left behind, and how often it was counted."""
    return {name: int(await db.sql(sql).scalar()) for name, sql in LEFT.items()}


@pytest.mark.parametrize("takeovers", [0, 9], ids=["taken over", "given up"])
async def test_who_claims_an_execution_that_has_just_ended_writes_nothing(db: AsyncDAL, takeovers: int) -> None:
    async with world(db) as here:
        here.gate.set()
        await here.register(GATED)
        execution = str((await here.run()).execution_id)
        before = await left_behind(db)
    await db.sql(AS_READ_BEFORE, dead=uuid7(), takeovers=takeovers)

    async with world(db) as here:

        async def is_taken() -> bool:
            row = await here.execution.library.row(execution)
            return row.epoch > 1 and here.execution.driving == 0

        await here.until(is_taken)

    assert await left_behind(db) == before
    assert {before[name] for name in LEFT if name != "log"} == {1}


@pytest.mark.parametrize("readable", [True, False], ids=["readable", "unreadable"])
async def test_who_fails_an_execution_that_has_just_ended_is_told_so(db: AsyncDAL, readable: bool) -> None:
    async with world(db) as here:
        here.gate.set()
        await here.register(GATED)
        execution = str((await here.run()).execution_id)
        if not readable:
            events = db.execution_event
            await db((events.execution_id == UUID(execution)) & (events.seq == 0)).update(events='[{"no": "event"}]')
        before = await left_behind(db)

        with pytest.raises(BadRequest, match="already ended as completed"):
            await Operator(_LateReader(here)).fail(execution, reason=None, by=ADMIN)  # type: ignore[arg-type]

    assert await left_behind(db) == before


class _LateReader:
    """A lifecycle that read the row just before the execution ended."""

    def __init__(self, here: World) -> None:
        self._real = here.execution.lifecycle
        self._is_first = True

    async def row(self, execution_id: str, **more: Any) -> Any:
        """The row as it was, the first time."""
        row = await self._real.row(execution_id, **more)
        first, self._is_first = self._is_first, False
        return replace(row, ended_at=None) if first else row

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)
