"""One chain, however many sealers, on both databases."""

import asyncio
from datetime import timedelta

import pytest

from services.access import sealer as sealer_module
from services.access.audit import AuditLog, Category, Entry, Result
from services.access.authentication import utc_now
from services.access.sealer import Sealer


@pytest.fixture
def audit(db):
    return AuditLog(db, now=utc_now)


def entry(number: int) -> Entry:
    details = {"number": number, "text": "ü\n"}
    return Entry(category=Category.AUDIT, action="test", result=Result.SUCCESS, details=details)


async def test_rows_wait_for_the_sealer_and_are_counted(db, audit):
    await audit.write(entry(1))

    report = await Sealer(db, now=utc_now).verify()

    assert (report.intact, report.sealed, report.unsealed) == (True, 0, 1)


async def test_many_sealers_make_one_chain(db, audit):
    for number in range(30):
        await audit.write(entry(number))

    sealers = [Sealer(db, now=utc_now) for _ in range(4)]
    sealed = await asyncio.gather(*(sealer.seal(settle=timedelta(0)) for sealer in sealers))

    report = await sealers[0].verify()
    assert sum(sealed) == 30
    assert (report.intact, report.sealed, report.unsealed) == (True, 30, 0)


async def test_the_chain_goes_on_where_it_ended(db, audit):
    sealer = Sealer(db, now=utc_now)
    for number in range(3):
        await audit.write(entry(number))
        await sealer.seal(settle=timedelta(0))

    numbers = [row.chain_no for row in await db(db.audit_log).select(orderby=db.audit_log.chain_no)]

    assert numbers == [1, 2, 3]
    assert (await sealer.verify()).intact


@pytest.fixture
async def chain(db, audit):
    """A sealed chain of nine rows, and its sealer."""
    for number in range(9):
        await audit.write(entry(number))
    sealer = Sealer(db, now=utc_now)
    await sealer.seal(settle=timedelta(0))
    return sealer


async def test_retention_cuts_the_beginning_at_a_sealed_row(db, audit, chain):
    later = Sealer(db, now=lambda: utc_now() + timedelta(days=40), keep_days=30)
    await audit.write(entry(99))

    gone = await later.prune()
    await later.seal(settle=timedelta(0))

    report = await later.verify()
    assert (gone, report.intact, report.sealed) == (9, True, 1)


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("UPDATE audit_log SET reason = 'other' WHERE chain_no = 4", "changed"),
        ("UPDATE audit_log SET actor_id = 5 WHERE chain_no = 1", "changed"),
        ("DELETE FROM audit_log WHERE chain_no = 1", "missing"),
        ("DELETE FROM audit_log WHERE chain_no = 5", "missing"),
        ("DELETE FROM audit_log WHERE chain_no = 9", "missing at the end"),
        ("DELETE FROM audit_log WHERE chain_no > 3", "missing at the end"),
        ("DELETE FROM audit_log", "missing at the end"),
        ("DELETE FROM audit_anchor", "not on record"),
        ("DELETE FROM audit_log WHERE chain_no > 3; DELETE FROM audit_anchor", "not on record"),
        ("UPDATE audit_anchor SET chain_no = 8", "behind the end"),
        ("UPDATE audit_anchor SET hash = 'aa'", "missing at the end"),
        ("UPDATE audit_log SET chain_no = 0 WHERE chain_no = 4", "before the beginning"),
        ("UPDATE audit_log SET chain_no = -5 WHERE chain_no = 9", "before the beginning"),
    ],
)
async def test_whoever_changes_or_removes_a_sealed_row_is_found_out(db, chain, what, said):
    for statement in what.split("; "):
        await db.sql(statement)

    report = await chain.verify()

    assert not report.intact
    assert said in report.reason


@pytest.mark.parametrize("database_engine", ["sqlite"])
@pytest.mark.parametrize("change", ["details = '{'", "id = 'x'", "at = 'noon'", "details = NULL, at = ''"])
async def test_a_row_that_cannot_be_read_is_a_break_with_its_place(db, chain, change):
    await db.sql(f"UPDATE audit_log SET {change} WHERE chain_no = 6")

    report = await chain.verify()

    assert (report.intact, report.broken_at, report.sealed) == (False, 6, 5)
    assert "cannot be read" in report.reason


async def test_the_counts_are_those_of_one_moment(db, audit, chain, monkeypatch):
    await audit.write(entry(10))
    real = sealer_module.links

    async def sealed_meanwhile(*given, **named):
        await chain.seal(settle=timedelta(0))
        return await real(*given, **named)

    monkeypatch.setattr(sealer_module, "links", sealed_meanwhile)
    report = await chain.verify()

    assert (report.intact, report.sealed, report.unsealed) == (True, 9, 1)


async def test_reordered_rows_are_found(db, chain):
    await db.sql("UPDATE audit_log SET chain_no = -chain_no WHERE chain_no IN (3, 4)")
    await db.sql("UPDATE audit_log SET chain_no = CASE chain_no WHEN -3 THEN 4 ELSE 3 END WHERE chain_no < 0")

    assert (await chain.verify()).broken_at == 3


async def test_an_inserted_row_is_found(db, audit, chain):
    await audit.write(entry(10))
    await db.sql("UPDATE audit_log SET chain_no = 10, hash = 'made up' WHERE chain_no IS NULL")

    assert (await chain.verify()).broken_at == 10


async def test_fresh_rows_are_left_to_settle(db, audit):
    await audit.write(entry(1))

    assert await Sealer(db, now=utc_now).seal() == 0
