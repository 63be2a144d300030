from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from models.dal import AsyncDAL
from models.journal import Unit, Written, write_postgres, write_sqlite
from models.journal_at_once import AtOnce
from models.journal_statements import COUNT_DAYS, FINISH, OUTBOX, PARK, REMEMBER_KEY, RUN, RUN_COUNT, START, WAKE
from models.records import uuid7

Write = Callable[..., Awaitable[list[Written]]]

AT = datetime(2026, 1, 1, tzinfo=UTC)
ME = str(uuid7())
OTHER = str(uuid7())


def event(execution: str, seq: int, driver: str | None = ME, text: str = "[]") -> Unit:
    return Unit((execution, seq, driver, 1, 1, text, AT))


def start(execution: str) -> Unit:
    unit = event(execution, 0)
    workflow, version = str(uuid7()), str(uuid7())
    unit.add(
        START, execution, workflow, "p.w", "1", "w-1", version, None, "running", AT, None, None, 1, None, 1, None,
        {"a": [1]}, None, 1, ME, 1, None, None,
    )  # fmt: skip
    return unit


@pytest.fixture(params=["sqlite", "postgres", "postgres at once"])
def way(request: pytest.FixtureRequest) -> str:
    """PostgreSQL writes a round step by step, or what fits as one statement: all ways have to do the same."""
    return str(request.param)


@pytest.fixture
def database_engine(way: str) -> str:
    """The database of the way."""
    return way.split(maxsplit=1)[0]


@pytest.fixture
def lane(db: AsyncDAL, way: str) -> Any:
    """The journal's lane."""
    single = AtOnce() if way == "postgres at once" else None
    return db.grouped(sqlite=write_sqlite, postgres=write_postgres, single=single)


@pytest.fixture
def write(lane: Any) -> Write:
    """Writes units as one round."""

    async def written(*units: Unit) -> list[Written]:
        return list(await asyncio.gather(*(lane.submit(unit) for unit in units)))

    return written


async def rows(db: AsyncDAL, execution: str) -> list[Any]:
    found = await db(db.execution_event.execution_id == UUID(execution)).select(
        db.execution_event.seq, db.execution_event.events, orderby=db.execution_event.seq
    )
    return [(row.seq, row.events) for row in found]


async def test_many_starts_share_a_round(db: AsyncDAL, write: Write) -> None:
    ids = [str(uuid7()) for _ in range(150)]

    written = await write(*(start(id_) for id_ in ids))

    assert all(w.committed for w in written)
    assert await db(db.workflow_executions).count() == 150
    row = await db.workflow_executions(UUID(ids[0]))
    assert (row.metadata, row.driver, row.start_time) == ({"a": [1]}, UUID(ME), AT)


async def test_a_taken_place_refuses_one_row_and_harms_no_neighbour(db: AsyncDAL, write: Write) -> None:
    first, second = str(uuid7()), str(uuid7())
    await write(event(first, 1, OTHER, '["theirs"]'))
    late = event(first, 1, ME, '["mine"]')
    late.add(RUN_COUNT, "w-1", 0, "completed", 1)

    written = await write(event(second, 1), late, event(second, 2))

    assert [w.committed for w in written] == [True, False, True]
    assert await rows(db, first) == [(1, '["theirs"]')]
    assert await db(db.run_count).count() == 0


async def test_of_two_rows_for_one_place_exactly_one_is_written(write: Write) -> None:
    execution = str(uuid7())

    written = await write(event(execution, 1, ME), event(execution, 1, OTHER))

    assert sorted(w.committed for w in written) == [False, True]


async def test_counters_are_summed_per_round(db: AsyncDAL, write: Write) -> None:
    units = [event(str(uuid7()), 1) for _ in range(40)]
    for unit in units:
        unit.add(RUN_COUNT, "w-1", 0, "completed", 1)

    await write(*units)

    row = await db(db.run_count).select(db.run_count.runs).first()
    assert row.runs == 40


async def test_parking_fails_when_something_woke_the_execution_meanwhile(db: AsyncDAL, write: Write) -> None:
    calm, woken = str(uuid7()), str(uuid7())
    await write(start(calm), start(woken))
    ring = event(woken, 1, None)
    ring.add(WAKE, woken, AT)
    [rung] = await write(ring)
    units = [event(calm, 1), event(woken, 2)]
    for unit in units:
        unit.add(PARK, unit.event[0], 1, 0, AT, [{"kind": "timer"}, {"kind": "retry"}], "running", 1)

    written = await write(*units)

    assert rung.woken == ((woken, ME),)
    assert [w.parked for w in written] == [True, False]
    parked = await db.workflow_executions(UUID(calm))
    assert (parked.driver, parked.waiting_for) == (None, [{"kind": "timer"}, {"kind": "retry"}])
    assert (await db.workflow_executions(UUID(woken))).driver == UUID(ME)


async def test_waking_a_parked_execution_makes_it_due(db: AsyncDAL, write: Write) -> None:
    execution = str(uuid7())
    await write(start(execution))
    park = event(execution, 1)
    park.add(PARK, execution, 1, 0, None, None, "running", 1)
    await write(park)
    ring = event(execution, 2, None)
    ring.add(WAKE, execution, AT)

    [rung] = await write(ring)

    assert rung.woken == ((execution, None),)
    assert (await db.workflow_executions(UUID(execution))).wake_at == AT


async def test_an_idempotency_key_lets_one_of_two_starts_through(db: AsyncDAL, write: Write) -> None:
    units = [start(str(uuid7())) for _ in range(2)]
    for unit in units:
        unit.guards.append((REMEMBER_KEY, (1, "k", "POST /x", "hash", unit.event[0], AT)))

    written = await write(*units)

    assert sorted(w.committed for w in written) == [False, True]
    assert {w.refused_by for w in written} == {None, "remember_key"}
    assert await db(db.workflow_executions).count() == 1
    assert await db(db.execution_event).count() == 1


async def test_a_row_that_cannot_be_written_does_not_take_the_round_with_it(lane: Any) -> None:
    bad = event(str(uuid7()), 1)
    bad.add(WAKE, str(uuid7()), AT)
    broken = event(str(uuid7()), 1, text=None)  # type: ignore[arg-type]
    good = event(str(uuid7()), 1)

    results = await asyncio.gather(*(lane.submit(u) for u in (bad, broken, good)), return_exceptions=True)

    assert [isinstance(r, Exception) for r in results] == [False, True, False]


async def test_an_execution_that_ends_leaves_everything_in_one_round(db: AsyncDAL, write: Write) -> None:
    execution, parked = str(uuid7()), str(uuid7())
    await write(start(execution), start(parked))
    last, waits = event(execution, 1), event(parked, 1)
    last.add(FINISH, execution, "completed", AT, 0.5, 3, None, None, None, {"n": 1})
    last.add(RUN, execution, "w-1", "completed", 500, AT, AT, None, None, "1", None)
    last.add(OUTBOX, execution, "index", execution, AT)
    last.add(COUNT_DAYS, "w-1", 0, "2026-01-01", "completed", 1, 500)
    waits.add(PARK, parked, 1, 0, None, [{"kind": "inquiry"}], "running", 1)

    written = await write(last, waits, event(str(uuid7()), 1))

    assert [(w.committed, w.parked) for w in written] == [(True, False), (True, True), (True, False)]
    ended = await db.workflow_executions(UUID(execution))
    assert (ended.status, ended.final_output, ended.driver) == ("completed", {"n": 1}, None)
    assert [await db(table).count() for table in (db.workflow_runs, db.outbox, db.workflow_daily)] == [1, 1, 1]


async def test_a_start_that_ends_at_once_is_ended(db: AsyncDAL, write: Write) -> None:
    execution = str(uuid7())
    unit = start(execution)
    unit.add(FINISH, execution, "completed", AT, 0.0, 0, None, None, None, None)

    [written] = await write(unit)

    assert written.committed
    assert (await db.workflow_executions(UUID(execution))).ended_at == AT
