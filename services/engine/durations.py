"""Durations and counts as definitions write them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

_UNITS = {"ms": 0.001, "": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_TEXT = re.compile(r"\s*(\d{1,9}(?:\.\d{1,9})?)\s*(ms|s|m|h|d)?\s*")
MAX_SECONDS = 366 * 86_400.0
"""No delay is longer than a year."""


def seconds(value: Any) -> float:
    """Seconds from a number or from text such as `30`, `30s`, `5m`, `2h`; raises ValueError."""
    if isinstance(value, bool):
        raise ValueError("a duration is a number of seconds or text such as 30s, 5m or 2h")  # noqa: TRY004 - a value
    if isinstance(value, str):
        match = _TEXT.fullmatch(value)
        if match is None:
            raise ValueError(f"{value[:40]!r} is not a duration such as 30, 30s, 5m or 2h")
        value = float(match[1]) * _UNITS[match[2] or ""]
    if not isinstance(value, int | float):
        raise ValueError("a duration is a number of seconds or text such as 30s, 5m or 2h")  # noqa: TRY004 - a value
    if not 0 <= value <= MAX_SECONDS:
        raise ValueError("a duration is between 0 seconds and 366 days")
    return float(value)


def whole(value: Any) -> int:
    """A whole number that is not negative; raises ValueError."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError("a whole number that is not negative is needed")
    return value


def moment(value: Any) -> datetime:
    """A time from RFC 3339 text (no zone: UTC); raises ValueError."""
    if not isinstance(value, str):
        raise ValueError("a time is RFC 3339 text such as 2026-01-17T12:00:00Z")  # noqa: TRY004 - a value
    at = datetime.fromisoformat(value)
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)


def later(at: datetime, delay_s: float) -> datetime:
    """The time so many seconds after another."""
    return at + timedelta(seconds=delay_s)
