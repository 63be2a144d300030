"""What is written in the same commit as the end of an execution: summary, run of the history, counters, wake-ups."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Protocol

import orjson

from models.journal import Unit
from models.journal_statements import COUNT_DAYS, COUNT_RUNS, FINISH, OUTBOX, RUN, RUN_COUNT, WAKE
from services.engine.graph import Failure
from services.engine.statuses import PUBLIC, Phase
from services.execution.book import Facts
from services.execution.journal import INLINE_BYTES
from services.history.log_round import INDEX

MAX_MESSAGE = 8_000


class Ended(Protocol):
    """What there is to know of the end of an execution."""

    @property
    def ended_at(self) -> datetime | None:
        """When."""
        ...

    @property
    def phase(self) -> Phase:
        """As what."""
        ...

    @property
    def failure(self) -> Failure | None:
        """Why, when not well."""
        ...

    @property
    def operations(self) -> int:
        """How many tasks have run."""
        ...

    @property
    def output(self) -> Any:
        """What came out."""
        ...


def add_ending(unit: Unit, facts: Facts, state: Ended) -> None:
    """Add everything that an ended execution leaves behind."""
    assert state.ended_at is not None
    unit.endings += ((facts, state),)
    at, status, failure = state.ended_at, PUBLIC[state.phase].value, state.failure
    seconds = max(0.0, (at - facts.start_time).total_seconds())
    message = failure.message[:MAX_MESSAGE] if failure else None
    unit.add(
        FINISH, facts.execution_id, status, at, seconds, state.operations, message,
        failure.node if failure else None, failure.type.value if failure else None, _shown(state.output),
    )  # fmt: skip
    _add_run(unit, facts, _Run(status, at, round(seconds * 1000), message))
    if facts.parent_execution_id is not None:
        unit.add(WAKE, facts.parent_execution_id, at)


class _Run:
    __slots__ = ("at", "message", "ms", "status")

    def __init__(self, status: str, at: datetime, ms: int, message: str | None) -> None:
        self.status, self.at, self.ms, self.message = status, at, ms, message


def _add_run(unit: Unit, facts: Facts, run: _Run) -> None:
    community = facts.community_id or 0
    unit.add(
        RUN, facts.execution_id, facts.package_id, run.status, run.ms, facts.start_time, run.at,
        facts.community_id, facts.workflow_id, facts.workflow_version, run.message,
    )  # fmt: skip
    unit.add(RUN_COUNT, facts.package_id, community, run.status, 1)
    day = facts.start_time.astimezone(UTC).date().isoformat()
    unit.add(COUNT_DAYS, facts.package_id, community, day, run.status, 1, run.ms)
    unit.add(OUTBOX, facts.execution_id, INDEX, facts.execution_id, run.at)
    if facts.workflow_id is not None:
        unit.add(COUNT_RUNS, facts.workflow_id, 1, facts.execution_id, run.status, facts.start_time)


def _shown(output: Any) -> Any:
    """The output as the summary row keeps it; a large one is read from the journal instead."""
    return output if output is None or len(orjson.dumps(output)) <= INLINE_BYTES else None
