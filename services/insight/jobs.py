"""What goes to the helper process and comes back; plain values that load nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

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


@dataclass(frozen=True, slots=True)
class OwnRun:
    """One run of a workflow. `events`: rows of its event log (JSON); `node_logs`: what another runner told."""

    run_id: str
    started: float
    status: str
    duration_ms: int | None
    version: str | None
    error: str | None
    events: tuple[str, ...]
    node_logs: Any


@dataclass(frozen=True, slots=True)
class OwnJob:
    """The newest runs of one workflow, oldest first."""

    runs: Sequence[OwnRun]


@dataclass(frozen=True, slots=True)
class OwnFinding:
    """One unusual thing. `version`: the one whose first run began it, if it began with a version."""

    kind: str
    node: str | None
    score: float
    since: float
    usual: float
    now: float
    hint: str
    examples: tuple[str, ...]
    version: str | None
