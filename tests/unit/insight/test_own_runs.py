"""Sequential tests over own runs, and facts about nodes."""

import json

import numpy as np
import pytest

from services.history.node_facts import error_class, of_events, of_logs
from services.insight.detectors.own_runs import MIN_RUNS, Runs, expect_by, unusual

START = 1_767_225_600.0
DAY = 86_400.0


def runs(started, **changes):
    count = len(started)
    base = {
        "ids": [str(n) for n in range(count)],
        "started": np.asarray(started, dtype=float),
        "duration": np.exp(np.random.default_rng(1).normal(0, 0.2, count)),
        "failed": np.zeros(count, dtype=bool),
        "retried": np.zeros(count, dtype=bool),
        "wait": np.full(count, np.nan),
        "error": [""] * count,
        "nodes": {},
    }
    return Runs(**{**base, **changes})


def minutely(count):
    return START + 60.0 * np.arange(count)


def kinds(of, now=None):
    return {one.kind for one in unusual(of, now=float(of.started[-1]) + 1 if now is None else now)}


def test_too_few_runs_say_nothing():
    assert kinds(runs(minutely(MIN_RUNS), failed=np.ones(MIN_RUNS, dtype=bool))) == set()


def test_retries_and_queue_wait_are_watched_too():
    retried = np.arange(300) >= 270
    wait = np.exp(np.random.default_rng(2).normal(-3, 0.3, 300)) * np.where(retried, 8, 1)

    assert kinds(runs(minutely(300), retried=retried, wait=wait)) == {"retry_rate", "queue_wait"}


def test_runs_that_become_quicker_are_unusual_as_well():
    of = runs(minutely(300))
    of.duration[260:] /= 4

    [one] = unusual(of, now=float(of.started[-1]))

    assert one.kind == "duration"
    assert "less long than usual" in one.hint


def test_a_schedule_that_rests_at_weekends_is_not_missed_on_saturday():
    days = [START + DAY * n for n in range(26) if (n + 3) % 7 < 5]  # 2026-01-01 is a Thursday
    friday = next(day for day in reversed(days) if (round((day - START) / DAY) + 3) % 7 == 4)
    until_friday = [day for day in days if day <= friday]

    saturday = friday + DAY + 3 * 3600
    monday = friday + 3 * DAY + 3 * 3600

    assert kinds(runs(until_friday), now=saturday) == set()
    assert kinds(runs(until_friday), now=monday) == {"missing_run"}


def test_a_scheduled_run_is_expected_a_little_after_its_period():
    assert expect_by(runs(minutely(50))) == pytest.approx(START + 49 * 60 + 60 + 30, abs=35)


def test_irregular_runs_are_missed_only_after_an_unusual_silence():
    started = START + np.cumsum(np.random.default_rng(3).exponential(60, 500))
    of = runs(started)

    assert kinds(of, now=float(started[-1]) + 300) == set()
    assert kinds(of, now=float(started[-1]) + 7200) == {"missing_run"}


def test_an_event_log_tells_seconds_retries_and_wait():
    rows = [
        [{"e": "started", "at": "2026-01-01T00:00:00+00:00"}],
        [{"e": "node_started", "node": "a", "run": 0, "at": "2026-01-01T00:00:02+00:00"}],
        [{"e": "attempt_ended", "node": "a", "run": 0, "attempt": 2, "at": "2026-01-01T00:00:04+00:00"}],
        [{"e": "node_ended", "node": "a", "run": 0, "at": "2026-01-01T00:00:05+00:00"}],
    ]

    facts = of_events([json.dumps(row) for row in rows])

    assert (facts.seconds, facts.retried, facts.wait) == ({"a": 3.0}, True, 2.0)


def test_logs_of_other_runners_are_read_as_far_as_they_are_understood():
    logs = [{"node": "a", "duration_ms": 1500}, {"name": "b", "duration_ms": True}, "text", {"task": "c", "retries": 1}]

    facts = of_logs(logs)

    assert (facts.seconds, facts.retried) == ({"a": 1.5}, True)
    assert of_logs(None).seconds == {}


def test_an_error_class_leaves_out_what_differs_from_time_to_time():
    text = "timeout after 30 s for 01890000-0000-7000-8000-000000000000\nTraceback"

    assert error_class(text) == "timeout after # s for #"
    assert error_class(None) == ""
