"""What has to be true after a storm. Pure: evidence in, problems out; `test_verdict.py` shows that each check can fail."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import orjson

from tests.crash.callee import Seen

AFTERMATH_S = 60.0
"""How long after a disturbance somebody may still send what was decided before it; see `_repetitions`."""
FLAKY, ONCE = "/flaky", "/once"


@dataclass
class Disturbance:
    """What was done, from when to when (monotonic seconds)."""

    kind: str
    began: float
    ended: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """The summary row of an execution, as it is found afterwards."""

    id: str
    status: str
    ended: bool
    is_child: bool = False
    error: str | None = None
    epoch: int = 1
    waits_for: str | None = None  # what it says it waits for, as JSON


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One row of a log."""

    execution: str
    seq: int
    events: str


@dataclass(kw_only=True)
class Evidence:
    """What a storm leaves behind. `accepted`: the execution of each start that was answered with 202."""

    starts: int
    accepted: Mapping[int, str]
    rows: Sequence[Row]
    log: Sequence[Entry]
    changed: Sequence[tuple[str, int]] = ()  # places in logs whose content was seen to change, or to go away
    history: Sequence[str] = ()
    runs: Mapping[str, int] = field(default_factory=dict)  # how many the history has of each workflow
    counted: Mapping[str, Mapping[str, int]] = field(default_factory=dict)  # the same by each kind of counter
    audited: Sequence[str] = ()  # executions whose start is in the audit record
    audit_problem: str | None = None
    open_inquiries: frozenset[str] = frozenset()  # executions with a question that nobody has answered
    unanswered: frozenset[str] = frozenset()  # executions whose question we left unanswered on purpose
    calls: Mapping[str, Sequence[Seen]] = field(default_factory=dict)
    disturbances: Sequence[Disturbance] = ()


def problems(of: Evidence) -> list[str]:
    """Everything that is not as it has to be."""
    checks = (_accepted, _ended, _logs, _history, _audit, _repetitions)
    return [problem for check in checks for problem in check(of)]


def repeated(of: Evidence) -> int:
    """How many calls were made again."""
    return sum(max(0, len(seen) - _usual(seen)) for seen in of.calls.values())


def _usual(seen: Sequence[Seen]) -> int:
    """How often a call comes anyway: the flaky door refuses each key once."""
    return 2 if seen[0].path == FLAKY else 1


def _accepted(of: Evidence) -> Iterator[str]:
    """Each start has one execution of its own, and nothing else was started."""
    present = {row.id for row in of.rows}
    mine = set(of.accepted.values())
    if not len(mine) == len(of.accepted) == of.starts:
        yield f"{len(mine)} executions of {len(of.accepted)} accepted starts of {of.starts}"
    yield from (f"{id_} was accepted and is gone" for id_ in mine - present)
    yield from (f"{row.id} was started twice" for row in of.rows if not row.is_child and row.id not in mine)


def _ended(of: Evidence) -> Iterator[str]:
    """Each has ended well, or waits for an answer that we keep back."""
    for row in of.rows:
        if row.ended and row.status != "completed":
            yield f"{row.id} is {row.status} ({row.error})"
        if row.ended:
            continue
        asks = "inquiry" in (row.waits_for or "") and row.id in of.open_inquiries
        if row.id not in of.unanswered:
            yield f"{row.id} did not end"
        elif not asks:
            yield f"{row.id} waits for an answer, but asks nobody"


def _logs(of: Evidence) -> Iterator[str]:
    """No gap, nothing twice, nothing changed."""
    seqs: dict[str, list[int]] = {}
    ends: Counter[tuple[object, ...]] = Counter()
    for entry in of.log:
        seqs.setdefault(entry.execution, []).append(entry.seq)
        ends.update((entry.execution, *end) for end in _ends(entry.events))
    yield from (f"the log of {id_} has a gap" for id_, n in seqs.items() if sorted(n) != list(range(len(n))))
    rows = {row.id: row for row in of.rows}
    yield from (f"{id_} has no log" for id_ in rows.keys() - seqs.keys())
    yield from (f"the log of {id_} belongs to nothing" for id_ in seqs.keys() - rows.keys())
    finished = {str(place[0]) for place in ends if place[1] == "finished"}
    yield from (f"{id_} has ended, and its log has not" for id_, row in rows.items() if row.ended > (id_ in finished))
    yield from (
        f"the log of {id_} has ended, and it has not" for id_ in finished if id_ in rows and not rows[id_].ended
    )
    yield from (f"{place} ended {count} times" for place, count in ends.items() if count > 1)
    yield from (f"row {place} changed" for place in of.changed)


def _ends(events: str) -> Iterator[tuple[object, ...]]:
    """What may be in a log once only: the end of a run of a node, of one of its items, of the execution."""
    if events.startswith("{"):
        return  # a large row, kept elsewhere
    for event in orjson.loads(events):
        if event["e"] in ("node_ended", "attempt_ended"):
            yield event["e"], event["node"], event.get("run", 0), event.get("item"), event.get("attempt")
        elif event["e"] == "finished":
            yield ("finished",)


def _history(of: Evidence) -> Iterator[str]:
    """Each ended execution is in the run history once, and counted once."""
    found = Counter(of.history)
    ended = {row.id for row in of.rows if row.ended}
    for id_ in ended | found.keys():
        if found[id_] != (id_ in ended):
            yield f"the history has {id_} {found[id_]} times"
    for counter, counted in of.counted.items():
        for workflow in of.runs.keys() | counted.keys():
            if counted.get(workflow, 0) != (kept := of.runs.get(workflow, 0)):
                yield f"{counter} says {counted.get(workflow, 0)} runs of {workflow}, the history has {kept}"


def _audit(of: Evidence) -> Iterator[str]:
    """Each start is on record once, in an unbroken chain."""
    if of.audit_problem is not None:
        yield f"the audit chain is broken: {of.audit_problem}"
    found = Counter(of.audited)
    for id_ in set(of.accepted.values()) | found.keys():
        if found[id_] != 1:
            yield f"the audit record has the start of {id_} {found[id_]} times"


def _repetitions(of: Evidence) -> Iterator[str]:
    """A call comes again only with the same body, after its execution was claimed anew, around a disturbance; and what
    cannot be undone never does. Claims are counted, so a slow machine proves nothing against anybody."""
    claims = {row.id: row.epoch for row in of.rows}
    for key, seen in of.calls.items():
        again = len(seen) - _usual(seen)
        if len({call.body for call in seen}) != 1:
            yield f"{key} was called with another body"
        if seen[0].path == ONCE and len(seen) > 1:
            yield f"{key} cannot be undone and was called {len(seen)} times"
        if again > max(0, claims.get(key.partition("/")[0], 0) - 1):
            yield f"{key} was called again by the same driver"
        pairs = zip(seen[_usual(seen) - 1 :], seen[_usual(seen) :], strict=False)
        if not all(_disturbed(of.disturbances, first.at, second.at) for first, second in pairs):
            yield f"{key} was called again for no reason"


def _disturbed(disturbances: Iterable[Disturbance], first: float, second: float) -> bool:
    return any(mark.began <= second and (mark.ended or second) + AFTERMATH_S >= first for mark in disturbances)
