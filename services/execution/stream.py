"""The event log of an execution, as it is written: committed events only."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from services.engine.replay import encode
from services.execution.journal import EventRow, Journal
from services.execution.library import Library

LOOK_S = 1.0
"""What nobody told us (an append by another process) is seen after this at the latest."""


class Tidings:
    """Tells the streams of this process that an execution has a new row."""

    def __init__(self) -> None:
        self._listening: dict[str, set[asyncio.Event]] = {}

    def appended(self, execution_id: str) -> None:
        """There is a new row."""
        for event in self._listening.get(execution_id, ()):
            event.set()

    def listen(self, execution_id: str) -> asyncio.Event:
        """Set whenever there is a new row."""
        event = asyncio.Event()
        self._listening.setdefault(execution_id, set()).add(event)
        return event

    def leave(self, execution_id: str, event: asyncio.Event) -> None:
        """Nobody listens here any more."""
        listening = self._listening.get(execution_id)
        if listening is not None:
            listening.discard(event)
            if not listening:
                del self._listening[execution_id]

    def release(self) -> None:
        """Wake everybody: the process ends."""
        for listening in self._listening.values():
            for event in listening:
                event.set()


def shown(row: EventRow) -> dict[str, Any]:
    """A row as readers see it."""
    return {"seq": row.seq, "at": row.at, "driver": row.driver, "epoch": row.epoch, "events": encode(row.events)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Streams:
    """Reads logs, once or as they grow."""

    journal: Journal
    library: Library
    tidings: Tidings

    async def rows(self, execution_id: str, *, after: int) -> list[dict[str, Any]]:
        """What is there behind `after`."""
        return [shown(row) for row in await self.journal.rows(execution_id, after=after)]

    async def follow(
        self, execution_id: str, *, after: int, stopping: asyncio.Event
    ) -> AsyncIterator[dict[str, Any] | None]:
        """Every row behind `after` as it is written, None when there was nothing new for a while; ends with the execution."""
        news = self.tidings.listen(execution_id)
        try:
            while not stopping.is_set():
                ended = (await self.library.row(execution_id)).ended_at is not None
                news.clear()
                found = await self.rows(execution_id, after=after)
                for row in found:
                    after = row["seq"]
                    yield row
                if ended:
                    return
                if not found and not await _told(news):
                    yield None
        finally:
            self.tidings.leave(execution_id, news)


async def _told(news: asyncio.Event) -> bool:
    try:
        async with asyncio.timeout(LOOK_S):
            await news.wait()
    except TimeoutError:
        return False
    return True
