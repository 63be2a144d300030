"""One alarm per incident: which point opens an incident, and when it is over."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from services.insight.detectors.rows import F32, F64, U16, Layout, Mask, Rows

CALM = 30
"""Points below `HOLD` of the peak after which an incident is over."""
HOLD = 0.7
WORSE = 0.5
"""Decades by which a point must pass the peak to be reported again while its incident is open."""


class Incidents(Rows):
    """Remembers the peak of each series' open incident. Works for every threshold at once: a point that would not
    open an incident for a low threshold does not open one for a higher one either."""

    LAYOUT: ClassVar[Layout] = {"peak": ("f4", (), 0), "calm": ("u2", (), 0)}
    peak: F32
    calm: U16

    def onset(self, surprise: F64) -> Mask:
        """Whether each series' point opens an incident or makes an open one distinctly worse."""
        over = self.calm > CALM
        peak = np.where(over, 0.0, self.peak.astype(np.float64))
        opens: Mask = (surprise > 0) & ((surprise > peak + WORSE) | (peak == 0))
        going_on = opens | (surprise > HOLD * peak)
        self.peak[:] = np.where(opens, surprise, peak)
        self.calm[:] = np.where(going_on, 0, np.minimum(self.calm + 1, CALM + 1))
        return opens
