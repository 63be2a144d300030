"""Idempotency records on both databases."""

from datetime import timedelta

import pytest

from models.dal import Stale
from services.access.authentication import utc_now
from services.errors import IdempotencyMismatch
from services.idempotency import KEPT, Idempotency, Wanted


def wanted(body: bytes = b"{}", **more) -> Wanted:
    return Wanted.of(body, **{"user_id": 1, "key": "k", "route": "POST /x", **more})


@pytest.fixture
def records(db):
    return Idempotency(db, now=utc_now)


async def test_a_first_request_is_unknown(records):
    assert await records.find(wanted()) is None


async def test_a_repeated_request_finds_its_resource(records):
    await records.call(wanted(), "r-1")

    assert await records.find(wanted()) == "r-1"


@pytest.mark.parametrize("other", [wanted(b"[]"), wanted(route="POST /y")])
async def test_another_request_with_the_same_key_is_refused(records, other):
    await records.call(wanted(), "r-1")

    with pytest.raises(IdempotencyMismatch):
        await records.find(other)


async def test_users_do_not_share_keys(records):
    await records.call(wanted(), "r-1")

    assert await records.find(wanted(user_id=2)) is None


async def test_of_two_at_the_same_time_one_creates_and_nothing_of_the_other_stays(db, records):
    await records.call(wanted(), "r-1")

    with pytest.raises(Stale):
        await db.batch(
            db.app_user.insert(name="second", created=utc_now()),
            records.call(wanted(), "r-2"),
        )

    assert await db(db.app_user).count() == 0


async def test_a_key_is_free_again_after_a_day(db):
    await Idempotency(db, now=utc_now).call(wanted(), "r-1")
    tomorrow = Idempotency(db, now=lambda: utc_now() + KEPT + timedelta(minutes=1))

    assert await tomorrow.find(wanted(b"[]")) is None
    await tomorrow.call(wanted(b"[]"), "r-2")
    assert await tomorrow.find(wanted(b"[]")) == "r-2"


async def test_old_records_are_pruned(db):
    await Idempotency(db, now=utc_now).call(wanted(), "r-1")
    tomorrow = Idempotency(db, now=lambda: utc_now() + KEPT + timedelta(minutes=1))

    assert await tomorrow.prune() == 1
