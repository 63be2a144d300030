"""Own-run insights: what is unusual about the runs of a workflow, on by default.

Every minute one worker looks at the workflows that ran since, and at those whose next run is overdue; what is unusual
becomes a signal, once per incident.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol
from uuid import UUID

from models import own_runs, signals
from models.records import uuid7
from models.run_access import packages as packages_of
from models.run_facts import Visible
from models.signals import SignalRow
from services.access.actor import Actor
from services.errors import WorkflowNotFound
from services.insight.jobs import OwnFinding, OwnJob, OwnRun
from services.insight.probes import Computer
from services.insight.sources import series_key
from services.metrics import Metrics

log = logging.getLogger("millrace.insight")
LOOKED_AT = 3_000
"""Newest runs that are judged, of at most `HISTORY`."""
HISTORY = timedelta(days=28)
DETAILED = 600
"""Newest runs whose nodes are read."""
TURN = timedelta(seconds=60)
AGAIN = timedelta(minutes=5)
QUIET = timedelta(hours=24)
THRESHOLD = 2.0
BATCH = 100
_TURNS = "own-runs"


class Registered(Protocol):
    """A registered workflow."""

    @property
    def id(self) -> UUID:
        """Its id."""
        ...

    @property
    def package_id(self) -> str:
        """The id its runs are listed under."""
        ...

    @property
    def community_id(self) -> int | None:
        """Its community."""
        ...


Find = Callable[[str], Awaitable[Registered | None]]
See = Callable[[Actor], Awaitable[Visible]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """The version with which a change began."""

    version: str
    published_at: datetime | None
    published_by: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnInsight:
    """One unusual thing, with the version it began with where it began with one."""

    finding: OwnFinding
    version: Version | None

    @property
    def hint(self) -> str:
        """In words, with the version."""
        if self.version is None:
            return self.finding.hint
        when = f" published at {self.version.published_at:%Y-%m-%d %H:%M}" if self.version.published_at else ""
        who = f" by {self.version.published_by}" if self.version.published_by else ""
        return f"{self.finding.hint}, since version {self.version.version}{when}{who}"


@dataclass(slots=True)
class _Memory:
    """What this process knows of a package: when it looked, until when silence is normal, what is going on."""

    looked: datetime
    expect_by: datetime | None
    open: set[str]


class OwnRuns:
    """Looks at the runs of workflows."""

    def __init__(self, db: Any, computer: Computer, *, find: Find, see: See, metrics: Metrics) -> None:
        self._db, self._computer = db, computer
        self._find, self._see, self._metrics = find, see, metrics
        self._memory: dict[str, _Memory] = {}
        self._last_turn: datetime | None = None
        self._known = False

    # ---- asked ----

    async def of(self, actor: Actor, identifier: str, *, now: datetime) -> list[OwnInsight]:
        """What is unusual about a workflow now. WorkflowNotFound when the caller may not see it."""
        workflow = await self._find(identifier)
        visible = await self._see(actor)
        if workflow is not None and not visible.everything and workflow.id not in visible.workflows:
            raise WorkflowNotFound(workflow=identifier).denying("no can_view for this user")
        unregistered = workflow is None and not visible.everything
        communities = frozenset({0, *visible.communities}) if unregistered else None
        names = [identifier] if workflow is None else [workflow.package_id, *await packages_of(self._db, workflow.id)]
        job = await self._job(list(dict.fromkeys(names)), now, communities)
        if workflow is None and not job.runs:
            raise WorkflowNotFound(workflow=identifier)
        [(findings, _)] = await self._computer.call("own_runs", [job], now.timestamp())
        return [await self._told(finding, workflow) for finding in findings]

    # ---- by itself ----

    async def look(self, now: datetime) -> int:
        """Take a turn if it is time and no other worker has; how many workflows were judged."""
        if not self._known:
            await own_runs.first_turn(self._db, _TURNS, at=now - HISTORY)
            self._known = True
        if not await own_runs.take_turn(self._db, _TURNS, at=now, last_before=now - TURN):
            return 0
        names = await self._due(now)
        for start in range(0, len(names), BATCH):
            await self._judge(names[start : start + BATCH], now)
        self._last_turn = now
        return len(names)

    async def _due(self, now: datetime) -> list[str]:
        """Packages with new runs (each at most every five minutes), and those whose silence is getting odd."""
        if self._last_turn is None:
            return await own_runs.known(self._db, since_day=(now - HISTORY).date().isoformat())
        found = []
        for row in await own_runs.changed(self._db, since=now - AGAIN - TURN):
            memory = self._memory.get(row["wpk_id"])
            if memory is None or (now - memory.looked >= AGAIN and row["created_at"] > memory.looked - AGAIN):
                found.append(row["wpk_id"])
        silent = [
            name
            for name, memory in self._memory.items()
            if memory.expect_by is not None and memory.looked < memory.expect_by <= now
        ]
        return sorted({*found, *silent})

    async def _judge(self, names: Sequence[str], now: datetime) -> None:
        jobs = [await self._job([name], now) for name in names]
        results = await self._computer.call("own_runs", jobs, now.timestamp())
        for name, (findings, expect_by) in zip(names, results, strict=True):
            due = datetime.fromtimestamp(expect_by, UTC) if expect_by is not None else None
            before = self._memory.get(name)
            is_open = {_series(name, finding) for finding in findings if finding.score >= THRESHOLD}
            self._memory[name] = _Memory(looked=now, expect_by=due, open=is_open)
            new = is_open - (before.open if before else set())
            if new:
                await self._signal(name, [one for one in findings if _series(name, one) in new], now)

    async def _signal(self, name: str, findings: Sequence[OwnFinding], now: datetime) -> None:
        """Store what is new; nothing that was signalled within a day, or is below what people's verdicts ask for."""
        keys = [_series(name, finding) for finding in findings]
        told = await own_runs.signalled(self._db, keys, since=now - QUIET)
        bars = await signals.bars(self._db, keys)
        workflow = await self._find(name)
        for key, finding in zip(keys, findings, strict=True):
            if key in told or finding.score < THRESHOLD + bars.get(key, 0.0):
                continue
            insight = await self._told(finding, workflow)
            row = SignalRow(
                id=uuid7(),
                metric=f"own:{finding.kind}",
                value=finding.now,
                score=round(finding.score, 4),
                hint=insight.hint,
                created_at=now,
                labels={"workflow": name, **({"node": finding.node} if finding.node else {})},
                method="own",
                source="own",
                series=key,
                workflow_id=workflow.id if workflow else None,
                community_id=workflow.community_id if workflow else None,
            )
            await signals.insert(self._db, row)
            self._metrics.signals.labels("own").inc()

    async def _job(self, names: Sequence[str], now: datetime, communities: frozenset[int] | None = None) -> OwnJob:
        since = now - HISTORY
        rows = await own_runs.recent(self._db, names, since=since, count=LOOKED_AT, communities=communities)
        newest = rows[:DETAILED]
        ours = {UUID(row["run_id"]): row["id"] for row in newest if row["source"] == "engine"}
        events: dict[UUID, list[str]] = {}
        for row in await own_runs.events(self._db, list(ours)):
            events.setdefault(ours[row.execution_id], []).append(row.events)
        logs = await own_runs.node_logs(self._db, [row["id"] for row in newest if row["source"] != "engine"])
        told = {row.id: row.node_logs for row in logs}
        return OwnJob(
            runs=[
                OwnRun(
                    run_id=row["run_id"],
                    started=row["created_at"].timestamp(),
                    status=row["status"],
                    duration_ms=row["duration_ms"],
                    version=row["workflow_version"],
                    error=row["error"],
                    events=tuple(events.get(row["id"], ())),
                    node_logs=told.get(row["id"]),
                )
                for row in reversed(rows)
            ]
        )

    async def _told(self, finding: OwnFinding, workflow: Registered | None) -> OwnInsight:
        if finding.version is None:
            return OwnInsight(finding=finding, version=None)
        row = await own_runs.published(self._db, workflow.id, finding.version) if workflow else None
        version = Version(
            version=finding.version,
            published_at=row["created"] if row else None,
            published_by=row["name"] if row else None,
        )
        return OwnInsight(finding=finding, version=version)


def _series(name: str, finding: OwnFinding) -> str:
    return series_key(f"own:{finding.kind}", {"workflow": name, **({"node": finding.node} if finding.node else {})})
