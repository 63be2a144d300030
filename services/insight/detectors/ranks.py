"""How rare is this value among the series' own past: a tail probability from a histogram of logarithms.

Each of several views of a series (deviation of the level, of the season, roughness …) has its own table. A value's
surprise is -log10 of the share of past values at least as large, so it means the same for every view of every
series whatever their distribution. Beyond the largest value ever seen the tail is extended: `SLOPE` decades for
every doubling, at most `REACH` decades.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from services.insight.detectors.rows import F32, F64, I64, U16, Layout, Mask, Rows

BINS = 40
PER_OCTAVE = 4.0
SETTLE = 20
"""Values a table watches before it lays out its bins."""
SLOPE = 6.0
REACH = 2.0
_TOP_SHARE = 0.6
_FULL = 60_000
_SHIFT = BINS // 4
_OUTLIERS = 8
_CROWDED = 500
_EDGES = np.arange(BINS, dtype=np.int16)


class Ranks(Rows):
    """One table per view and series. Fixed when built: the number of views."""

    VIEWS: ClassVar[int] = 8
    LAYOUT: ClassVar[Layout] = {
        "survivors": ("u2", (VIEWS, BINS), 0),
        "count": ("u2", (VIEWS,), 0),
        "base": ("f4", (VIEWS,), np.nan),
        "top": ("f4", (VIEWS,), -np.inf),
    }
    survivors: U16
    count: U16
    base: F32
    top: F32

    def surprise(self, values: F64, mature: I64) -> F64:
        """-log10 of the tail probability per series and view; 0 where a view has fewer than `mature` values.

        `values` are ≥ 0, NaN where a view has nothing to say.
        """
        with np.errstate(divide="ignore", invalid="ignore"):
            logs = np.log2(values)
            place = (logs - self.base) * PER_OCTAVE
            known = (place > 0) & (self.count >= mature)
            if not known.any():
                return np.zeros_like(values)
            place = np.where(known, np.minimum(place, BINS - 1.000001), 0.0)
            low = place.astype(np.int64)[..., None]
            at = np.take_along_axis(self.survivors, low, axis=2)[..., 0].astype(np.float64)
            above = np.take_along_axis(self.survivors, low + 1, axis=2)[..., 0].astype(np.float64)
            larger = at + (above - at) * (place - low[..., 0])
            score = np.log10((self.count + 1.0) / (larger + 1.0))
            record = logs > self.top
            score += np.where(record, np.minimum(SLOPE * (logs - self.top), REACH), 0.0)
        return np.where(known, score, 0.0)

    def add(self, values: F64) -> None:
        """Take one value per series and view into the tables; NaN is left out."""
        valid = ~np.isnan(values)
        with np.errstate(divide="ignore", invalid="ignore"):
            logs = np.log2(values)
        self._lay_out(logs, valid)
        place = (logs - self.base) * PER_OCTAVE
        counted = valid & ~np.isnan(self.base)
        bins = np.where(counted, np.clip(np.nan_to_num(place, nan=0.0), 0, BINS - 1), -1).astype(np.int16)
        self.survivors += _EDGES <= bins[..., None]
        self.count += valid
        np.fmax(self.top, logs, out=self.top, casting="same_kind", where=valid)
        self._make_room()
        full = self.count >= _FULL
        if full.any():
            self.survivors[full] >>= 1
            self.count[full] >>= 1

    def _lay_out(self, logs: F64, valid: Mask) -> None:
        """Bins for tables that have settled; a table of zeros only waits for its first other value."""
        top = np.fmax(self.top, logs)
        ready = np.isnan(self.base) & valid & (self.count >= SETTLE) & np.isfinite(top)
        if not ready.any():
            return
        only_zeros = ready & ~np.isfinite(self.top)
        self.base[ready] = top[ready] - _TOP_SHARE * BINS / PER_OCTAVE
        self.survivors[only_zeros, 0] = self.count[only_zeros]
        self.count[ready & ~only_zeros] = 0

    def _make_room(self) -> None:
        """Shift a table up once its last bin is crowded; a few outliers alone must not cost it its resolution."""
        crowded = self.survivors[..., -1] > np.maximum(_OUTLIERS, self.count // _CROWDED)
        for row, view in np.argwhere(crowded):
            table = self.survivors[row, view]
            table[:-_SHIFT] = table[_SHIFT:].copy()
            table[-_SHIFT:] = 0
            table[0] = self.count[row, view]
            self.base[row, view] += _SHIFT / PER_OCTAVE
