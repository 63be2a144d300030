"""A row of a log that cannot be read: its execution is set aside where people see it, and the others go on."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from models.dal import AsyncDAL
from tests.integration.execution.test_lifecycle import chain, crash
from tests.support.execution import ADMIN, World, build, now, specs, world

ROW = "SELECT events FROM execution_event WHERE execution_id = :id AND seq = 0"
WRITE = "UPDATE execution_event SET events = :text WHERE execution_id = :id AND seq = 0"
DUE = "UPDATE workflow_executions SET wake_at = :at WHERE execution_id = :id"


async def two_left_behind(db: AsyncDAL) -> list[str]:
    """Two executions in the middle of an action, whose driver is gone."""
    first = build(db)
    await first.registry.start()
    first.execution.needs.catalogue.add(specs())
    await first.execution.start()
    await first.register(chain("test.gated", "test.write"))
    started = [await first.start(), await first.start()]
    await first.until(lambda: len(first.calls) == 2)
    await crash(first)
    return started


async def set_aside(here: World, execution_id: str) -> None:
    async def is_aside() -> bool:
        row = await here.execution.library.row(execution_id)
        return row.takeovers > 0 and row.driver is None

    await here.until(is_aside)


async def test_an_execution_whose_log_cannot_be_read_harms_no_other_and_goes_on_once_it_is_repaired(
    db: AsyncDAL,
) -> None:
    broken, sound = await two_left_behind(db)
    [kept] = await db.sql(ROW, into=db.execution_event, id=UUID(broken))
    await db.sql(WRITE, into=db.execution_event, id=UUID(broken), text='[{"e": "nonsense"}]')

    async with world(db) as here:
        here.gate.set()
        other = await here.ended(sound)
        await set_aside(here, broken)
        aside = await here.execution.library.row(broken)
        again = await here.run()
        await db.sql(WRITE, into=db.execution_event, id=UUID(broken), text=kept["events"])
        await db.sql(DUE, into=db.workflow_executions, id=UUID(broken), at=now())
        repaired = await here.ended(broken)

    assert (other.status, again.status, repaired.status) == ("completed", "completed", "completed")
    assert (aside.status, aside.ended_at) == ("running", None)
    assert "cannot be driven now" in aside.error_message
    assert "nonsense" in aside.error_message
    assert repaired.error_message is None


async def test_it_is_tried_again_less_and_less_often(db: AsyncDAL) -> None:
    broken, _ = await two_left_behind(db)
    await db.sql(WRITE, into=db.execution_event, id=UUID(broken), text='[{"e": "nonsense"}]')
    await db.sql(
        "UPDATE workflow_executions SET takeovers = 20 WHERE execution_id = :id",
        into=db.workflow_executions,
        id=UUID(broken),
    )

    async with world(db) as here:
        here.gate.set()

        async def is_aside() -> bool:
            return bool((await here.execution.library.row(broken)).takeovers > 20)

        await here.until(is_aside)
        row = await here.execution.library.row(broken)
        page = await here.execution.lifecycle.row(broken, by=ADMIN)

    assert row.wake_at - now() > timedelta(minutes=10)
    assert row.wake_at - now() < timedelta(minutes=16)
    assert "cannot be driven now" in page.error_message
