"""The two textbook methods, in their textbook units.

z-score: distance of a value from the mean of the `WINDOW` values before it, in their sample standard deviations
(NIST/SEMATECH e-Handbook, 1.3.5.17). EWMA: distance from the exponentially weighted mean of all values before it, in
exponentially weighted standard deviations (Roberts 1959; variance recursion: Finch 2009, equation 143), with
alpha = 2 / (SPAN + 1). Nothing here knows a season, and a spike inflates the deviation for a while.
"""

from __future__ import annotations

from collections import deque

import numpy as np
from scipy.signal import lfilter

from services.insight.detectors.rows import F64

WINDOW = 60
SPAN = 60
ALPHA = 2 / (SPAN + 1)
MIN_POINTS = 10
"""No score from fewer points than this (the judged one included)."""
LIMIT = 100.0
"""Largest score: a value that differs from a constant past is infinitely many deviations away."""
_ROUNDING = 1e-9
_CHUNK = 8192


def zscores(values: F64) -> tuple[F64, F64, F64]:
    """Scores, means and deviations for a whole series at once."""
    count = len(values)
    score, mean, spread = np.zeros(count), np.full(count, np.nan), np.full(count, np.nan)
    for at in range(MIN_POINTS - 1, min(WINDOW, count)):
        mean[at : at + 1], spread[at : at + 1] = _moments(values[np.newaxis, :at])
    if count > WINDOW:
        windows = np.lib.stride_tricks.sliding_window_view(values[:-1], WINDOW)
        for start in range(0, len(windows), _CHUNK):
            part = slice(WINDOW + start, WINDOW + min(start + _CHUNK, len(windows)))
            mean[part], spread[part] = _moments(windows[start : start + _CHUNK])
    judged = ~np.isnan(mean)
    score[judged] = _ratio(values[judged] - mean[judged], spread[judged], mean[judged])
    return score, mean, spread


def _moments(windows: F64) -> tuple[F64, F64]:
    """Mean and sample standard deviation of each window, two passes: large offsets must not eat the deviation."""
    size = windows.shape[1]
    mean = windows @ np.full(size, 1 / size)
    centred = windows - mean[:, np.newaxis]
    return mean, np.sqrt(np.einsum("ij,ij->i", centred, centred) / (size - 1))


def _ratio(distance: F64, spread: F64, scale: F64) -> F64:
    """|distance| / spread, 0 where both are rounding, `LIMIT` where only the spread is."""
    least = _ROUNDING * np.abs(scale)
    solid = spread > least
    with np.errstate(divide="ignore", invalid="ignore"):
        score = np.where(solid, np.abs(distance) / spread, np.where(np.abs(distance) > least, LIMIT, 0.0))
    return np.minimum(score, LIMIT)


def ewmas(values: F64) -> tuple[F64, F64, F64]:
    """Scores, means and deviations for a whole series at once."""
    count = len(values)
    score, before, spread = np.zeros(count), np.full(count, np.nan), np.full(count, np.nan)
    if count < MIN_POINTS:
        return score, before, spread
    centred = values - values[0]
    means = lfilter([ALPHA], [1.0, ALPHA - 1], centred)
    distance = centred[1:] - means[:-1]
    variance = lfilter([1.0], [1.0, ALPHA - 1], (1 - ALPHA) * ALPHA * distance**2)
    deviation = np.sqrt(np.append(0.0, variance[:-1]))
    judged = slice(MIN_POINTS - 1, None)
    before[1:], spread[1:] = means[:-1] + values[0], deviation
    score[judged] = _ratio(distance[MIN_POINTS - 2 :], spread[judged], before[judged])
    before[: MIN_POINTS - 1] = spread[: MIN_POINTS - 1] = np.nan
    return score, before, spread


class ZScore:
    """The z-score of one series, point by point."""

    def __init__(self) -> None:
        self._window: deque[float] = deque(maxlen=WINDOW)

    def update(self, value: float) -> float:
        """The score of `value` against what came before; then it belongs to the past."""
        score = 0.0
        if len(self._window) >= MIN_POINTS - 1:
            mean, spread = _moments(np.array([self._window]))
            score = float(_ratio(value - mean, spread, mean)[0])
        self._window.append(value)
        return score


class Ewma:
    """The EWMA score of one series, point by point, in four numbers of state."""

    def __init__(self) -> None:
        self._count = 0
        self._origin = self._mean = self._variance = 0.0

    def update(self, value: float) -> float:
        """The score of `value` against what came before; then it belongs to the past."""
        if self._count == 0:
            self._origin = value
        distance = value - self._origin - self._mean
        self._count += 1
        score = 0.0
        if self._count >= MIN_POINTS:
            least = _ROUNDING * abs(self._mean + self._origin)
            spread = self._variance**0.5
            if spread > least:
                score = min(abs(distance) / spread, LIMIT)
            elif abs(distance) > least:
                score = LIMIT
        self._mean += ALPHA * distance
        self._variance = (1 - ALPHA) * (self._variance + ALPHA * distance * distance)
        return score
