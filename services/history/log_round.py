"""One round of run reports: which are new, which change a known run, what that does to the counters.

The round is a conversation (`services.conversation`) with a run writer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from models.bulk import Row
from models.run_facts import KnownRun, RunKey, RunRow, Tally
from services.conversation import Conversation
from services.history.record import RANK, Run, Stored, merge

INDEX = "index"
"""The outbox's work for a run that has ended: keyword index, percentiles, embedding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A run as reported, with what the server knows about where it belongs."""

    id: UUID
    run: Run
    source: str
    received_at: datetime
    community_id: int | None = None
    workflow_id: UUID | None = None
    workflow_version: str | None = None

    @property
    def key(self) -> RunKey:
        """What makes this run one run."""
        return self.run.wpk_id, self.run.run_id, self.community_id or 0

    def row(self) -> RunRow:
        """The row of a run that is new."""
        run = self.run
        return RunRow(
            id=self.id,
            wpk_id=run.wpk_id,
            run_id=run.run_id,
            status=str(run.canonical),
            source=self.source,
            created_at=run.created_at or self.received_at,
            updated_at=self.received_at,
            inputs=run.inputs,
            outputs=run.outputs,
            node_logs=run.node_logs,
            duration_ms=run.duration_ms,
            community_id=self.community_id,
            workflow_id=self.workflow_id,
            workflow_version=self.workflow_version,
            reported_status=run.reported_status,
            error=run.error,
        )


@dataclass(frozen=True, slots=True)
class Logged:
    """What became of a report: the row's id, and whether the run was new."""

    id: UUID
    new: bool


def log_round(reports: Sequence[Report], records: Sequence[Row] = ()) -> Conversation[list[Logged]]:
    """Log every report; later reports of one run see what earlier ones of the same round did.

    `records`: rows of the audit record that belong to them.
    """
    firsts: dict[RunKey, Report] = {}
    for report in reports:
        firsts.setdefault(report.key, report)
    rows = [report.row() for report in firsts.values()]
    tally, new = Tally(), set()
    for row, inserted in zip(rows, (yield ("insert", rows)), strict=True):
        if inserted:
            new.add(row.key)
            tally.add(row)
            tally.saw(row, added=1)
    again = [report for report in reports if report.key not in new or firsts[report.key] is not report]
    known = yield from _again(again, tally)
    if records:
        yield "record", records
    yield "count", tally
    ended = {row.id for row in rows if row.key in new and RANK[row.status]}
    ended.update(known[report.key].id for report in again if RANK[known[report.key].status])
    yield "enqueue", INDEX, ended, max(report.received_at for report in reports)
    return [
        Logged(report.id, True)
        if report.key in new and firsts[report.key] is report
        else Logged(known[report.key].id, False)
        for report in reports
    ]


def _again(reports: Sequence[Report], tally: Tally) -> Conversation[dict[RunKey, KnownRun]]:
    """Further reports of known runs, in order."""
    if not reports:
        return {}
    known: dict[RunKey, KnownRun] = yield "load", list({report.key for report in reports})
    updates = []
    for report in reports:
        before = known[report.key]
        row = _merged(before, report)
        after = KnownRun(
            id=before.id,
            status=row.status,
            created_at=row.created_at,
            duration_ms=row.duration_ms,
            reported_status=row.reported_status,
            error=row.error,
        )
        tally.add((report.key, before), -1)
        tally.add((report.key, after))
        tally.saw(row, added=0)
        known[report.key] = after
        updates.append(row)
    for wave in _waves(updates):
        yield "update", wave
    return known


def _merged(known: KnownRun, report: Report) -> RunRow:
    stored = Stored(
        status=known.status,
        reported_status=known.reported_status,
        duration_ms=known.duration_ms,
        created_at=known.created_at,
        error=known.error,
    )
    merged = merge(stored, report.run)
    forward = RANK[report.run.canonical] >= RANK[known.status]
    return replace(
        report.row(),
        id=known.id,
        status=merged.status,
        reported_status=merged.reported_status,
        duration_ms=merged.duration_ms,
        error=merged.error,
        created_at=(report.run.created_at if forward else None) or known.created_at,
        prefer_new=forward,
    )


def _waves(rows: Sequence[RunRow]) -> list[list[RunRow]]:
    """The rows in order, cut so that no run is updated twice by one statement."""
    waves: list[list[RunRow]] = [[]]
    seen: set[UUID] = set()
    for row in rows:
        if row.id in seen:
            waves.append([])
            seen.clear()
        seen.add(row.id)
        waves[-1].append(row)
    return waves
