"""Telling the other processes that something happened, over LISTEN/NOTIFY.

Nothing depends on it: whoever missed a message finds the same by looking once a second. So messages are collected for a
few milliseconds and sent after the commit, many in one; a message that would be too long says only "look".
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from enum import StrEnum
from typing import Any

from models.dal.errors import DatabaseError

log = logging.getLogger("millrace.bell")

CHANNEL = "millrace"
COLLECT_S = 0.003
LONGEST = 7_000
"""Bytes of one message; PostgreSQL takes 8,000."""
RECONNECT_S = 1.0
CHECK_S = 5.0


class News(StrEnum):
    """What happened to an execution."""

    CLAIMABLE = "c"
    """Nobody drives it and there is something to do."""
    WOKEN = "w"
    """Its driver, whoever that is, should look."""
    ENDED = "e"


Hear = Callable[[News, str], None]


class Bell:
    """Rings for other processes and hears their ringing."""

    def __init__(self, db: Any, me: str) -> None:
        self._db = db
        self._me = me
        self._waiting: dict[str, None] = {}
        self._rung = asyncio.Event()

    def ring(self, news: News, execution_id: str) -> None:
        """Tell the others, in a moment."""
        self._waiting[f"{news}{execution_id}"] = None
        self._rung.set()

    async def ring_for_ever(self) -> None:
        """Send what was collected."""
        while True:
            await self._rung.wait()
            await asyncio.sleep(COLLECT_S)
            self._rung.clear()
            waiting, self._waiting = self._waiting, {}
            text = ",".join([self._me, *waiting])
            try:
                await self._db.sql(
                    "SELECT pg_notify(:channel, :text)", channel=CHANNEL, text=text if len(text) < LONGEST else self._me
                )
            except DatabaseError as error:
                log.warning("bell.not_rung error=%s", error)

    async def hear_for_ever(self, hear: Hear, look: Callable[[], None]) -> None:
        """Pass on what others ring; after a lost connection everybody looks."""
        while True:
            try:
                async with AsyncExitStack() as stack:
                    connection = await stack.enter_async_context(self._db.dedicated())
                    await connection.add_listener(CHANNEL, lambda *message: self._heard(message[3], hear, look))
                    look()
                    while not connection.is_closed():
                        await asyncio.sleep(CHECK_S)
                        await connection.fetchval("SELECT 1")
            except (TimeoutError, DatabaseError, OSError) as error:
                log.warning("bell.deaf error=%s", error)
            except Exception:  # the listener must come back, whatever the driver threw
                log.exception("bell.deaf")
            await asyncio.sleep(RECONNECT_S)

    def _heard(self, text: str, hear: Hear, look: Callable[[], None]) -> None:
        sender, *items = text.split(",")
        if sender == self._me:
            return
        if not items:
            look()
        for news, execution_id in parsed(items):
            hear(news, execution_id)


def parsed(items: list[str]) -> Iterator[tuple[News, str]]:
    """The items of a message; what an older or newer version says and we do not know is passed over."""
    known = set(News)
    for item in items:
        if item[:1] in known:
            yield News(item[0]), item[1:]
