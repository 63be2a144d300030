"""How rare is this value among the series' own past: a tail probability from a histogram of logarithms.

Each of several views of a series (deviation of the level, of the season, roughness …) has its own table. A value's
surprise is -log10 of the share of past values at least as large, so it means the same for every view of every
series whatever their distribution. Beyond the largest value ever seen the tail goes on falling as
it did before (heavy tails slowly, Gaussian ones fast), for at most `REACH` decades.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from services.insight.detectors.rows import F32, F64, I64, U8, U16, Layout, Mask, Rows

BINS = 40
PER_OCTAVE = 4.0
SETTLE = 20
"""Values a table watches before it lays out its bins."""
FALL = (1.0, 6.0)
"""Decades per octave a tail is taken to fall, at least and at most."""
STEEPER = 3.0
SURE, BEYOND, REACH = 1.5, 0.3, 8.0
"""Past `SURE` decades the extension goes on at the share `BEYOND` of its pace, to `REACH` decades at most."""
ODD, PATIENCE = 3.5, 20
_TOP_BIN = 23.63
"""Where the largest value of the first ones lies; not on an edge, or equal values would fall to either side."""
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
        "base": ("f8", (VIEWS,), np.nan),
        "top": ("f8", (VIEWS,), -np.inf),
        "pending": ("f4", (VIEWS,), -np.inf),
        "held": ("u1", (), 0),
    }
    survivors: U16
    count: U16
    base: F64
    top: F64
    pending: F32
    held: U8

    def surprise(self, values: F64, mature: I64) -> F64:
        """-log10 of the tail probability per series and view; 0 where a view has fewer than `mature` values.

        `values` are ≥ 0, NaN where a view has nothing to say.
        """
        with np.errstate(divide="ignore", invalid="ignore"):
            logs = np.log2(values)
            place = (logs - self.base) * PER_OCTAVE
            known = (place > 0) & (self.count >= mature) & np.isfinite(self.top)
            if not known.any():
                return np.zeros_like(values)
            place = np.where(known, np.minimum(place, BINS - 1.000001), 0.0)
            low = place.astype(np.int64)
            tables = self.survivors.reshape(-1)
            index = np.arange(0, tables.size, BINS).reshape(low.shape) + low
            at = tables[index].astype(np.float64)
            larger = at + (tables[index + 1] - at) * (place - low)
            score = np.log10((self.count + 1.0) / (larger + 1.0))
        self._extend(score, logs, known & (logs > self.top))
        return np.where(known, score, 0.0)

    def _extend(self, score: F64, logs: F64, records: Mask) -> None:
        """Beyond the largest value so far: go on as the tail fell over the octave below it, a little steeper."""
        rows, views = np.nonzero(records)
        if not len(rows):
            return
        below = (self.top[rows, views] - self.base[rows, views] - 1.0) * PER_OCTAVE
        low = np.clip(below, 0, BINS - 1).astype(np.int64)
        share = (self.survivors[rows, views, low] + 1.0) / (self.count[rows, views] + 1.0)
        fall = np.clip(score[rows, views] + np.log10(share), *FALL) * STEEPER
        more = fall * (logs[rows, views] - self.top[rows, views])
        score[rows, views] += np.minimum(more, np.minimum(SURE + (more - SURE) * BEYOND, REACH))

    def add(self, values: F64, surprise: F64) -> None:
        """Take one value per series and view into the tables; NaN is left out.

        While a series is surprising its largest values stay what they were, for `PATIENCE` points at most: a change
        that builds up over several points would otherwise hide behind its own beginning.
        """
        valid = ~np.isnan(values)
        with np.errstate(divide="ignore", invalid="ignore"):
            logs = np.log2(values)
        self._lay_out(logs, valid)
        place = (logs - self.base) * PER_OCTAVE
        counted = valid & ~np.isnan(self.base)
        bins = np.where(counted, np.maximum(np.minimum(place, BINS - 1), 0), -1).astype(np.int16)
        self.survivors += bins[..., None] >= _EDGES
        self.count += valid
        np.fmax(self.pending, logs, out=self.pending, where=valid, casting="same_kind")
        hold = (surprise >= ODD) & (self.held < PATIENCE)
        self.held[:] = np.where(hold, self.held + 1, 0)
        learn = ~hold[:, np.newaxis] & (self.pending > self.top)
        np.copyto(self.top, self.pending, where=learn)
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
        self.base[ready] = top[ready] - _TOP_BIN / PER_OCTAVE
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
