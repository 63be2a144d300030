"""Rounds: many members, one transaction, an outcome for each."""

from __future__ import annotations

import asyncio

import pytest

from models.dal import Duplicate, Stale

SQLITE = "INSERT INTO step (workflow, name) VALUES (?, ?) ON CONFLICT DO NOTHING"
POSTGRES = (
    "INSERT INTO step (workflow, name) SELECT * FROM unnest($1::uuid[], $2::text[]) ON CONFLICT DO NOTHING"
    " RETURNING name"
)


def journal(db, key, rounds, limit=256):
    """Append names under one workflow; a taken name is stale, the name 'bad' breaks its round."""

    def sqlite(round_, names):
        rounds.append(len(names))
        if "bad" in names:
            round_.change("INSERT INTO step (workflow, name) VALUES (?, 'left over')", (str(key),))
            raise KeyError("bad")
        counts = round_.each(SQLITE, [(str(key), name) for name in names])
        return [name if count else Stale(expected=1, found=0) for name, count in zip(names, counts, strict=True)]

    async def postgres(connection, names):
        rounds.append(len(names))
        if "bad" in names:
            await connection.execute("INSERT INTO step (workflow, name) VALUES ($1, 'left over')", key)
            raise KeyError("bad")
        fresh = {row["name"] for row in await connection.fetch(POSTGRES, [key] * len(names), names)}
        return [name if name in fresh else Stale(expected=1, found=0) for name in names]

    return db.grouped(sqlite=sqlite, postgres=postgres, limit=limit)


async def names_of(db):
    return {row.name for row in await db(db.step).select(db.step.name)}


@pytest.fixture
async def key(small):
    return await small.workflow.insert(ref="J", returning=[small.workflow.id]).scalar()


async def test_members_that_wait_together_share_a_round(small, key):
    rounds: list[int] = []
    lane = journal(small, key, rounds)

    outcomes = await asyncio.gather(*[lane.submit(str(i)) for i in range(50)])

    assert outcomes == [str(i) for i in range(50)]
    assert len(rounds) <= 3
    assert await names_of(small) == set(outcomes)


async def test_one_stale_member_never_harms_its_neighbours(small, key):
    lane = journal(small, key, [])
    await lane.submit("3")

    outcomes = await asyncio.gather(*[lane.submit(str(i)) for i in range(6)], return_exceptions=True)

    assert [type(outcome) for outcome in outcomes] == [str, str, str, Stale, str, str]
    assert await names_of(small) == {"0", "1", "2", "3", "4", "5"}


async def test_an_error_repeats_the_round_with_each_member_alone(small, key):
    lane = journal(small, key, [])

    outcomes = await asyncio.gather(*[lane.submit(n) for n in ("a", "bad", "b")], return_exceptions=True)

    assert [outcomes[0], type(outcomes[1]), outcomes[2]] == ["a", KeyError, "b"]
    assert await names_of(small) == {"a", "b"}


async def test_a_round_has_no_more_members_than_its_limit(small, key):
    rounds: list[int] = []
    lane = journal(small, key, rounds, limit=4)

    await asyncio.gather(*[lane.submit(str(i)) for i in range(10)])

    assert max(rounds) == 4


async def test_a_cancelled_member_never_breaks_the_round(small, key):
    lane = journal(small, key, [])
    tasks = [asyncio.create_task(lane.submit(str(i))) for i in range(10)]
    await asyncio.sleep(0)
    tasks[4].cancel()

    outcomes = await asyncio.gather(*tasks, return_exceptions=True)

    assert [type(outcome) for outcome in outcomes] == [str] * 4 + [asyncio.CancelledError] + [str] * 5
    assert await lane.submit("later") == "later"


async def test_a_round_and_plain_statements_share_the_database(small, key):
    lane = journal(small, key, [])
    w = small.workflow

    outcomes = await asyncio.gather(
        *[lane.submit(str(i)) for i in range(5)],
        *[w.insert(ref=str(i)) for i in range(5)],
        w.insert(ref="1"),
        return_exceptions=True,
    )

    assert outcomes[5:10].count(1) + [outcomes[10]].count(1) == 5
    assert sum(isinstance(outcome, Duplicate) for outcome in outcomes) == 1
    assert len(await names_of(small)) == 5


async def test_a_function_that_forgets_a_member_fails_them_all(small):
    async def postgres(connection, members):
        return []

    lane = small.grouped(sqlite=lambda round_, members: [], postgres=postgres)

    with pytest.raises(RuntimeError, match="1 members, but 0 outcomes"):
        await lane.submit("x")


async def test_closing_answers_those_who_wait(small_url, key):
    from models.dal import AsyncDAL
    from tests.dal.conftest import declare

    db = declare(AsyncDAL(small_url))
    await db.open()
    lane = journal(db, key, [])
    waiting = [asyncio.create_task(lane.submit(str(i))) for i in range(5)]
    await asyncio.sleep(0)

    await db.close()

    assert await asyncio.gather(*waiting) == [str(i) for i in range(5)]
