"""What a driver does while the database is away: it waits, and what runs goes on meanwhile."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from models.dal.errors import Unavailable

log = logging.getLogger("millrace.driver")
T = TypeVar("T")

AGAIN_S = (0.1, 0.5, 1.0, 2.0)
"""Pauses before the database is asked again."""


class Away:
    """How often in a row the database could not do what one execution asked of it."""

    __slots__ = ("_execution_id", "_times")

    def __init__(self, execution_id: str) -> None:
        self._execution_id = execution_id
        self._times = 0

    def is_over(self) -> None:
        """It has answered."""
        self._times = 0

    async def wait(self, error: Unavailable) -> None:
        """A pause that grows; only the first of a row is said."""
        if not self._times:
            log.warning("journal.unavailable execution=%s error=%s", self._execution_id, error)
        pause_s = AGAIN_S[min(self._times, len(AGAIN_S) - 1)]
        self._times += 1
        await asyncio.sleep(pause_s)

    async def outlast(self, work: Callable[[], Awaitable[T]]) -> T:
        """Read, or do what may be done twice, however long it takes."""
        while True:
            try:
                done = await work()
            except Unavailable as error:
                await self.wait(error)
                continue
            self.is_over()
            return done
