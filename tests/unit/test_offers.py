from __future__ import annotations

import asyncio

import pytest

from services.execution.dispatch.offers import REMEMBERED, Closed, Offers


async def test_two_who_offer_the_same_are_answered_together() -> None:
    offers = Offers()
    first, second = offers.expect("a"), offers.expect("a")

    offers.answer(["a", "b"])
    await asyncio.gather(first, second)

    assert first.done()


async def test_a_refusal_reaches_everybody_who_waits_and_nobody_who_left() -> None:
    offers = Offers()
    gone, waiting = offers.expect("a"), offers.expect("b")
    gone.cancel()

    offers.refuse(Closed())

    with pytest.raises(Closed):
        await waiting


def test_what_was_offered_while_it_was_let_go_is_looked_at_once_more() -> None:
    offers = Offers()
    offers.again("a")

    looks = [offers.left("a", ended=False) for _ in range(2)]

    assert looks == [True, False]


def test_a_late_job_for_what_ended_here_needs_no_claim() -> None:
    offers = Offers()
    offers.again("a")

    again = offers.left("a", ended=True)

    assert (again, offers.is_over("a"), offers.is_over("b")) == (False, True, False)


def test_only_the_latest_ends_are_remembered() -> None:
    offers = Offers()

    for n in range(REMEMBERED + 1):
        offers.left(str(n), ended=True)

    assert [offers.is_over(str(n)) for n in (0, 1, REMEMBERED)] == [False, True, True]
