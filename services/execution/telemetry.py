"""What executions are counted by, written about and traced by: always after the fact, never in the way of a commit."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from models.journal import Unit
from services.engine.inputs import AttemptEnded
from services.engine.state import State
from services.engine.statuses import PUBLIC
from services.execution.book import Facts
from services.metrics import Metrics

if TYPE_CHECKING:
    from services.execution.journal import EventRow
    from services.tracing.tracer import Tracer

log = logging.getLogger("millrace.execution")
MOST_TEXT = 500
"""Characters of an error message in a log line; all of it is in the execution."""


class Telemetry:
    """Is told what became durable. Every method is cheap, and none fails. Without a tracer nothing is traced."""

    def __init__(self, metrics: Metrics | None = None, tracer: Tracer | None = None) -> None:
        self.metrics = metrics or Metrics()
        self._tracer = tracer

    def read_with(self, rows: Callable[[str], Awaitable[Sequence[EventRow]]]) -> None:
        """How the log of an execution is read."""
        if self._tracer is not None:
            self._tracer.rows = rows

    def waited(self, since: datetime, until: datetime) -> None:
        """An execution is driven for the first time."""
        self.metrics.queue_seconds.observe(max(0.0, (until - since).total_seconds()))

    def attempt_ended(self, ended: AttemptEnded) -> None:
        """An attempt ended in this process, in a task that works for its execution."""
        self.metrics.attempt_ended(ended.outcome)
        failure = ended.failure
        if failure is not None:
            log.info(
                "attempt.failed node=%s run=%d item=%s attempt=%d outcome=%s error_type=%s error=%s",
                ended.node,
                ended.run,
                ended.item,
                ended.attempt,
                ended.outcome.value,
                failure.type.value,
                failure.message[:MOST_TEXT],
            )
        elif log.isEnabledFor(logging.DEBUG):
            log.debug(
                "attempt.ended node=%s run=%d item=%s attempt=%d outcome=%s",
                ended.node,
                ended.run,
                ended.item,
                ended.attempt,
                ended.outcome.value,
            )

    def ended(self, unit: Unit) -> None:
        """Executions ended with this unit, which is written."""
        for facts, state in unit.endings:
            self._count(facts, state)
            if self._tracer is not None and _from_outside(unit, facts):
                self._tracer.let_go(facts, None)

    def let_go(self, facts: Facts, epoch: int) -> None:
        """This process drives an execution no more: it ended, waits, or is handed back."""
        if self._tracer is not None:
            self._tracer.let_go(facts, epoch)

    def attempt_header(self, facts: Facts, key: tuple[str, int, int | None], attempt: int) -> str | None:
        """The `traceparent` that an attempt sends on."""
        return facts.traceparent if self._tracer is None else self._tracer.attempt_header(facts, key, attempt)

    def child_header(self, facts: Facts, child_id: str) -> str | None:
        """The `traceparent` that a sub-workflow begins with."""
        return facts.traceparent if self._tracer is None else self._tracer.child_header(facts, child_id)

    def _count(self, facts: Facts, state: State) -> None:
        assert state.ended_at is not None
        seconds = max(0.0, (state.ended_at - facts.start_time).total_seconds())
        status, failure = PUBLIC[state.phase].value, state.failure
        self.metrics.execution_ended(status, seconds)
        if status == "failed" and failure is not None:
            log.warning(
                "execution.failed execution=%s workflow=%s node=%s error_type=%s error=%s",
                facts.execution_id,
                facts.workflow_ref,
                failure.node,
                failure.type.value,
                failure.message[:MOST_TEXT],
            )
        elif log.isEnabledFor(logging.DEBUG):
            log.debug(
                "execution.ended execution=%s workflow=%s status=%s seconds=%g",
                facts.execution_id,
                facts.workflow_ref,
                status,
                seconds,
            )


def _from_outside(unit: Unit, facts: Facts) -> bool:
    """Whether nobody drives what has ended here: it was ended by a request, or by its own start."""
    execution_id, seq, driver = unit.event[:3]
    return driver is None or seq == 0 or execution_id != facts.execution_id
