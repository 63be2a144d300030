"""PgQueuer's statements as a worker needs them: jobs are taken, ended and put back many at a time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import uuid4

from pgqueuer.db import AsyncpgDriver
from pgqueuer.ports.repository import EntrypointExecutionParameter
from pgqueuer.queries import Queries

CHANNEL = "ch_pgqueuer"
"""Where the trigger of the queue's table says that it was changed."""
ENTRYPOINT = "claim"
STALE = timedelta(seconds=5)
"""A job whose taker has said nothing for so long is given to somebody else."""
DONE = "DELETE FROM pgqueuer WHERE id = ANY($1::bigint[])"
BACK = """
UPDATE pgqueuer SET status = 'queued', queue_manager_id = NULL, updated = now(), execute_after = now() + $2::interval
WHERE id = ANY($1::bigint[])
"""
PRUNE_LOG = "DELETE FROM pgqueuer_log WHERE created < now() - interval '1 hour'"
PRUNE_FAILED = "DELETE FROM pgqueuer WHERE status = 'failed' AND updated < now() - interval '1 hour'"


class Jobs:
    """The queue's table, over one connection."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._queries = Queries(AsyncpgDriver(connection))
        self._taker: Any = uuid4()
        self._what: Any = {ENTRYPOINT: EntrypointExecutionParameter(concurrency_limit=0)}

    async def take(self, count: int) -> Sequence[Any]:
        """The next jobs, and those whose taker has died; nobody else gets them."""
        return await self._queries.dequeue(
            batch_size=count,
            entrypoints=self._what,
            queue_manager_id=self._taker,
            global_concurrency_limit=None,
            heartbeat_timeout=STALE,
        )

    async def done(self, ids: Sequence[int]) -> None:
        """Remove jobs that were done. PgQueuer's own log of every job is not kept."""
        await self._connection.execute(DONE, ids)

    async def back(self, ids: Sequence[int], delay: timedelta) -> None:
        """Put jobs back, for anybody, after a while."""
        await self._connection.execute(BACK, ids, delay)

    async def prune(self) -> None:
        """Remove what releases before this one have left: they kept a log, and jobs that had failed."""
        await self._connection.execute(PRUNE_LOG)
        await self._connection.execute(PRUNE_FAILED)
