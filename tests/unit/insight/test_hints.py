"""Scores in words."""

import math

import pytest

from services.insight.detectors.hints import GAP, STUCK, Finding, auto_hint, textbook_hint, too_few_hint

TUESDAY_14 = 1_700_575_200.0  # 2023-11-21 14:00 UTC


def finding(**changes):
    base = {
        "time": TUESDAY_14,
        "value": 31.0,
        "score": 1.67,
        "expected": 10.0,
        "spread": 2.0,
        "reason": 5,
        "interval_s": 60.0,
    }
    return Finding(**{**base, **changes})


def test_a_seasonal_finding_names_the_ratio_the_hour_and_how_rare_it_is():
    assert auto_hint(finding()) == "3.1x above the usual level for Tuesday 14:00; about 1 in 20,000"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"reason": 0}, "3.1x above the usual level; about"),
        ({"reason": 1, "value": 4.0}, "3.0 usual deviations below the expected 10; about"),
        ({"reason": 2, "value": 11.0}, "has been above the expected 10 for unusually long; about"),
        ({"reason": 3}, "the values vary more than usual from point to point; about"),
        ({"reason": STUCK}, "exactly 31 for longer than ever before; about"),
        ({"reason": GAP}, "the longest time without a value so far; about"),
        ({"score": 0.0}, "31 is within what is usual here"),
        ({"reason": 0, "value": 1e9}, "far above the usual level; about"),
    ],
)
def test_each_kind_of_finding_has_its_words(changes, words):
    assert auto_hint(finding(**changes)).startswith(words)


def test_an_hourly_series_has_fewer_points_per_false_alarm():
    assert auto_hint(finding(score=2.0, interval_s=3600.0)).endswith("about 1 in 720")


def test_a_textbook_hint_states_its_units():
    assert (
        textbook_hint(finding(score=3.4), "zscore")
        == "3.4 standard deviations above the mean of the 60 points before (10)"
    )
    assert "weighted mean" in textbook_hint(finding(value=1.0), "ewma")
    assert textbook_hint(finding(expected=math.nan), "zscore") == "too few points before this one"


def test_too_few_points_say_how_many_are_needed():
    assert too_few_hint(7, 50) == "7 points are too few: 50 are needed; ask for a longer lookback"
