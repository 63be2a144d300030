"""One chain, however many sealers, on both databases."""

import asyncio
from datetime import timedelta

import pytest

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


async def test_the_beginning_may_be_cut_at_a_sealed_row(db, audit):
    sealer = Sealer(db, now=utc_now)
    for number in range(5):
        await audit.write(entry(number))
    await sealer.seal(settle=timedelta(0))

    await db(db.audit_log.chain_no <= 2).delete()

    assert (await sealer.verify()).intact


async def test_fresh_rows_are_left_to_settle(db, audit):
    await audit.write(entry(1))

    assert await Sealer(db, now=utc_now).seal() == 0
