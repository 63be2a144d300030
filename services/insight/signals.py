"""Stored signals: read, judged by people."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from models import signals
from models.run_facts import Visible
from models.signals import Position, SignalFilter, SignalRow
from services.access.actor import Actor
from services.access.audit import AuditLog, Category, Entry, Result, say
from services.errors import NotFound
from services.idempotency import Also, nothing
from services.insight.probes import Find

STEP, MOST = 0.5, 3.0
"""What one `noise` adds to the bar of a series, and the most it can become: three times and a thousand times rarer."""


COUNTED = 10_000
"""So many signals of a list are counted."""
See = Callable[[Actor], Awaitable[Visible]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Detail:
    """A signal with its evidence."""

    signal: SignalRow
    window: Any
    """[[seconds since 1970, value], …] up to the judged point."""
    runs: list[Any]
    bar: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What a person says of a signal: `useful`, `noise` or `expected`."""

    verdict: str
    note: str | None = None


class Signals:
    """The signals somebody may see."""

    def __init__(self, db: Any, *, see: See, find: Find, audit: AuditLog) -> None:
        self._db, self._see, self._find, self._audit = db, see, find, audit

    async def workflow(self, identifier: str) -> UUID:
        """The workflow an identifier names; an id nobody has when there is none, so that a list is empty."""
        found = await self._find(identifier)
        return found.id if found is not None else UUID(int=0)

    async def page(
        self, actor: Actor, wanted: SignalFilter, *, after: Position | None, count: int
    ) -> tuple[list[SignalRow], int, Position | None]:
        """Signals newest first, how many there are (one more than `COUNTED` stands for more), and where to go on."""
        visible = replace(wanted, visible=await self._see(actor))
        rows = await signals.page(self._db, visible, after=after, count=count + 1)
        shown = rows[:count]
        more = (shown[-1].created_at, shown[-1].id) if len(rows) > count else None
        return shown, await signals.count(self._db, visible, cap=COUNTED + 1), more

    async def detail(self, actor: Actor, signal: UUID) -> Detail:
        """One signal with the window it was judged on and the runs within it. NotFound when not visible."""
        row, window = await self._get(actor, signal)
        start, end = _span(row, window)
        runs = await signals.running(self._db, start, end, await self._see(actor))
        bars = await signals.bars(self._db, [row.series]) if row.series else {}
        return Detail(signal=row, window=window or [], runs=runs, bar=bars.get(row.series or "", 0.0))

    async def judge(
        self, actor: Actor, signal: UUID, judgement: Judgement, *, now: datetime, also: Also = nothing
    ) -> float:
        """Keep a person's verdict; the bar of the series from now on. `noise` raises it, `useful` restores it.

        `also` yields statements of the same transaction for the bar.
        """
        verdict = judgement.verdict
        row, _ = await self._get(actor, signal)
        series = row.series or row.metric
        bar = (await signals.bars(self._db, [series])).get(series, 0.0)
        if verdict == "noise":
            bar = min(bar + STEP, MOST)
        elif verdict == "useful":
            bar = 0.0
        entry = Entry(
            category=Category.AUDIT,
            action="judge_signal",
            result=Result.SUCCESS,
            actor=actor,
            community_id=row.community_id,
            workflow_id=row.workflow_id,
            resource=str(signal),
            details={"verdict": verdict, "series": series, "bar": bar},
        )
        await self._db.batch(
            *also(bar),
            signals.judge(self._db, signal, verdict=verdict, note=judgement.note),
            signals.set_bar(self._db, series, bar, at=now),
            self._audit.call(entry),
        )
        say(entry)
        return bar

    async def _get(self, actor: Actor, signal: UUID) -> tuple[SignalRow, Any]:
        found = await signals.get(self._db, signal, await self._see(actor))
        if found is None:
            missing = NotFound("Signal not found", signal=str(signal))
            hidden = await signals.get(self._db, signal, Visible(everything=True))
            raise missing.denying("the signal is of runs the caller may not view") if hidden else missing
        return found


def _span(row: SignalRow, window: Any) -> tuple[datetime, datetime]:
    if not window:
        return row.created_at, row.created_at
    return datetime.fromtimestamp(window[0][0], UTC), datetime.fromtimestamp(window[-1][0], UTC)
