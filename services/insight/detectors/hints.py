"""Scores in words."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime

SCORE_OF_ONE = 2.0
PER_MONTH = 43_200.0
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
STUCK, GAP, NOTHING = -1, -2, -3
_SEASONAL = frozenset({4, 5, 6, 7})
_ROUGH = 3


@dataclass(frozen=True, slots=True)
class Finding:
    """One judged point, with what was to be expected."""

    time: float
    value: float
    score: float
    expected: float
    spread: float
    reason: int
    interval_s: float


def auto_hint(finding: Finding) -> str:
    """For example `3.1x above the usual level for Tuesday 14:00; about 1 in 20,000`."""
    if finding.reason == NOTHING or finding.score <= 0:
        return f"{_number(finding.value)} is within what is usual here"
    return f"{_what(finding)}; about 1 in {_rarity(finding)}"


def textbook_hint(finding: Finding, method: str) -> str:
    """For example `3.4 standard deviations above the mean of the last 60 points (0.31)`."""
    if not math.isfinite(finding.expected):
        return "too few points before this one"
    side = "above" if finding.value >= finding.expected else "below"
    past = "mean of the 60 points before" if method == "zscore" else "weighted mean of the points before"
    return f"{finding.score:.1f} standard deviations {side} the {past} ({_number(finding.expected)})"


def too_few_hint(count: int, needed: int) -> str:
    """What to say instead of a score."""
    return f"{count} points are too few: {needed} are needed; ask for a longer lookback"


def _what(finding: Finding) -> str:
    if finding.reason == STUCK:
        return f"exactly {_number(finding.value)} for longer than ever before"
    if finding.reason == GAP:
        return "the longest time without a value so far"
    if finding.reason == _ROUGH:
        return "the values vary more than usual from point to point"
    when = f" for {_slot(finding.time)}" if finding.reason in _SEASONAL else ""
    side = "above" if finding.value >= finding.expected else "below"
    ratio = finding.value / finding.expected if finding.expected > 0 else 0.0
    if ratio >= 1.5:
        return f"{ratio:.1f}x above the usual level{when}" if ratio < 1000 else f"far above the usual level{when}"
    if finding.spread > 0:
        away = abs(finding.value - finding.expected) / finding.spread
        if away >= 1.5:
            return f"{min(away, 999):.1f} usual deviations {side} the expected {_number(finding.expected)}{when}"
    return f"has been {side} the expected {_number(finding.expected)}{when} for unusually long"


def _slot(time: float) -> str:
    moment = datetime.fromtimestamp(time, UTC)
    return f"{_DAYS[moment.weekday()]} {moment.hour:02d}:00"


def _rarity(finding: Finding) -> str:
    """Points of this series per false alarm at this score, two digits."""
    points = PER_MONTH * 10 ** (min(finding.score, 12.0) - SCORE_OF_ONE) * 60 / max(finding.interval_s, 1e-3)
    digits = max(len(f"{points:.0f}") - 2, 0)
    return f"{max(round(points / 10**digits) * 10**digits, 1):,}"


def _number(value: float) -> str:
    return f"{value:.4g}"
