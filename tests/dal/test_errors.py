"""What the database refuses, in the same words on both."""

from __future__ import annotations

import asyncio
import uuid

import pytest

from models.dal import AsyncDAL, Duplicate, Options, ReadOnly, Stale, StatementFailed, Unavailable, Violation

UNIQUE = [
    ("CREATE TABLE thing (a bigint PRIMARY KEY)", "INSERT INTO thing VALUES (1)", "thing_pkey"),
    ("CREATE TABLE thing (a text PRIMARY KEY)", "INSERT INTO thing VALUES ('1')", "thing_pkey"),
    ("CREATE TABLE thing (a bigint, b bigint, PRIMARY KEY (b, a))", "INSERT INTO thing VALUES (1, 2)", "thing_pkey"),
    ("CREATE TABLE thing (a bigint UNIQUE)", "INSERT INTO thing VALUES (1)", "thing_a_key"),
    ("CREATE TABLE thing (a bigint, b bigint, UNIQUE (a, b))", "INSERT INTO thing VALUES (1, 2)", "thing_a_b_key"),
    (
        "CREATE TABLE thing (a bigint); CREATE UNIQUE INDEX only_one ON thing (a)",
        "INSERT INTO thing VALUES (1)",
        "only_one",
    ),
    (
        "CREATE TABLE thing (a bigint, b bigint); CREATE UNIQUE INDEX one_live ON thing (a) WHERE b IS NULL",
        "INSERT INTO thing VALUES (1, NULL)",
        "one_live",
    ),
    (
        "CREATE TABLE thing (a text); CREATE UNIQUE INDEX one_name ON thing (lower(a))",
        "INSERT INTO thing VALUES ('x')",
        "one_name",
    ),
]


@pytest.mark.parametrize(("tables", "insert", "constraint"), UNIQUE)
async def test_a_duplicate_names_the_constraint_the_same_way(small, tables, insert, constraint):
    for statement in tables.split("; "):
        await small.sql(statement)
    await small.sql(insert)

    with pytest.raises(Duplicate) as caught:
        await small.sql(insert)

    assert caught.value.constraint == constraint


async def test_a_missing_parent_a_null_and_a_failed_check_are_violations(small):
    await small.sql("CREATE TABLE thing (a bigint CONSTRAINT positive CHECK (a > 0))")
    calls = [
        small.step.insert(workflow=uuid.uuid4(), name="x"),
        small.workflow.insert(ref=None),
        small.sql("INSERT INTO thing VALUES (-1)"),
    ]

    found = []
    for call in calls:
        with pytest.raises(Violation) as caught:
            await call
        found.append((caught.value.kind, caught.value.constraint))

    assert [kind for kind, _ in found] == ["foreign_key", "not_null", "check"]
    assert found[2][1] == "positive"


async def test_a_number_beyond_64_bits_is_a_violation(small):
    with pytest.raises(Violation):
        await small.workflow.insert(ref="a", n=2**64)


async def test_a_wrong_statement_is_our_bug(small):
    with pytest.raises(StatementFailed):
        await small.sql("SELECT nothing FROM nowhere")


async def test_an_unmet_expectation_is_stale_and_undoes_its_unit(small):
    w = small.workflow

    with pytest.raises(Stale) as caught:
        await small.batch(w.insert(ref="a"), small(w.ref == "none").update(n=1).expect(1))

    assert (caught.value.expected, caught.value.found) == (1, 0)
    assert await small(w).count() == 0


async def test_changing_more_rows_than_expected_is_undone(small):
    w = small.workflow
    await small.batch(w.insert(ref="a"), w.insert(ref="b"))

    with pytest.raises(Stale):
        await small(w).update(n=1).expect(1)

    assert await small(w.n == 1).count() == 0


async def test_one_duplicate_among_grouped_writes_harms_nobody_else(small):
    inserts = [small.workflow.insert(ref="same" if i % 2 else str(i)) for i in range(20)]

    outcomes = await asyncio.gather(*inserts, return_exceptions=True)

    assert sum(1 for outcome in outcomes if outcome == 1) == 11
    assert {outcome.constraint for outcome in outcomes if outcome != 1} == {"workflow_ref_key"}


async def test_a_closed_database_is_unavailable(small_url):
    db = AsyncDAL(small_url)
    await db.open()
    await db.close()

    with pytest.raises(Unavailable):
        await db.sql("SELECT 1")


async def test_a_server_that_is_not_there_is_unavailable():
    db = AsyncDAL("postgresql://nobody@127.0.0.1:1/none", Options(connect_timeout_s=2))

    with pytest.raises(Unavailable):
        await db.open()
    with pytest.raises(Unavailable):
        await db.sql("SELECT 1")
    await db.close()


async def test_a_folder_is_not_a_database(tmp_path):
    with pytest.raises(Unavailable):
        await AsyncDAL(f"sqlite:///{tmp_path}").open()


async def test_a_file_that_is_no_database_is_unavailable(tmp_path):
    (tmp_path / "x.db").write_text("this is text, and quite a lot of it " * 100)

    with pytest.raises(Unavailable):
        await AsyncDAL(f"sqlite:///{tmp_path}/x.db").open()


async def test_a_file_opened_for_reading_refuses_writes(databases):
    url = databases.create("sqlite")
    async with AsyncDAL(url + "?mode=ro") as db:
        assert await db.sql("SELECT count(*) FROM workflow").scalar() == 0
        with pytest.raises(ReadOnly):
            await db.sql("DELETE FROM workflow")


async def test_a_read_only_server_is_told_apart(databases):
    url = databases.create("postgres", None)
    databases.server.execute(f'ALTER DATABASE "{url.rpartition("/")[2]}" SET default_transaction_read_only = on')
    db = AsyncDAL(url)

    with pytest.raises(ReadOnly):
        await db.open()
    with pytest.raises(ReadOnly):
        await db.sql("CREATE TABLE thing (a bigint)")
    await db.close()
    databases.drop(url)
