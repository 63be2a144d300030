"""What is written about runs, as values; the same for both databases. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

RunKey = tuple[str, str, int]
"""wpk_id, run_id and community (0 = none): what makes a run one run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRow:
    """A run to be inserted, or the fields of a known one to be written again (None = as it was)."""

    id: UUID
    wpk_id: str
    run_id: str
    status: str
    source: str
    created_at: datetime
    updated_at: datetime
    inputs: Any = None
    outputs: Any = None
    node_logs: Any = None
    duration_ms: int | None = None
    community_id: int | None = None
    workflow_id: UUID | None = None
    workflow_version: str | None = None
    reported_status: str | None = None
    error: str | None = None
    prefer_new: bool = True  # whether payloads replace those that are there, or only fill gaps

    @property
    def key(self) -> RunKey:
        """What makes this run one run."""
        return self.wpk_id, self.run_id, self.community_id or 0


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownRun:
    """What the table knows of a run, as far as a further report can change it."""

    id: UUID
    status: str
    created_at: datetime
    duration_ms: int | None = None
    reported_status: str | None = None
    error: str | None = None


@dataclass(slots=True)
class LatestRun:
    """The newest run of a workflow in a round, and how many new ones there were."""

    run_id: str
    status: str
    at: datetime
    added: int = 0


@dataclass(slots=True)
class Tally:
    """What a round adds to the counters; a run that changes its status is taken away there and added here."""

    counts: dict[tuple[str, int, str], int] = field(default_factory=lambda: defaultdict(int))
    """(wpk_id, community or 0, status) → runs"""
    daily: dict[tuple[str, int, str, str], list[int]] = field(default_factory=lambda: defaultdict(lambda: [0, 0]))
    """(wpk_id, community or 0, day, status) → [runs, sum of durations in ms]"""
    latest: dict[UUID, LatestRun] = field(default_factory=dict)

    def add(self, row: RunRow | tuple[RunKey, KnownRun], sign: int = 1) -> None:
        """Count a run in (or, with sign -1, out)."""
        if isinstance(row, RunRow):
            key, status, at, duration = row.key, row.status, row.created_at, row.duration_ms
        else:
            key, status, at, duration = row[0], row[1].status, row[1].created_at, row[1].duration_ms
        wpk_id, _, community = key
        self.counts[wpk_id, community, status] += sign
        day = self.daily[wpk_id, community, at.date().isoformat(), status]
        day[0] += sign
        day[1] += sign * (duration or 0)

    def saw(self, row: RunRow, *, added: int) -> None:
        """Note a run for its workflow's summary; among equal times the later one is the latest."""
        if row.workflow_id is None:
            return
        known = self.latest.get(row.workflow_id)
        if known is None:
            self.latest[row.workflow_id] = LatestRun(row.run_id, row.status, row.created_at, added)
            return
        known.added += added
        if row.created_at >= known.at or row.run_id == known.run_id:
            known.run_id, known.status, known.at = row.run_id, row.status, row.created_at

    def changed_counts(self) -> Mapping[tuple[str, int, str], int]:
        """The counters that really change, in one fixed order so that writers never wait for each other in a ring."""
        return {key: self.counts[key] for key in sorted(self.counts) if self.counts[key]}

    def changed_days(self) -> Mapping[tuple[str, int, str, str], list[int]]:
        """The daily aggregates that really change, in one fixed order."""
        return {key: self.daily[key] for key in sorted(self.daily) if any(self.daily[key])}


@dataclass(frozen=True, slots=True, kw_only=True)
class Visible:
    """Whose runs the caller may see.

    A run of a registered workflow needs the view flag on it (`workflows`); any other run is visible to the members
    of its community (`communities`) or, where it has none, to everybody with a key.
    """

    everything: bool = False
    workflows: frozenset[UUID] = frozenset()
    communities: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFilter:
    """Which runs a list or a search is about; fields that are None do not restrict. `until` is exclusive."""

    visible: Visible = field(default_factory=Visible)
    wpk_id: str | None = None
    status: str | None = None
    source: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    min_duration_ms: int | None = None
