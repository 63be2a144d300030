"""Ids that every worker finds, and who tells of which rows: each row is told once."""

from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.engine.events import Changed, Claimed
from services.engine.statuses import Change
from services.execution.journal import EventRow
from services.tracing.context import Sampler, attempt_id, header, lineage, span_id
from services.tracing.parts import told_by

AT = datetime(2026, 1, 17, 12, tzinfo=UTC)
ID = "01890a5d-ac96-774b-bcce-b302099a8057"
CALLER = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def rows(*who):
    """`2` is a row by the driver of epoch 2, `2!` one that says it took over, `-` a request from outside."""
    found = []
    for seq, word in enumerate(who):
        epoch = 0 if word == "-" else int(word.rstrip("!"))
        driver = UUID(int=epoch) if epoch else None
        taken = Claimed(driver=str(driver), epoch=epoch, at=AT)
        event = taken if word.endswith("!") else Changed(change=Change.PAUSE, at=AT)
        found.append(EventRow(seq, driver, epoch, AT, (event,)))
    return found


def told(log, epoch):
    return list(told_by(rows(*log.split()), epoch))


@pytest.mark.parametrize(
    ("log", "epoch", "expected"),
    [
        ("1 1 1", 1, [0, 1, 2]),
        ("- 1 1", 1, [0, 1, 2]),  # started by whoever accepts, driven by whoever claims
        ("1 1 2 2", 1, [0, 1]),
        ("1 1 2 2", 2, [2, 3]),  # the first let go, and told
        ("1 1 2! 2", 2, [0, 1, 2, 3]),  # the first died
        ("1 2! 3! 3", 3, [0, 1, 2, 3]),
        ("1 1 2 3! 3", 3, [2, 3, 4]),
        ("1 - 1", 1, [0, 1, 2]),
        ("1 1 - 2", 2, [2, 3]),  # answered while nobody drove it
        ("1 1 -", None, [2]),  # cancelled while nobody drove it
        ("1", None, [0]),  # over with its start
        ("-", None, [0]),
        ("1 1", 7, []),  # claimed, and nothing written
    ],
)
def test_a_row_is_told_by_who_lets_go_after_it(log, epoch, expected):
    assert told(log, epoch) == expected


@given(st.lists(st.tuples(st.integers(1, 3), st.booleans(), st.integers(0, 2)), min_size=1, max_size=6))
def test_every_row_is_told_exactly_once_whoever_dies(tenures):
    """Each tenure: rows it wrote, whether its driver died, requests from outside that came afterwards."""
    log, tellers, took_over = [], [], False
    for epoch, (count, dies, outside) in enumerate(tenures, start=1):
        log += [f"{epoch}{'!' if took_over and at == 0 else ''}" for at in range(count)]
        last = epoch == len(tenures)
        if not dies or last:
            tellers.append((epoch, len(log)))
        took_over = dies
        log += ["-"] * (0 if last else outside)

    found = [seq for epoch, _ in tellers for seq in told_by(rows(*log), epoch)]

    assert found == list(range(len(log)))


def test_a_trace_is_the_caller_s_or_has_the_execution_s_id():
    assert lineage(ID, None).trace_id == UUID(ID).int
    given_one = lineage(ID, CALLER)
    assert (f"{given_one.trace_id:032x}", f"{given_one.parent:016x}", given_one.asked) == (
        "4bf92f3577b34da6a3ce929d0e0e4736",
        "00f067aa0ba902b7",
        True,
    )
    assert given_one.span_id == lineage(ID, None).span_id


@pytest.mark.parametrize("text", ["", "00-" + "0" * 32 + "-00f067aa0ba902b7-01", CALLER.replace("00-4", "ff-4"), "x"])
def test_a_traceparent_that_says_nothing_is_as_good_as_none(text):
    assert lineage(ID, text) == lineage(ID, None)


def test_ids_are_the_same_everywhere_and_differ_by_what_they_are_about():
    parts = [(("a", 0, None), 1), (("a", 0, None), 2), (("a", 1, None), 1), (("a", 0, 0), 1), (("b", 0, None), 1)]
    ids = {attempt_id(ID, key, attempt) for key, attempt in parts}

    assert len(ids | {span_id(ID), span_id(str(uuid4()))}) == 7
    assert header(lineage(ID, None).trace_id, span_id(ID), sampled=False) == f"00-{UUID(ID).hex}-{span_id(ID):016x}-00"


def test_a_share_of_the_traces_is_kept_and_every_worker_agrees():
    lines = [lineage(str(uuid4()), None) for _ in range(4000)]

    kept = [line for line in lines if Sampler(0.25).keeps(line)]

    assert 800 < len(kept) < 1200
    assert all(Sampler(0.25).keeps(line) for line in kept)
    assert not any(Sampler(0.0).keeps(line) for line in lines)


def test_a_caller_s_decision_wins_where_it_is_heeded():
    line = lineage(ID, CALLER)

    assert Sampler(0.0).keeps(line)
    assert not Sampler(0.0, heeds_caller=False).keeps(line)
