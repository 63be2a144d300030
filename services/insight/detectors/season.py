"""The day and the week of a series, learned from its own past.

24 hourly means make the day; 168 hourly deviations from the day make the week, with the usual spread of each hour.
An hour is committed when it is over, so a burst counts once however many points it had. Between hours the profile
is interpolated. A week that was seen once counts half. A day is believed from its second, a week from its first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from services.insight.detectors.rows import F16, F32, F64, I64, U8, Layout, Mask, Rows

DAY_RATE = 0.1
WEEK_RATE = 0.2
DAYS_NEEDED = 2
_SPREAD_MEMORY = 100.0
_SPREAD_FLOOR = 0.3
_DRIFT_MEMORY = 18.0
_HALF_MAX = 30_000.0
_TINY = 1e-300
_HUGE = 1e9


@dataclass(frozen=True, slots=True)
class SeasonView:
    """What the season says about one point per series; NaN where it is not known yet."""

    day_error: F64
    week_error: F64
    """Error against the week where it is known, else against the day."""
    week_ratio: F64
    """Error against the week in units of that hour's usual error."""
    drift: F64
    """Short mean of `week_error`."""
    forecast: F64


class Season(Rows):
    """Daily and weekly profile of each series, in about 1 kB."""

    LAYOUT: ClassVar[Layout] = {
        "day": ("f4", (24,), 0),
        "days": ("u1", (24,), 0),
        "week": ("f2", (168,), 0),
        "spread": ("f2", (168,), 0),
        "weeks": ("u1", (168,), 0),
        "unit": ("f8", (), 0),
        "hour": ("i8", (), -1),
        "sum": ("f8", (), 0),
        "error_sum": ("f8", (), 0),
        "points": ("f4", (), 0),
        "usual_error": ("f8", (), 0),
        "drift": ("f8", (), 0),
    }
    day: F32
    days: U8
    week: F16
    spread: F16
    weeks: U8
    unit: F64
    hour: I64
    sum: F64
    error_sum: F64
    points: F32
    usual_error: F64
    drift: F64

    def observe(self, times: F64, values: F64, level_error: F64) -> SeasonView:
        """Judge one point per series (`times` in seconds since 1970), then learn from it."""
        hours, within = np.divmod(times / 3600.0, 1.0)
        hour = hours.astype(np.int64)
        over = np.nonzero((hour != self.hour) & (self.points > 0))[0]
        if len(over):
            self._commit(over)
        self.hour[:] = hour
        view = self._judge(hour, within - 0.5, values)
        known = ~np.isnan(view.day_error)
        self.sum += values
        self.error_sum += np.abs(np.where(known, view.day_error, level_error))
        self.points += 1
        return view

    def _judge(self, hour: I64, offset: F64, values: F64) -> SeasonView:
        rows = np.arange(len(hour))
        near = hour + np.where(offset > 0, 1, -1)
        weight = np.abs(offset)
        today, beside = hour % 24, near % 24
        known = self.days[rows, today] >= DAYS_NEEDED
        day = self.day[rows, today].astype(np.float64)
        other = np.where(self.days[rows, beside] >= DAYS_NEEDED, self.day[rows, beside], day)
        forecast = np.where(known, day + weight * (other - day), np.nan)
        day_error = values - forecast
        slot, slot_beside = hour % 168, near % 168
        week_known = known & (self.weeks[rows, slot] >= 1)
        week = self.week[rows, slot].astype(np.float64)
        other = np.where(self.weeks[rows, slot_beside] >= 1, self.week[rows, slot_beside], week)
        bend = np.where(week_known, (week + weight * (other - week)) * self.unit, 0.0)
        week_error = day_error - bend
        size = np.abs(week_error)
        self.usual_error += np.where(week_known, size - self.usual_error, 0.0) / _SPREAD_MEMORY
        usual = self.spread[rows, slot].astype(np.float64) * self.unit + _SPREAD_FLOOR * self.usual_error + _TINY
        self.drift += np.where(known, week_error - self.drift, 0.0) / _DRIFT_MEMORY
        return SeasonView(
            day_error=day_error,
            week_error=week_error,
            week_ratio=np.where(week_known, np.minimum(size, _HUGE * usual) / usual, np.nan),
            drift=np.where(known, self.drift, np.nan),
            forecast=forecast + bend,
        )

    def _commit(self, rows: I64) -> None:
        """Take the hour that ended into the profiles of these series."""
        hour, points = self.hour[rows], self.points[rows]
        mean, error = self.sum[rows] / points, self.error_sum[rows] / points
        today, slot = hour % 24, hour % 168
        seen = self.days[rows, today].astype(np.float64)
        first = self.day[rows, today].astype(np.float64)
        self.day[rows, today] = first + np.maximum(DAY_RATE, 1 / (seen + 1)) * (mean - first)
        self.days[rows, today] = np.minimum(seen + 1, 255)
        deviation = mean - self.day[rows, today]
        self._fit_unit(rows, np.maximum(np.abs(deviation), error))
        unit = np.maximum(self.unit[rows], _TINY)
        seen = self.weeks[rows, slot].astype(np.float64)
        week, spread = self.week[rows, slot].astype(np.float64), self.spread[rows, slot].astype(np.float64)
        self.week[rows, slot] = week + np.maximum(WEEK_RATE, 1 / (seen + 2)) * (deviation / unit - week)
        self.spread[rows, slot] = spread + np.maximum(WEEK_RATE, 1 / (seen + 1)) * (error / unit - spread)
        self.weeks[rows, slot] = np.minimum(seen + 1, 255)
        self.sum[rows] = self.error_sum[rows] = self.points[rows] = 0

    def _fit_unit(self, rows: I64, size: F64) -> None:
        """Keep half-precision fields in range: their unit is the first deviation seen, enlarged when outgrown."""
        unit = self.unit[rows]
        grown = np.where(unit == 0, size, np.where(size > unit * _HALF_MAX, size, unit))
        changed: Mask = (grown != unit) & (unit > 0)
        for row, ratio in zip(rows[changed], (unit / np.maximum(grown, _TINY))[changed], strict=True):
            self.week[row] = self.week[row] * np.float32(ratio)
            self.spread[row] = self.spread[row] * np.float32(ratio)
        self.unit[rows] = grown
