"""What is unusual about a workflow's own runs: sequential tests over runs in order of their start.

Each test compares what just happened with the runs before, and adds up evidence run by run (CUSUM of log likelihood
ratios: Page 1954), so a large change shows after a few runs and a small one after many. Evidence is measured against
what chance would gather once in 30 days with all tests of a workflow together: that is score 2.0; ten times rarer is
1.0 more. Pure: no clock, no database.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from services.insight.detectors.rows import F64, I64, Mask

MIN_RUNS = 30
"""Runs before the ones under test without which nothing is said."""
MIN_GAPS = 8
MONTH_S = 30 * 86_400.0
WEEK_S = 7 * 86_400.0
DAY_S = 86_400.0
_TESTED = 0.4
_SHIFT = 1.2
_CLIP = 3.0
_LEAST_RATIO = 1.3
_WORST_RATE = 0.95
_LEAST_SPREAD = 0.08
_TESTS = 8
_ESTIMATED = 2.0
"""More evidence for durations: their usual level is only estimated, and swings a little with the time of day."""
_EXAMPLES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Runs:
    """Runs of one workflow, oldest first. Times in seconds since 1970, NaN where not known."""

    ids: Sequence[str]
    started: F64
    duration: F64
    failed: Mask
    retried: Mask
    wait: F64
    error: Sequence[str]
    """Class of the error, empty where there was none."""
    nodes: Mapping[str, F64] = field(default_factory=dict)
    """Seconds each node took in each run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unusual:
    """One thing that is unusual now. `usual` and `now` are in the unit of the kind: seconds, share or seconds late."""

    kind: str
    node: str | None
    score: float
    since: float
    usual: float
    now: float
    hint: str
    examples: tuple[str, ...]


def unusual(runs: Runs, *, now: float) -> list[Unusual]:
    """Everything unusual about the newest of these runs, the strongest first."""
    found = [_missing(runs, now)]
    tested = _first_tested(runs)
    if tested is not None:
        found += [
            _slower(runs, runs.duration, "duration", None, tested),
            _slower(runs, runs.wait, "queue_wait", None, tested),
            _more_often(runs, runs.failed, "failure_rate", tested),
            _more_often(runs, runs.retried, "retry_rate", tested),
            _new_error(runs, tested),
        ]
        found += [_slower(runs, seconds, "node_duration", node, tested) for node, seconds in runs.nodes.items()]
    return sorted((one for one in found if one is not None), key=lambda one: -one.score)


def _first_tested(runs: Runs) -> int | None:
    """The first run under test: the runs before it say what is usual."""
    count = len(runs.started)
    first = count - max(int(count * _TESTED), 1)
    return first if first >= MIN_RUNS else None


def _limit(runs: Runs, tests: int = _TESTS) -> float:
    """Evidence that chance gathers once in 30 days in all tests of this workflow."""
    span = max(float(runs.started[-1] - runs.started[0]), 60.0)
    return math.log(max(len(runs.started) / span * MONTH_S, 30.0) * (tests + len(runs.nodes)))


def _cusum(steps: F64) -> tuple[F64, I64]:
    """Evidence after each run, and where the stretch that gathered it begins."""
    total = np.cumsum(steps)
    lowest = np.minimum(np.minimum.accumulate(np.append(0.0, total))[:-1], 0.0)
    evidence = np.maximum(total - lowest, 0.0)
    index = np.arange(len(steps))
    start = np.maximum.accumulate(np.where(evidence <= 0, index + 1, 0))
    return evidence, np.minimum(start, index)


def _score(evidence: float, limit: float) -> float:
    return 2.0 + (evidence - limit) / math.log(10)


# ---- durations ---------------------------------------------------------------------------------------------------------


def _slower(runs: Runs, seconds: F64, kind: str, node: str | None, tested: int) -> Unusual | None:
    """A lasting change of a duration, up or down, by at least `_LEAST_RATIO`."""
    known = np.nonzero(seconds >= 0)[0]
    before, after = known[known < tested], known[known >= tested]
    if len(before) < MIN_RUNS or len(after) < 3:
        return None
    logs = np.log(np.maximum(seconds, 1e-4))
    middle = float(np.median(logs[before]))
    spread = max(
        1.4826 * float(np.median(np.abs(logs[before] - middle))), float(np.std(logs[before])) / 2, _LEAST_SPREAD
    )
    away = np.clip((logs[after] - middle) / spread, -_CLIP, _CLIP)
    best: Unusual | None = None
    for sign in (1.0, -1.0):
        evidence, start = _cusum(_SHIFT * (sign * away - _SHIFT / 2))
        limit = _limit(runs) + _ESTIMATED
        if evidence[-1] < limit:
            continue
        recent = after[start[-1] :]
        level = float(np.median(logs[recent]))
        if sign * (level - middle) < math.log(_LEAST_RATIO) or math.exp(max(level, middle)) < 0.005:
            continue
        best = Unusual(
            kind=kind,
            node=node,
            score=_score(float(evidence[-1]), limit),
            since=float(runs.started[recent[0]]),
            usual=math.exp(middle),
            now=math.exp(level),
            hint=_slower_hint(kind, node, math.exp(level), math.exp(middle)),
            examples=_examples(runs, recent),
        )
    return best


def _slower_hint(kind: str, node: str | None, now: float, usual: float) -> str:
    what = {"duration": "runs take", "queue_wait": "runs wait", "node_duration": f"node {node} takes"}[kind]
    times = f"{now / usual:.1f}x longer than usual" if now > usual else f"{usual / now:.1f}x less long than usual"
    return f"{what} {times}: {_seconds(now)} instead of {_seconds(usual)}"


# ---- rates -------------------------------------------------------------------------------------------------------------


def _more_often(runs: Runs, happened: Mask, kind: str, tested: int) -> Unusual | None:
    """A share of runs that has risen; the usual share is known no better than the runs before allow."""
    before = int(np.count_nonzero(happened[:tested]))
    usual = (before + 0.5) / (tested + 25.0)
    usual = min(max(usual, before / tested), _WORST_RATE / 2)
    raised = min(max(3 * usual, usual + 0.06), _WORST_RATE)
    steps = np.where(happened[tested:], math.log(raised / usual), math.log((1 - raised) / (1 - usual)))
    evidence, start = _cusum(steps)
    limit = _limit(runs)
    if not len(evidence) or evidence[-1] < limit:
        return None
    recent = np.arange(tested + start[-1], len(happened))
    share = float(np.mean(happened[recent]))
    word = "fail" if kind == "failure_rate" else "need a retry"
    return Unusual(
        kind=kind,
        node=None,
        score=_score(float(evidence[-1]), limit),
        since=float(runs.started[recent[0]]),
        usual=before / tested,
        now=share,
        hint=f"{share:.0%} of the runs {word}, usually {before / tested:.1%}",
        examples=_examples(runs, recent[happened[recent]]),
    )


def _new_error(runs: Runs, tested: int) -> Unusual | None:
    """A class of error that the runs before never had, seen at least twice."""
    known = set(runs.error[:tested])
    new: dict[str, list[int]] = {}
    for at in range(tested, len(runs.error)):
        if runs.error[at] and runs.error[at] not in known:
            new.setdefault(runs.error[at], []).append(at)
    if not new:
        return None
    name, places = max(new.items(), key=lambda item: len(item[1]))
    if len(places) < 2:
        return None
    times = np.asarray(places, dtype=np.int64)
    return Unusual(
        kind="new_error",
        node=None,
        score=2.0 + math.log10(len(places) / 2),
        since=float(runs.started[times[0]]),
        usual=0.0,
        now=float(len(places)),
        hint=f"an error not seen before, {len(places)} times: {name}",
        examples=_examples(runs, times),
    )


# ---- schedules ---------------------------------------------------------------------------------------------------------


def _missing(runs: Runs, now: float) -> Unusual | None:
    """A run that should have come: by a learned schedule, else by the usual rate of this hour."""
    if len(runs.started) < MIN_GAPS + 1:
        return None
    times = runs.started
    gaps = np.diff(times)
    middle = float(np.median(gaps))
    jitter = 1.4826 * float(np.median(np.abs(gaps - middle)))
    late = now - float(times[-1])
    if middle >= 30 and jitter <= 0.1 * middle:
        return _overdue(runs, now, middle, jitter)
    if late < 300 or late < 3 * middle:
        return None
    return _silence(runs, now, late)


def expect_by(runs: Runs) -> float | None:
    """The time from which on silence may be unusual; None when no schedule can be learned."""
    if len(runs.started) < MIN_GAPS + 1:
        return None
    gaps = np.diff(runs.started)
    middle = float(np.median(gaps))
    jitter = 1.4826 * float(np.median(np.abs(gaps - middle)))
    if middle >= 30 and jitter <= 0.1 * middle:
        return float(runs.started[-1]) + middle + _grace(gaps, middle, jitter)
    return float(runs.started[-1]) + max(300.0, 3 * middle, 2 * float(np.max(gaps)))


def _grace(gaps: F64, period: float, jitter: float) -> float:
    """How much later than its time a scheduled run may come."""
    off = np.abs(gaps - period)
    usual = float(np.quantile(off[off < 0.5 * period], 0.95)) * 1.5  # rests (nights, weekends) are not lateness
    return min(max(60.0, 6 * jitter, 0.02 * period, usual), 0.5 * period)


def _overdue(runs: Runs, now: float, period: float, jitter: float) -> Unusual | None:
    """A scheduled run that is late by more than runs ever are."""
    times = runs.started
    grace = _grace(np.diff(times), period, jitter)
    due = float(times[-1]) + period
    while now - due > grace and not _expected(times, due, period):
        due += period
    late = now - due
    if late <= grace:
        return None
    return Unusual(
        kind="missing_run",
        node=None,
        score=2.0 + min(late / grace - 1, 4.0) / 2,
        since=due,
        usual=period,
        now=now - float(times[-1]),
        hint=f"the run expected {_seconds(late)} ago has not come; usually one every {_seconds(period)}",
        examples=(runs.ids[-1],),
    )


def _expected(times: F64, due: float, period: float) -> bool:
    """Whether a run belongs here: not when this time of the week has been free before (weekends, nights)."""
    free = taken = 0
    for back in (DAY_S, WEEK_S, 2 * WEEK_S):
        then = due - back
        if then - period < times[0]:
            continue
        near = np.any(np.abs(times - then) <= 0.6 * period)
        taken, free = taken + int(near), free + int(not near and back >= WEEK_S)
    return free == 0 or taken > free


def _silence(runs: Runs, now: float, late: float) -> Unusual | None:
    """No run for longer than chance explains: the slowest comparable stretch of the past sets the rate."""
    times = runs.started
    span = float(times[-1] - times[0])
    rates = [len(times) / max(span, 1.0)]
    longest = float(np.max(np.diff(times)))
    for back in range(1, 8):
        start, end = float(times[-1]) - back * DAY_S, now - back * DAY_S
        if start >= times[0]:
            rates.append((np.count_nonzero((times >= start) & (times < end)) + 0.5) / max(end - start, 1.0))
    evidence = min(rates) * late
    limit = math.log(max(len(times) / max(span, 60.0) * MONTH_S, 30.0) * _TESTS)
    if evidence < limit or late < 2 * longest:
        return None
    return Unusual(
        kind="missing_run",
        node=None,
        score=_score(evidence, limit),
        since=float(times[-1]),
        usual=1 / min(rates),
        now=late,
        hint=f"no run for {_seconds(late)}; usually one every {_seconds(float(np.median(np.diff(times))))}",
        examples=(runs.ids[-1],),
    )


def _examples(runs: Runs, rows: I64) -> tuple[str, ...]:
    return tuple(runs.ids[int(row)] for row in rows[-_EXAMPLES:])


def _seconds(seconds: float) -> str:
    for size, unit in ((86_400.0, "d"), (3600.0, "h"), (60.0, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s" if seconds >= 0.1 else f"{seconds * 1000:.1f} ms"
