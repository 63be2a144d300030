"""The judge of the storms is judged: evidence that is in order passes, and each way of spoiling it is found."""

from __future__ import annotations

from dataclasses import replace

import orjson
import pytest

from tests.crash.callee import Seen
from tests.crash.verdict import Disturbance, Entry, Evidence, Row, problems, repeated

A, B, C, CHILD = "a" * 8, "b" * 8, "c" * 8, "d" * 8


def entry(execution: str, seq: int, *events: dict) -> Entry:
    return Entry(execution=execution, seq=seq, events=orjson.dumps(events).decode())


def log(execution: str) -> list[Entry]:
    ended = {"e": "node_ended", "node": "s", "outcome": "completed"}
    return [entry(execution, 0, {"e": "started"}), entry(execution, 1, ended), entry(execution, 2, {"e": "finished"})]


def good() -> Evidence:
    """Three starts: one plain, one with a child, one that asks and is not answered. B was claimed twice."""
    return Evidence(
        starts=3,
        accepted={0: A, 1: B, 2: C},
        rows=[
            Row(id=A, status="completed", ended=True),
            Row(id=B, status="completed", ended=True, epoch=2),
            Row(id=CHILD, status="completed", ended=True, is_child=True),
            Row(id=C, status="running", ended=False, waits_for='[{"kind": "inquiry"}]'),
        ],
        log=[*log(A), *log(B), *log(CHILD), *log(C)[:1]],
        history=[A, B, CHILD],
        runs={"w-1": 2, "child-1": 1},
        counted={"total_runs": {"w-1": 2, "child-1": 1}, "run_count": {"w-1": 2, "child-1": 1}},
        audited=[A, B, C],
        open_inquiries=frozenset({C}),
        unanswered=frozenset({C}),
        calls={
            f"{A}/s/0": [Seen(1.0, "/step", b"{}")],
            f"{A}/f/0": [Seen(1.0, "/flaky", b"{}"), Seen(1.1, "/flaky", b"{}")],
            f"{B}/s/0": [Seen(100.0, "/step", b"{}"), Seen(104.0, "/step", b"{}")],
            f"{B}/o/0": [Seen(100.0, "/once", b"{}")],
        },
        disturbances=[Disturbance("kill", 101.0, 102.0)],
    )


def spoiled(**more) -> Evidence:
    return replace(good(), **more)


def calls(key: str, *seen: Seen) -> Evidence:
    return spoiled(calls={**good().calls, key: seen})


def rows(place: int, **more) -> Evidence:
    found = list(good().rows)
    found[place] = replace(found[place], **more)
    return spoiled(rows=found)


def test_evidence_in_order_passes():
    assert problems(good()) == []
    assert repeated(good()) == 1


@pytest.mark.parametrize(
    ("found", "evidence"),
    [
        ("was accepted and is gone", spoiled(rows=good().rows[1:], log=good().log[3:], history=[B, CHILD])),
        ("executions of", spoiled(accepted={0: A, 1: B, 2: B})),
        ("executions of", spoiled(starts=4)),
        ("was started twice", rows(2, is_child=False)),
        ("did not end", rows(0, ended=False)),
        ("is failed (interrupted)", rows(0, status="failed", error="interrupted")),
        ("asks nobody", rows(3, waits_for="[]")),
        ("asks nobody", spoiled(open_inquiries=frozenset())),
        ("has a gap", spoiled(log=[*good().log[:1], *good().log[2:]])),
        ("has no log", spoiled(log=good().log[3:])),
        ("belongs to nothing", spoiled(log=[*good().log, *log("f" * 8)])),
        ("has ended, and its log has not", spoiled(log=[*good().log[:2], *good().log[3:]])),
        ("has ended, and it has not", spoiled(log=[*good().log[:9], *log(C)])),
        ("ended 2 times", spoiled(log=[*good().log, replace(log(A)[1], seq=3)])),
        ("ended 2 times", spoiled(log=[*good().log, replace(log(A)[2], seq=3)])),
        ("changed", spoiled(changed=[(A, 1)])),
        ("the history has", spoiled(history=[A, A, B, CHILD])),
        ("the history has", spoiled(history=[A, B])),
        ("the history has", spoiled(history=[A, B, CHILD, C])),
        ("total_runs says 3 runs of w-1, the history has 2", spoiled(counted={"total_runs": {"w-1": 3, "child-1": 1}})),
        ("run_count says 0 runs of child-1, the history has 1", spoiled(counted={"run_count": {"w-1": 2}})),
        ("says 1 runs of other, the history has 0", spoiled(counted={"d": {"w-1": 2, "child-1": 1, "other": 1}})),
        ("the audit chain is broken", spoiled(audit_problem="row 7 was changed")),
        ("the audit record has the start", spoiled(audited=[A, B])),
        ("the audit record has the start", spoiled(audited=[A, A, B, C])),
        ("another body", calls(f"{B}/s/0", Seen(100.0, "/step", b"{}"), Seen(104.0, "/step", b'{"n":1}'))),
        ("cannot be undone", calls(f"{B}/o/0", Seen(100.0, "/once", b"{}"), Seen(104.0, "/once", b"{}"))),
        ("by the same driver", calls(f"{A}/s/0", Seen(100.0, "/step", b"{}"), Seen(104.0, "/step", b"{}"))),
        ("by the same driver", calls(f"{A}/f/0", *[Seen(100.0 + n, "/flaky", b"{}") for n in range(3)])),
        ("for no reason", spoiled(disturbances=[])),
        ("for no reason", spoiled(disturbances=[Disturbance("kill", 1.0, 2.0)])),
        ("for no reason", spoiled(disturbances=[Disturbance("kill", 105.0, 106.0)])),
    ],
)
def test_what_is_out_of_order_is_found(found, evidence):
    said = problems(evidence)

    assert any(found in problem for problem in said), said
