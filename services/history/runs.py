"""The run history: every run of every runner, logged once, listed at constant cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, Protocol
from uuid import UUID

from models.bulk import Row
from models.dal import Round
from models.records import uuid7
from models.run_writer import PostgresRunWriter, SqliteRunWriter
from services.conversation import Conversation, drive, drive_async
from services.history.log_round import Logged, Report, log_round
from services.history.record import Run
from services.metrics import Metrics

ROUND = 64
"""Requests whose runs share one transaction, at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The registered workflow a run belongs to."""

    workflow_id: UUID
    version: str
    community_id: int | None


class Member(NamedTuple):
    """One request: its reports, and its row of the audit record."""

    reports: Sequence[Report]
    record: Row | None = None


class Lane(Protocol):
    """A grouped writer of the data layer."""

    async def submit(self, member: Member) -> list[Logged]:
        """Write the reports of one request together with everybody else's."""


class RunLog:
    """Writes run reports, in rounds shared by everybody who waits."""

    def __init__(self, db: Any, now: Callable[[], datetime], *, metrics: Metrics | None = None) -> None:
        """`now` is the clock; `db` an open AsyncDAL."""
        self.now = now
        self._metrics = metrics
        self._lane: Lane = db.grouped(sqlite=_sqlite_round, postgres=_postgres_round, limit=ROUND)

    async def log(
        self, runs: Sequence[Run], *, source: str, target: Target | None = None, community_id: int | None = None
    ) -> list[Logged]:
        """Log runs of one target; on return they are durable. `community_id` is where runs without a target belong."""
        reports = [self.report(run, source=source, target=target, community_id=community_id) for run in runs]
        return await self.submit(reports)

    def report(self, run: Run, *, source: str, target: Target | None = None, community_id: int | None = None) -> Report:
        """A run with what the server knows of it."""
        return Report(
            id=uuid7(),
            run=run,
            source=source,
            received_at=self.now(),
            community_id=target.community_id if target else community_id,
            workflow_id=target.workflow_id if target else None,
            workflow_version=target.version if target else None,
        )

    async def submit(self, reports: Sequence[Report], *, record: Row | None = None) -> list[Logged]:
        """Log reports; on return they are durable. `record`: their row of the audit record, of the same transaction."""
        if not reports:
            return []
        logged = await self._lane.submit(Member(reports, record))
        if self._metrics is not None:
            for report in reports:
                self._metrics.run_logged(report.source, report.run.canonical)
        return logged


def _sqlite_round(round_: Round, members: Sequence[Member]) -> list[list[Logged]]:
    return _dealt(members, drive(_round(members), SqliteRunWriter(round_)))


async def _postgres_round(connection: Any, members: Sequence[Member]) -> list[list[Logged]]:
    return _dealt(members, await drive_async(_round(members), PostgresRunWriter(connection)))


def _round(members: Sequence[Member]) -> Conversation[list[Logged]]:
    reports = [report for member in members for report in member.reports]
    return log_round(reports, [member.record for member in members if member.record is not None])


def _dealt(members: Sequence[Member], logged: Sequence[Logged]) -> list[list[Logged]]:
    """Every member's share of the answers."""
    rest = iter(logged)
    return [[next(rest) for _ in member.reports] for member in members]
