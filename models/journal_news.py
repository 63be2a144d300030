"""What other processes have to hear of a round, told in its own transaction (PostgreSQL only).

Executions that nobody drives become jobs of the queue; drivers and waiters elsewhere hear of theirs by one NOTIFY per
round, because one per event costs two thirds of the throughput. All of it only makes things quicker: whoever misses it
finds out within a second.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol

from models.bulk import Bulk, Row
from models.journal_statements import ENQUEUE, FINISH, START

CHANNEL = "millrace_news"
MOST_BYTES = 7_000
"""PostgreSQL takes less than 8,000; more news than this is told as `look`, which is the empty text."""
WOKEN = "+"
"""Before the id of an execution whose driver should look; an id without it has ended."""
NOTIFY = f"SELECT pg_notify('{CHANNEL}', $1)"
DRIVER = [name for name, _ in START.fields].index("driver")


class HasRows(Protocol):
    """A unit of the journal."""

    @property
    def also(self) -> list[tuple[Bulk, Row]]:
        """Its rows beside the event."""
        ...


class News:
    """Collects what a round has to tell."""

    __slots__ = ("_ready", "_told")

    def __init__(self) -> None:
        self._ready: dict[str, None] = {}
        self._told: dict[str, None] = {}

    def gather(self, units: Iterable[HasRows], drivers: Mapping[str, str | None]) -> None:
        """Take the news of written units; `drivers` says who holds what they woke."""
        for execution_id, driver in drivers.items():
            if driver is None:
                self._ready[execution_id] = None
            else:
                self._told[WOKEN + execution_id] = None
        for unit in units:
            for bulk, row in unit.also:
                if bulk is START and row[DRIVER] is None:
                    self._ready[row[0]] = None
                elif bulk is FINISH:
                    self._told[row[0]] = None
                    self._ready.pop(row[0], None)

    @property
    def jobs(self) -> list[Row]:
        """The rows of ENQUEUE."""
        return [(execution_id,) for execution_id in self._ready]

    @property
    def text(self) -> str | None:
        """What others are told; None when there is nothing to tell."""
        if not self._told:
            return None
        text = " ".join(self._told)
        return text if len(text) <= MOST_BYTES else ""

    def statements(self) -> Iterator[tuple[str, list[Any]]]:
        """What has to be run for it."""
        if jobs := self.jobs:
            yield ENQUEUE.postgres, ENQUEUE.arrays(jobs)
        if (text := self.text) is not None:
            yield NOTIFY, [text]
