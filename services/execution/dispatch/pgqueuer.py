"""Takes "claim this execution" from the queue (PgQueuer on PostgreSQL) and lets the dispatcher claim it.

A job only says that somebody should claim; it ends once that was tried, and driving goes on under our own lease. A
second delivery finds the execution claimed, and a lost one is found by the sweep. So nothing here has to be certain,
only quick: jobs are taken many at a time and no more than there are slots, those that were done are removed together,
and the consumer is built anew, with growing pauses, whenever its connection ends.

PgQueuer's own manager would do the same with two tasks, a heartbeat and a log line for every job.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from models.dal.errors import DatabaseError, Unavailable
from services.execution.dispatch.embedded import Dispatcher
from services.execution.dispatch.offers import Closed

log = logging.getLogger("millrace.queue")

BATCH = 100
LOOK_S = 1.0
"""The queue is looked at this often, whether or not it was heard of."""
TIDY_S = 0.2
"""Jobs that were done are removed when it has been quiet for so long, or after `LOOK_S` at the latest."""
PRUNE_S = 600.0
LEAVE_S = 2.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 5.0


class Consumer:
    """The part of a worker that listens to the queue."""

    def __init__(self, db: Any, dispatcher: Dispatcher) -> None:
        self._db = db
        self._dispatcher = dispatcher
        self._closing = False
        self._news = asyncio.Event()
        self._left = asyncio.Event()
        self._done: list[int] = []
        self._oldest = 0.0
        self._prune_at = 0.0
        self._pause_s = FIRST_PAUSE_S

    async def consume_for_ever(self) -> None:
        """Take jobs until `close`; a consumer that ends otherwise is replaced."""
        while not self._closing:
            try:
                await self._consume()
            except Exception as error:  # noqa: BLE001 - the worker loop: whatever ended it, it is built anew
                log.warning("queue.interrupted error=%s again_in_s=%g", error or type(error).__name__, self._pause_s)
                await self._pause()
        self._left.set()

    async def left(self) -> None:
        """Wait a moment until the jobs in hand have gone back."""
        try:
            async with asyncio.timeout(LEAVE_S):
                await self._left.wait()
        except TimeoutError:
            log.warning("queue.not_left within_s=%g", LEAVE_S)

    async def _pause(self) -> None:
        pause_s, self._pause_s = self._pause_s, min(LONGEST_PAUSE_S, self._pause_s * 2)
        loop = asyncio.get_running_loop()
        end = loop.time() + pause_s
        while not self._closing and (left := end - loop.time()) > 0:
            self._news.clear()
            await self._heard_within(left)

    async def _consume(self) -> None:
        from services.execution.dispatch.pgqueuer_queries import CHANNEL, Jobs  # heavy, and SQLite has no use for it

        async with self._db.dedicated() as connection:
            connection.add_termination_listener(self._lost)
            await connection.add_listener(CHANNEL, self._heard)
            jobs = Jobs(connection)
            self._done.clear()  # what another connection took comes back by itself
            try:
                while not self._closing:
                    await self._prune(jobs)
                    await self._take(jobs)
                await self._tidy(jobs)
            finally:
                connection.remove_termination_listener(self._lost)

    async def _prune(self, jobs: Any) -> None:
        """Now and then: beside workers of an earlier release the queue's tables grow."""
        now = asyncio.get_running_loop().time()
        if now >= self._prune_at:
            self._prune_at = now + PRUNE_S
            await jobs.prune()

    async def _take(self, jobs: Any) -> None:
        """Take what there is room for; when that was all there is, wait for more."""
        self._news.clear()
        room = min(BATCH, self._dispatcher.room)
        taken = await jobs.take(room) if room else ()
        self._pause_s = FIRST_PAUSE_S
        if taken:
            await self._offer(jobs, taken)
        if len(self._done) >= BATCH or (self._done and asyncio.get_running_loop().time() - self._oldest > LOOK_S):
            await self._tidy(jobs)
        if not room:
            await self._dispatcher.has_room()
        elif len(taken) < room and not await self._heard_within(TIDY_S if self._done else LOOK_S):
            await self._tidy(jobs)

    async def _offer(self, jobs: Any, taken: Sequence[Any]) -> None:
        try:
            await self._dispatcher.offer([str(UUID(bytes=job.payload)) for job in taken])
        except (Closed, DatabaseError) as error:  # the jobs are for somebody else, or for later
            delay_s = 0.0 if isinstance(error, Closed) else LOOK_S
            log.info("queue.put_back jobs=%d reason=%s", len(taken), type(error).__name__)
            await jobs.back([job.id for job in taken], timedelta(seconds=delay_s))
        else:
            if not self._done:
                self._oldest = asyncio.get_running_loop().time()
            self._done += [job.id for job in taken]

    async def _tidy(self, jobs: Any) -> None:
        done, self._done = self._done, []
        if done:
            await jobs.done(done)

    async def _heard_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._news.wait()
        except TimeoutError:
            return False
        return True

    def _heard(self, _connection: Any, _process: int, _channel: str, text: str) -> None:
        """Something was changed in the queue's table: of interest is what was added."""
        if '"insert"' in text:
            self._news.set()

    def _lost(self, _connection: Any) -> None:
        """The connection has ended: nobody may wait for a slot in the name of jobs that we hold no more."""
        self._dispatcher.refuse_offers(Unavailable("the connection to the queue was lost"))
        self._news.set()

    def close(self) -> None:
        """Take no more; the jobs in hand go back."""
        self._closing = True
        self._news.set()
