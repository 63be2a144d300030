"""A probe: ask a source, judge the last point of every series, keep what is unusual as signals."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Protocol
from uuid import UUID

from models import signals
from models.dal import Call
from models.records import uuid7
from models.signals import SignalRow
from services.access.actor import Actor
from services.access.audit import AuditLog, Category, Entry, Result, say
from services.errors import BadRequest
from services.insight.jobs import Judged
from services.insight.sources import Sources, Wanted
from services.metrics import Metrics

METHODS = ("auto", "zscore", "ewma")
SHOWN_SERIES = 100
"""Signals one probe answers with (all of them are stored)."""


class Computer(Protocol):
    """Runs jobs of `services.insight.compute` elsewhere."""

    async def call(self, job: str, *arguments: Any) -> Any:
        """The result of a job."""
        ...


class Workflow(Protocol):
    """A registered workflow that a signal may be about."""

    @property
    def id(self) -> UUID:
        """Its id."""
        ...

    @property
    def community_id(self) -> int | None:
        """Its community."""
        ...


Calls = Sequence[Call[Any]]
Find = Callable[[str], Awaitable[Workflow | None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What to probe. Lookback in minutes, step in seconds."""

    query: str
    threshold: float = 2.0
    lookback_minutes: int = 60
    step_seconds: int = 60
    method: str = "auto"


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One series as a probe sees it; `signal_id` when it was unusual enough to be stored."""

    judged: Judged
    signal_id: UUID | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Every series of a probe, the strongest first."""

    source: str
    method: str
    found: Sequence[Found]

    @property
    def strongest(self) -> Found:
        """The series with the largest score."""
        return self.found[0]


class Noted(Protocol):
    """Where a probe counts and records what it stored."""

    @property
    def metrics(self) -> Metrics:
        """The counters."""
        ...

    @property
    def audit(self) -> AuditLog:
        """The record."""
        ...


class Probes:
    """Runs probes and stores their signals."""

    def __init__(self, db: Any, sources: Sources, computer: Computer, *, find: Find, around: Noted) -> None:
        self._db, self._sources, self._computer = db, sources, computer
        self._find, self._metrics, self._audit = find, around.metrics, around.audit

    async def probe(
        self, actor: Actor, question: Question, *, now: datetime, also: Callable[[Answer], Calls] = lambda _: ()
    ) -> Answer:
        """Judge every series now. BadRequest without data, Unavailable when the source does not answer.

        `also` yields statements for the transaction that stores the signals.
        """
        if question.method not in METHODS:
            raise BadRequest(f"No method {question.method!r}; there are {', '.join(METHODS)}")
        wanted = Wanted(
            query=question.query,
            start=now - timedelta(minutes=question.lookback_minutes),
            end=now,
            step_s=question.step_seconds,
            actor=actor,
        )
        fetched = await self._sources.fetch(wanted)
        judged: list[Judged] = await self._computer.call("probe", question.method, fetched)
        if not judged:
            raise BadRequest(f"No data for {question.query!r} in the last {question.lookback_minutes} minutes")
        named = [
            one if one.metric else replace(one, metric=question.query, key=question.query + one.key) for one in judged
        ]
        bars = await signals.bars(self._db, [one.key for one in named])
        found = []
        for one in sorted(named, key=lambda one: -one.score):
            unusual = one.score > 0 and one.score >= question.threshold + bars.get(one.key, 0.0)
            row = await self.row(one, question.method, fetched.source, actor, now) if unusual else None
            found.append((one, row))
        answer = Answer(
            source=fetched.source,
            method=question.method,
            found=[Found(judged=one, signal_id=row.id if row else None) for one, row in found],
        )
        new = [(row, one.window) for one, row in found if row is not None]
        if not new:
            await self.store([], also(answer))
            return answer
        entry = _entry(actor, question, [row for row, _ in new])
        await self.store(new, [*also(answer), self._audit.call(entry)])
        say(entry)
        return answer

    async def row(self, one: Judged, method: str, source: str, actor: Actor, now: datetime) -> SignalRow:
        """A signal about a series; one about the runs of a registered workflow belongs to that workflow."""
        workflow = await self._workflow(one) if source == "local" else None
        return SignalRow(
            id=uuid7(),
            metric=one.metric,
            value=one.value,
            score=one.score,
            hint=one.hint,
            created_at=now,
            labels=dict(one.labels),
            method=method,
            source=source,
            series=one.key,
            workflow_id=workflow.id if workflow else None,
            community_id=workflow.community_id if workflow else actor.community_id,
        )

    async def store(self, rows: Sequence[tuple[SignalRow, Any]], also: Calls = ()) -> None:
        """Store signals and what belongs to them, all or none."""
        if rows or also:
            await self._db.batch(*also, *(signals.insert(self._db, row, window) for row, window in rows))
        for row, _ in rows:
            self._metrics.signals.labels(row.method or "").inc()

    async def _workflow(self, one: Judged) -> Workflow | None:
        name = one.labels.get("workflow")
        return await self._find(name) if name else None


def _entry(actor: Actor, question: Question, rows: Sequence[SignalRow]) -> Entry:
    """One row for a probe, however many signals it stores."""
    first = rows[0]
    return Entry(
        category=Category.AUDIT,
        action="store_signal",
        result=Result.SUCCESS,
        actor=actor,
        community_id=first.community_id,
        workflow_id=first.workflow_id,
        resource=f"signal:{first.id}",
        details={"query": question.query, "signals": len(rows)},
    )
