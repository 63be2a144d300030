"""Takes "claim this execution" from the queue (PgQueuer on PostgreSQL) and lets the dispatcher claim it.

A job only says that somebody should claim; it ends once that was tried, and driving goes on under our own lease. A
second delivery finds the execution claimed, and a lost one is found by the sweep. So nothing here has to be certain,
only quick: the consumer is built anew, with growing pauses, whenever its connection ends.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from typing import Any
from uuid import UUID

from models.dal.errors import DatabaseError
from services.execution.dispatch.embedded import Closed, Dispatcher

log = logging.getLogger("millrace.queue")

ENTRYPOINT = "claim"
BATCH = 100
MOST_JOBS = 2 * BATCH
"""Jobs in hand at most; the library wants at least twice the batch."""
LOOK_S = 1.0
STALE_S = 5.0
"""A job whose taker has said nothing for so long is given to somebody else."""
LEAVE_S = 2.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 5.0
PRUNE = "DELETE FROM pgqueuer_log WHERE created < now() - interval '1 hour'"


class Consumer:
    """The part of a worker that listens to the queue."""

    def __init__(self, db: Any, dispatcher: Dispatcher) -> None:
        self._db = db
        self._dispatcher = dispatcher
        self._manager: Any = None
        self._closing = asyncio.Event()
        self._left = asyncio.Event()
        self._pause_s = FIRST_PAUSE_S

    async def consume_for_ever(self) -> None:
        """Take jobs until `close`; a consumer that ends otherwise is replaced."""
        while not self._closing.is_set():
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
        try:
            async with asyncio.timeout(pause_s):
                await self._closing.wait()
        except TimeoutError:
            return

    async def _consume(self) -> None:
        async with self._db.dedicated() as connection:
            await connection.execute(PRUNE)
            connection.add_termination_listener(self._lost)
            self._manager = self._build(connection)
            if self._closing.is_set():
                return
            try:
                await self._manager.run(
                    dequeue_timeout=timedelta(seconds=LOOK_S),
                    batch_size=BATCH,
                    max_concurrent_tasks=MOST_JOBS,
                    shutdown_on_listener_failure=True,
                    heartbeat_timeout=timedelta(seconds=STALE_S),
                    log_aggregation_interval=timedelta(0),
                )
            finally:
                self._manager = None
                connection.remove_termination_listener(self._lost)

    def _lost(self, _connection: Any) -> None:
        """The connection has ended: nobody may wait for a slot in the name of a job that we hold no more."""
        self._dispatcher.refuse_offers(Closed())

    def _build(self, connection: Any) -> Any:
        from pgqueuer.core.qm import QueueManager
        from pgqueuer.db import AsyncpgDriver
        from pgqueuer.errors import RetryRequested

        from services.execution.dispatch.pgqueuer_queries import LeanQueries

        manager = QueueManager(LeanQueries(AsyncpgDriver(connection)))

        @manager.entrypoint(ENTRYPOINT, accepts_context=False, on_failure="hold")
        async def claim(job: Any) -> None:
            self._pause_s = FIRST_PAUSE_S
            try:
                await self._dispatcher.offer(str(UUID(bytes=job.payload)))
            except (Closed, DatabaseError) as error:  # the job is for somebody else, or for later
                delay = timedelta(0) if isinstance(error, Closed) else timedelta(seconds=LOOK_S)
                raise RetryRequested(delay=delay, reason=type(error).__name__) from error

        return manager

    def close(self) -> None:
        """Take no more; the jobs in hand go back."""
        self._closing.set()
        if self._manager is not None:
            self._manager.shutdown.set()
