"""Finds and folds executions: from the shelf when it has them, else from the log."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from models import executions
from models.executions import ExecutionRow, First
from services.engine.events import Claimed, Logged
from services.engine.replay import apply
from services.engine.state import State
from services.errors import ExecutionNotFound, ExecutionRefused
from services.execution.book import Book, Facts, Shelf
from services.execution.journal import LARGE, EventRow, Journal, decoded
from services.execution.view import Lines, collect_lines
from services.registry.versions import Versions

NOTES = (Claimed, Logged)
"""Events for the reader of a log; the state knows nothing of them."""


class Library:
    """Books of executions."""

    def __init__(self, db: Any, journal: Journal, versions: Versions) -> None:
        self.db = db
        self.journal = journal
        self.versions = versions
        self.shelf = Shelf()

    async def row(self, execution_id: str) -> ExecutionRow:
        """The summary row. Raises ExecutionNotFound."""
        row = await executions.get(self.db, UUID(execution_id))
        if row is None:
            raise ExecutionNotFound(execution=execution_id)
        return row

    async def folded(self, facts: Facts) -> Book:
        """A book of one's own, folded from the whole log."""
        book = await self._empty(facts)
        self.fold(book, await self.journal.rows(facts.execution_id))
        return book

    async def _empty(self, facts: Facts) -> Book:
        graph = await self.versions.graph_of(UUID(facts.version_id))
        if graph is None:
            raise ExecutionRefused(
                "The version this execution runs does not compile any more", version=facts.version_id
            )
        return Book(facts=facts, graph=graph, state=State(graph))

    async def read(self, row: ExecutionRow) -> tuple[Book, Lines]:
        """A book of one's own, with the lines that actions wrote."""
        facts = Facts.of(row)
        book = await self._empty(facts)
        rows = await self.journal.rows(facts.execution_id)
        self.fold(book, rows)
        return book, collect_lines(event for stored in rows for event in stored.events)

    async def folded_row(self, row: ExecutionRow) -> Book:
        """The same, from a summary row."""
        return await self.folded(Facts.of(row))

    async def claimed(self, row: ExecutionRow, first: First | None = None) -> Book:
        """The book of an execution that is ours now: the one on the shelf, read on, or a new one.

        `first`: its whole log, where that is one row and was read when it was claimed.
        """
        book = self.shelf.take(str(row.execution_id))
        if book is None and first is not None and not first.events.startswith(LARGE):
            book = await self._empty(Facts.of(row))
            self.fold(book, [EventRow(0, None, 0, first.at, decoded(first.events, first.v))])
            return book
        if book is None:
            return await self.folded(Facts.of(row))
        self.fold(book, await self.journal.rows(book.id, after=book.next_seq - 1))
        return book

    def fold(self, book: Book, rows: Iterable[EventRow]) -> None:
        """Read on."""
        for row in rows:
            for event in row.events:
                if not isinstance(event, NOTES):
                    apply(book.state, event)
            book.next_seq = row.seq + 1
            book.last_at = row.at

    async def park(self, values: tuple[Any, ...]) -> bool:
        """Let go of an execution outside an append; the values are those of the PARK statement."""
        names = ("id", "epoch", "wake_no", "wake_at", "waiting_for", "status", "nodes")
        given = dict(zip(names, values, strict=True))
        return await executions.park(self.db, **given | {"id": UUID(given["id"])})
