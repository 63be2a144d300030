"""Level, roughness, interval: what a series usually does, whatever the time of day."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from services.insight.detectors.rows import F64, U16, Layout, Mask, Rows

LEVEL_MEMORY = 400.0
CLIP = 4.0
MIDDLE, SLOW = 12.0, 80.0
ROUGH_MEMORY = 18.0
_INTERVAL_MEMORY = 200.0
_INTERVAL_STEP = 0.3
FLAT_FROM = 10.0
GAP_FROM = 3.0
_WARM_GAPS = 30
_COUNTED = 65_535


@dataclass(frozen=True, slots=True)
class LevelView:
    """What the level says about one point per series."""

    error: F64
    """Distance from the slow robust level."""
    middle: F64
    slow: F64
    """Means of `error` over a dozen and some eighty points: a change of level, larger or smaller."""
    rough: F64
    """Mean absolute change from point to point: a change of variance; NaN on the first point."""
    stuck: F64
    """Surprise (decades) at having been exactly the same for so long."""
    gap: F64
    """Surprise (decades) at the time since the last point."""


class Level(Rows):
    """Robust level and scale, short means, roughness, run of equal values and interval of each series."""

    LAYOUT: ClassVar[Layout] = {
        "seen": ("u2", (), 0),
        "level": ("f8", (), 0),
        "scale": ("f8", (), 0),
        "middle": ("f8", (), 0),
        "slow": ("f8", (), 0),
        "rough": ("f8", (), 0),
        "last": ("f8", (), 0),
        "run": ("f4", (), 0),
        "longest_run": ("f4", (), 0),
        "time": ("f8", (), 0),
        "interval": ("f8", (), 0),
        "longest_gap": ("f4", (), 0),
    }
    seen: U16
    level: F64
    scale: F64
    middle: F64
    slow: F64
    rough: F64
    last: F64
    run: F64
    longest_run: F64
    time: F64
    interval: F64
    """Typical log10 seconds between points."""
    longest_gap: F64

    def observe(self, times: F64, values: F64) -> LevelView:
        """Judge one point per series, then learn from it. `values` are relative to the series' first value."""
        first = self.seen == 0
        count = self.seen.astype(np.float64) + 1
        error = values - self.level
        self.middle += (error - self.middle) / MIDDLE
        self.slow += (error - self.slow) / SLOW
        change = np.where(first, 0.0, np.abs(values - self.last))
        self.rough += (change - self.rough) / ROUGH_MEMORY
        gap = self._gap(times, first, count)
        stuck = self._stuck(change, first)
        limit = np.where((count > 11) & (self.scale > 0), CLIP * self.scale, np.inf)
        taken = np.minimum(np.maximum(error, -limit), limit)
        rate = np.maximum(1 / LEVEL_MEMORY, 1 / count)
        self.level += rate * taken
        self.scale += rate * (np.abs(taken) - self.scale)
        self.last[:] = values
        self.seen[:] = np.minimum(count, _COUNTED)
        return LevelView(
            error=error,
            middle=np.abs(self.middle),
            slow=np.abs(self.slow),
            rough=np.where(first, np.nan, self.rough),
            stuck=stuck,
            gap=gap,
        )

    def _stuck(self, change: F64, first: Mask) -> F64:
        """Two decades for every doubling of the longest run of equal values so far."""
        same = (change == 0) & ~first
        np.maximum(self.longest_run, self.run, out=self.longest_run, where=~same)
        self.run[:] = np.where(same, self.run + 1, 0)
        known = same & (self.scale > 0)
        return np.where(known, 2 * np.log2(np.maximum(self.run / np.maximum(self.longest_run, FLAT_FROM), 1)), 0.0)

    def _gap(self, times: F64, first: Mask, count: F64) -> F64:
        """Two decades for every doubling of the longest gap so far."""
        seconds = np.where(first, 1.0, np.maximum(times - self.time, 1e-3))
        logs = np.log10(seconds)
        typical = 10.0**self.interval
        usual = np.maximum(self.longest_gap, GAP_FROM * typical)
        known = count > _WARM_GAPS
        surprise = np.where(known, 2 * np.log2(np.maximum(seconds / np.maximum(usual, 1e-3), 1)), 0.0)
        second = count == 2
        step = np.minimum(np.maximum(logs - self.interval, -_INTERVAL_STEP), _INTERVAL_STEP)
        moved = self.interval + step / np.minimum(np.maximum(count - 1, 1), _INTERVAL_MEMORY)
        self.interval[:] = np.where(second, logs, np.where(first, self.interval, moved))
        np.maximum(self.longest_gap, seconds, out=self.longest_gap, where=~first)
        self.time[:] = times
        return surprise
