"""Sends the traces of executions, from their logs, after they are durable.

Whoever lets go of an execution only leaves a note of it here, and never waits: the notes are bounded, and what does not
fit is counted and given up. A job reads the logs and hands the spans to the exporter.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from models.dal.errors import Unavailable
from services.execution.book import Facts
from services.metrics import Metrics
from services.tracing.context import Lineage, Sampler, attempt_id, header, lineage
from services.tracing.parts import told_by
from services.tracing.span import Span
from services.tracing.story import Story, child_call_id

if TYPE_CHECKING:
    from services.execution.journal import EventRow

log = logging.getLogger("millrace.tracing")

MOST_NOTES = 10_000
MOST_SPANS = 512
"""Spans that are sent together."""
CLOSE_S = 3.0


class Refused(Exception):
    """The collector did not take the spans."""


class Exporter(Protocol):
    """Where spans go."""

    async def send(self, spans: Sequence[Span]) -> None:
        """Hand spans over. Raises Refused when they are given up."""
        ...

    async def close(self) -> None:
        """Send nothing more."""
        ...


@dataclass(frozen=True, slots=True)
class _Note:
    """An execution that was let go by the worker of this epoch; None: it was ended from outside."""

    facts: Facts
    epoch: int | None


class Tracer:
    """Remembers what is to be told, and tells it."""

    def __init__(
        self, exporter: Exporter, metrics: Metrics, sampler: Sampler | None = None, *, most: int = MOST_NOTES
    ) -> None:
        self.rows: Callable[[str], Awaitable[Sequence[EventRow]]]
        self._exporter = exporter
        self._metrics = metrics
        self._sampler = sampler or Sampler()
        self._notes: deque[_Note] = deque()
        self._most = most
        self._busy = asyncio.Lock()

    # ---- on the way of executions: quick, and never failing ---------------------------------------------------------

    def let_go(self, facts: Facts, epoch: int | None) -> None:
        """Tell of this execution soon."""
        if not self._keeps(facts):
            return
        if len(self._notes) >= self._most:
            self._metrics.trace_drops.labels("queue_full").inc()
            return
        self._notes.append(_Note(facts, epoch))

    def attempt_header(self, facts: Facts, key: tuple[str, int, int | None], attempt: int) -> str:
        """What an attempt sends on, so that what it calls becomes a part of the trace."""
        return self._header(facts, attempt_id(facts.execution_id, key, attempt))

    def child_header(self, facts: Facts, child_id: str) -> str:
        """What a sub-workflow begins with."""
        return self._header(facts, child_call_id(child_id))

    def _header(self, facts: Facts, span: int) -> str:
        line = self._line(facts)
        return header(line.trace_id, span, sampled=self._sampler.keeps(line))

    def _keeps(self, facts: Facts) -> bool:
        return self._sampler.keeps(self._line(facts))

    def _line(self, facts: Facts) -> Lineage:
        return lineage(facts.execution_id, facts.traceparent)

    # ---- in the background ------------------------------------------------------------------------------------------

    async def flush(self) -> None:
        """Tell everything that waits. Raises Unavailable while logs cannot be read; nothing is lost by that."""
        async with self._busy:
            while self._notes:
                await self._send(await self._some())

    async def _some(self) -> list[Span]:
        """The spans of the next notes, a batch or a little more."""
        spans: list[Span] = []
        while self._notes and len(spans) < MOST_SPANS:
            spans += await self._spans(self._notes[0])
            self._notes.popleft()
        return spans

    async def _spans(self, note: _Note) -> list[Span]:
        try:
            rows = await self.rows(note.facts.execution_id)
            return Story(note.facts).spans(rows, told_by(rows, note.epoch))
        except Unavailable:
            raise
        except Exception as error:
            log.warning("trace.unreadable execution=%s", note.facts.execution_id, exc_info=error)
            self._metrics.trace_drops.labels("unreadable").inc()
            return []

    async def _send(self, spans: Sequence[Span]) -> None:
        for start in range(0, len(spans), MOST_SPANS):
            some = spans[start : start + MOST_SPANS]
            try:
                await self._exporter.send(some)
            except Refused as error:
                log.warning("trace.refused spans=%d error=%s", len(some), error)
                self._metrics.trace_drops.labels("refused").inc(len(some))
            else:
                self._metrics.trace_spans.inc(len(some))

    async def close(self) -> None:
        """Tell what can be told quickly, then stop."""
        try:
            async with asyncio.timeout(CLOSE_S):
                await self.flush()
        except (TimeoutError, Unavailable) as error:
            log.warning("trace.cut_off waiting=%d error=%s", len(self._notes), error or type(error).__name__)
        await self._exporter.close()
