"""What detectors are given: points in order, each time once, every value a finite number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from services.insight.detectors.rows import F64

LARGEST = 1e30
"""Magnitudes from here on are treated as not finite: profiles are kept in single precision."""


@dataclass(frozen=True, slots=True)
class Series:
    """Times (seconds since 1970, strictly rising) and finite values, of equal length."""

    times: F64
    values: F64

    @classmethod
    def tidy(cls, times: Sequence[float] | F64, values: Sequence[float] | F64) -> Self:
        """Sort by time, keep the last of equal times, drop what is not a finite number."""
        t, x = np.asarray(times, dtype=np.float64), np.asarray(values, dtype=np.float64)
        with np.errstate(invalid="ignore"):
            good = np.isfinite(t) & np.isfinite(x) & (np.abs(x) < LARGEST)
        t, x = t[good], x[good]
        order = np.argsort(t, kind="stable")
        t, x = t[order], x[order]
        last = np.append(t[1:] != t[:-1], True) if len(t) else np.zeros(0, dtype=bool)
        return cls(times=t[last], values=x[last])

    def __len__(self) -> int:
        return len(self.times)


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a method says about each point of a series."""

    score: F64
    """How unusual each point is; 0 where there were too few points before it."""
    onset: F64
    """The score where a point opens an incident or makes it worse, else 0. Textbook methods: the score itself."""
    expected: F64
    spread: F64
    reason: F64
    """Index of what was oddest (see `hints`); NaN for textbook methods."""
    min_points: int
