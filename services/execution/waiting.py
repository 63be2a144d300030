"""Who waits for the end of an execution in this process."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from services.execution.book import Book


class Waiters:
    """Futures by execution. They end with the book when the execution ended here, with None when it ended elsewhere."""

    def __init__(self) -> None:
        self._waiting: dict[str, list[asyncio.Future[Book | None]]] = {}
        self._begun: dict[str, Book] = {}
        self._released = False

    def __iter__(self) -> Iterator[str]:
        return iter(self._waiting)

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, execution_id: object) -> bool:
        return execution_id in self._waiting

    def expect(self, execution_id: str) -> asyncio.Future[Book | None]:
        """A future for the end; ask before the execution can end. `forget` it afterwards."""
        future = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(execution_id, []).append(future)
        if self._released:
            future.set_result(None)
        return future

    def forget(self, execution_id: str, future: asyncio.Future[Book | None]) -> None:
        """Nobody waits here any more."""
        waiting = self._waiting.get(execution_id)
        if waiting is not None:
            waiting.remove(future)
            if not waiting:
                del self._waiting[execution_id]
                self._begun.pop(execution_id, None)

    def keep(self, book: Book) -> None:
        """Keep the book of an execution that somebody else drives, so that its end can be read on from here."""
        if book.id in self._waiting:
            self._begun[book.id] = book

    def take(self, execution_id: str) -> Book | None:
        """The book that was kept. It is given once."""
        return self._begun.pop(execution_id, None)

    def release(self) -> None:
        """Let everybody look for themselves, now and from now on: the process ends."""
        self._released = True
        for execution_id in list(self._waiting):
            self.ended(execution_id)

    def ended(self, execution_id: str, book: Book | None = None) -> None:
        """The execution has ended."""
        for future in self._waiting.get(execution_id, ()):
            if not future.done():
                future.set_result(book)
