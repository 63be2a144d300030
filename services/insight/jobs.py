"""What goes to the helper process and comes back; plain values that load nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from services.insight.sources import Fetched


@dataclass(frozen=True, slots=True)
class Judged:
    """One series of a probe: its last point, or the point of a watch that opens an incident."""

    key: str
    metric: str
    labels: Mapping[str, str]
    time: float
    value: float
    score: float
    hint: str
    points: int
    window: list[list[float]]
    """[[seconds since 1970, value], …] up to the judged point."""
    state: bytes = b""
    """What a watch remembers until next time."""
    opens: bool = False
    """Whether an incident begins here (watches)."""


@dataclass(frozen=True, slots=True)
class WatchJob:
    """A watch that is due: what its source answered, its threshold and bars, and what it remembers by series."""

    method: str
    threshold: float
    fetched: Fetched
    states: Mapping[str, bytes]
    bars: Mapping[str, float]
