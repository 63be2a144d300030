"""`auto`: one detector and one setting for every series, in a stream.

Each point is looked at in eight ways (value, level over two spans, roughness, day, hour of the week, season, drift
from the season). Each way
gives a number of decades of surprise against the series' own past (`ranks`); half the largest and half the mean of
the three largest is the point's surprise. It is put on a scale of time (a series with a point an hour has fewer
chances to raise a false alarm than one with a point a second), and shifted so that 2.0 is about one false alarm in
30 days at one point a minute and every further 1.0 is ten times rarer. `docs/explanation/signal-scores.md` tells how
each choice was measured, and what was tried and dropped.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from services.insight.detectors.incident import Incidents
from services.insight.detectors.level import Level, LevelView
from services.insight.detectors.ranks import SETTLE, Ranks
from services.insight.detectors.rows import F64, I64, Layout, Rows
from services.insight.detectors.season import Season, SeasonView
from services.insight.detectors.series import LARGEST

VIEWS = ("value", "level", "slow level", "roughness", "day", "hour of the week", "season drift", "season")
MIN_POINTS = 50
"""No score from fewer points than this."""
_PLAIN = MIN_POINTS - SETTLE
_SEASONAL = 180
_MATURE = np.array([_PLAIN, _PLAIN, _PLAIN, _PLAIN, _SEASONAL, _SEASONAL, _SEASONAL, _SEASONAL])
_TOP = 3
_MAX_SHARE = 0.5
_NOTHING = 0.3
CALIBRATION = -2.5
"""Added to the surprise per five minutes to make it a score; found on series without faults (bench/false_alarms.py)."""
_FORMAT = b"A1"


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What `auto` says about one point of each series."""

    score: F64
    """Calibrated score ≥ 0, whether or not the incident is new."""
    onset: F64
    """The score where the point opens an incident or makes it distinctly worse, else 0."""
    expected: F64
    """The value that was to be expected."""
    spread: F64
    """Usual distance from it."""
    reason: I64
    """Index into `VIEWS` of what was oddest; -1 stuck, -2 a gap, -3 nothing."""


class _Origin(Rows):
    LAYOUT: ClassVar[Layout] = {"origin": ("f8", (), 0)}
    origin: F64


class AutoBank:
    """State of many series and the step that feeds each of them one point. A series takes under 2 kB."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.origin = _Origin(size)
        self.level = Level(size)
        self.season = Season(size)
        self.ranks = Ranks(size)
        self.incidents = Incidents(size)

    def _parts(self) -> tuple[Rows, ...]:
        return (self.origin, self.level, self.season, self.ranks, self.incidents)

    @classmethod
    def row_bytes(cls) -> int:
        """Bytes of state per series."""
        return sum(part.row_bytes() for part in (_Origin, Level, Season, Ranks, Incidents))

    def head(self, count: int) -> Self:
        """The first `count` series, sharing their state with this bank."""
        return self._of(count, tuple(part.head(count) for part in self._parts()))

    def pick(self, rows: I64) -> Self:
        """A copy of these series."""
        return self._of(len(rows), tuple(part.pick(rows) for part in self._parts()))

    def put(self, rows: I64, other: AutoBank) -> None:
        """Overwrite these series with those of `other`."""
        for part, changed in zip(self._parts(), other._parts(), strict=True):
            part.put(rows, changed)

    def _of(self, size: int, parts: tuple[Rows, ...]) -> Self:
        bank = object.__new__(type(self))
        bank.size = size
        bank.origin, bank.level, bank.season, bank.ranks, bank.incidents = parts  # type: ignore[assignment] # in order
        return bank

    def pack(self, row: int) -> bytes:
        """The state of one series."""
        return _FORMAT + b"".join(part.pack(row) for part in self._parts())

    def unpack(self, row: int, data: bytes) -> None:
        """Restore the state of one series; ValueError when it is of another format."""
        if data[:2] != _FORMAT or len(data) != 2 + self.row_bytes():
            raise ValueError("state of another format")
        at = 2
        for part in self._parts():
            part.unpack(row, data[at : at + part.row_bytes()])
            at += part.row_bytes()

    def step(self, times: F64, values: F64) -> Verdicts:
        """Judge and learn one point per series; a series whose value is not finite or not newer is left alone."""
        first = self.level.seen == 0
        good = (
            np.isfinite(values) & (np.abs(values) < LARGEST) & np.isfinite(times) & (first | (times > self.level.time))
        )
        if good.all():
            return self.feed(times, values)
        rows = np.nonzero(good)[0]
        some = self.pick(rows)
        verdicts = some.feed(times[rows], values[rows])
        self.put(rows, some)
        return _spread(verdicts, rows, self.size)

    def feed(self, times: F64, values: F64) -> Verdicts:
        """`step` for values that are all finite and newer."""
        origin = self.origin.origin
        origin[:] = np.where(self.level.seen == 0, values, origin)
        relative = values - origin
        before = self.level.level.copy()
        level = self.level.observe(times, relative)
        season = self.season.observe(times, relative, level.error)
        views = _views(level, season)
        views[views < _ROUNDING * (np.abs(relative) + np.abs(before))[:, np.newaxis]] = 0.0
        surprises = self.ranks.surprise(views, _MATURE)
        surprise, reason = self._combine(surprises, level)
        self.ranks.add(views, surprise)
        surprise = np.where(surprise > _NOTHING, surprise + self.level.interval - _FIVE_MINUTES, 0.0)
        surprise = np.where(self.level.seen >= MIN_POINTS, np.maximum(surprise, 0.0), 0.0)
        opens = self.incidents.onset(surprise)
        score = np.where(surprise > 0, np.maximum(surprise + CALIBRATION, 0.0), 0.0)
        known = np.isfinite(season.forecast)
        return Verdicts(
            score=score,
            onset=np.where(opens, score, 0.0),
            expected=origin + np.where(known, season.forecast, before),
            spread=np.where(known, self.season.usual_error, self.level.scale),
            reason=np.where(score > 0, reason, -3),
        )

    @staticmethod
    def _combine(surprises: F64, level: LevelView) -> tuple[F64, I64]:
        """Surprise per series and the view that contributed most."""
        best = np.sort(surprises, axis=1)[:, -_TOP:]
        mixed = _MAX_SHARE * best[:, -1] + (1 - _MAX_SHARE) * best.mean(axis=1)
        reason = np.argmax(surprises, axis=1)
        reason = np.where(level.stuck > mixed, -1, reason)
        mixed = np.maximum(mixed, level.stuck)
        return np.maximum(mixed, level.gap), np.where(level.gap > mixed, -2, reason)


_FIVE_MINUTES = float(np.log10(300.0))
_ROUNDING = 1e-6
"""Deviations smaller than this share of the distance from the first value are rounding, not news."""


def _views(level: LevelView, season: SeasonView) -> F64:
    views = (
        np.abs(level.error),
        level.middle,
        level.slow,
        level.rough,
        np.abs(season.day_error),
        season.week_ratio,
        np.abs(season.drift),
        np.abs(season.week_error),
    )
    return np.stack(views, axis=1)


def _spread(verdicts: Verdicts, rows: I64, size: int) -> Verdicts:
    """Verdicts of some rows among all: the others have no score and expect nothing."""
    score, onset = np.zeros(size), np.zeros(size)
    expected, spread = np.full(size, np.nan), np.full(size, np.nan)
    reason = np.full(size, -3, dtype=np.int64)
    score[rows], onset[rows], reason[rows] = verdicts.score, verdicts.onset, verdicts.reason
    expected[rows], spread[rows] = verdicts.expected, verdicts.spread
    return Verdicts(score=score, onset=onset, expected=expected, spread=spread, reason=reason)
