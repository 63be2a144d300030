"""What executions are counted by, written about and traced by: always after the fact, never in the way of a commit."""

from __future__ import annotations

from datetime import datetime

from models.journal import Unit
from services.engine.inputs import AttemptEnded
from services.engine.state import State
from services.engine.statuses import PUBLIC
from services.execution.book import Facts
from services.metrics import Metrics


class Telemetry:
    """Is told what became durable. Every method is cheap, and none fails."""

    def __init__(self, metrics: Metrics | None = None) -> None:
        self.metrics = metrics or Metrics()

    def waited(self, since: datetime, until: datetime) -> None:
        """An execution is driven for the first time."""
        self.metrics.queue_seconds.observe(max(0.0, (until - since).total_seconds()))

    def attempt_ended(self, ended: AttemptEnded) -> None:
        """An attempt ended in this process."""
        self.metrics.attempt_ended(ended.outcome)

    def ended(self, unit: Unit) -> None:
        """Executions ended with this unit, which is written."""
        for facts, state in unit.endings:
            self._count(facts, state)

    def _count(self, facts: Facts, state: State) -> None:
        assert state.ended_at is not None
        seconds = max(0.0, (state.ended_at - facts.start_time).total_seconds())
        self.metrics.execution_ended(PUBLIC[state.phase].value, seconds)
