"""Reads the ends of executions that other processes drove, for those who wait here: many with one query.

Whoever waits has a book from the start, folded up to its first row; only what was written since is read. An end that
cannot be read this way is passed on without a book, and then its reader looks for itself.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from uuid import UUID

from models.dal.errors import DatabaseError
from services.execution.book import Book
from services.execution.journal import EventRow
from services.execution.library import Library
from services.execution.waiting import Waiters

log = logging.getLogger("millrace.dispatch")


class EndedElsewhere:
    """Passes ends on to the waiters of this process."""

    def __init__(self, library: Library, waiters: Waiters, tasks: asyncio.TaskGroup) -> None:
        self._library = library
        self._waiters = waiters
        self._tasks = tasks
        self._ended: dict[str, Book] = {}
        self._in_hand: dict[str, Book] = {}

    def heard(self, execution_ids: Iterable[str]) -> None:
        """These have ended. What is heard of while others are being read is read together afterwards."""
        for execution_id in execution_ids:
            if execution_id not in self._waiters:
                continue
            book = self._waiters.take(execution_id)
            if book is not None:
                self._ended[execution_id] = book
            elif execution_id not in self._ended and execution_id not in self._in_hand:
                self._waiters.ended(execution_id)
        if self._ended and not self._in_hand:
            self._in_hand, self._ended = self._ended, {}
            self._tasks.create_task(self._read_on())

    async def _read_on(self) -> None:
        while self._in_hand:
            await self._read(self._in_hand)
            self._in_hand, self._ended = self._ended, {}

    async def _read(self, books: dict[str, Book]) -> None:
        found: dict[str, list[EventRow]] = {}
        try:
            found = await self._library.journal.rows_of_many([UUID(id_) for id_ in books], after=0)
        except DatabaseError as error:
            log.warning("ends.unread executions=%d error=%s", len(books), error)
        for execution_id, book in books.items():
            self._waiters.ended(execution_id, self._folded(book, found.get(execution_id, ())))

    def _folded(self, book: Book, rows: Sequence[EventRow]) -> Book | None:
        try:
            self._library.fold(book, rows)
        except Exception:  # read by itself it will say what is wrong, and hinder nobody
            log.exception("ends.unread execution=%s", book.id)
            return None
        return book if book.state.ended else None
