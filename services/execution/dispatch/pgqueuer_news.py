"""Hears what other processes have written (LISTEN on PostgreSQL), for drivers, waiters and streams of this one.

The connection is opened again, with growing pauses, whenever it ends; after that we look at everything once. What was
missed meanwhile is found by the look of every second.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from models.journal_news import CHANNEL, WOKEN
from services.execution.dispatch.embedded import Dispatcher

log = logging.getLogger("millrace.news")

PING_S = 5.0
"""A connection that the network has swallowed is noticed after this."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 5.0


class Listener:
    """Passes news on to the dispatcher."""

    def __init__(self, db: Any, dispatcher: Dispatcher) -> None:
        self._db = db
        self._dispatcher = dispatcher
        self._pause_s = FIRST_PAUSE_S

    async def listen_for_ever(self) -> None:
        """Listen; cancel it to stop."""
        while True:
            try:
                await self._listen()
            except Exception as error:  # noqa: BLE001 - the worker loop: whatever ended it, it listens again
                log.warning("news.interrupted error=%s again_in_s=%g", error or type(error).__name__, self._pause_s)
            await asyncio.sleep(self._pause_s)
            self._pause_s = min(LONGEST_PAUSE_S, self._pause_s * 2)

    async def _listen(self) -> None:
        async with self._db.dedicated() as connection:
            lost = asyncio.Event()
            connection.add_termination_listener(lambda _: lost.set())
            await connection.add_listener(CHANNEL, self._heard)
            self._dispatcher.look_around()
            self._pause_s = FIRST_PAUSE_S
            while not lost.is_set():
                try:
                    async with asyncio.timeout(PING_S):
                        await lost.wait()
                except TimeoutError:
                    await connection.execute("SELECT 1", timeout=PING_S)

    def _heard(self, _connection: Any, _process: int, _channel: str, text: str) -> None:
        if not text:
            self._dispatcher.look_around()
            return
        woken: list[str] = []
        ended: list[str] = []
        for word in text.split(" "):
            if word.startswith(WOKEN):
                woken.append(word[1:])
            else:
                ended.append(word)
        self._dispatcher.heard(woken, ended)
