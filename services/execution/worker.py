"""This process as a worker: its id, its heartbeat, and whether its lease is fresh enough for what cannot be undone."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from typing import Any
from uuid import UUID

from models import executions
from models.dal.errors import DatabaseError
from models.records import uuid7

log = logging.getLogger("millrace.worker")

BEAT_S = 1.0
FRESH_S = 2.0
"""An irreversible action begins only when the lease was renewed less than this ago; the lease itself ends after 3 s."""


def boot_time() -> float:
    """Seconds since the machine started, those it slept through included: a frozen process sees them pass."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Worker:
    """The worker row of this process. `driving` is kept by the dispatcher."""

    def __init__(self, db: Any, *, version: str, engine_version: int) -> None:
        self.id: UUID = uuid7()
        self.text = str(self.id)
        self.engine_version = engine_version
        self.driving = 0
        self.stopping = False
        self._db = db
        self._version = version
        self._renewed_at = 0.0

    async def arrive(self) -> None:
        """Become known."""
        asked_at = boot_time()
        name = f"{socket.gethostname()}:{os.getpid()}"
        await executions.arrive(self._db, id=self.id, name=name, version=self._version, engine=self.engine_version)
        self._renewed_at = asked_at

    async def beat_for_ever(self) -> None:
        """Renew the lease every second. What the database does not hear does not count."""
        while True:
            asked_at = boot_time()
            try:
                known = await executions.beat(self._db, worker=self.id, driving=self.driving, stopping=self.stopping)
                if known:
                    self._renewed_at = asked_at
                else:
                    await self.arrive()
            except DatabaseError as error:
                log.warning("worker.heartbeat_failed error=%s", error)
            await asyncio.sleep(max(0.0, BEAT_S - (boot_time() - asked_at)))

    @property
    def is_fresh(self) -> bool:
        """Whether the lease was renewed so recently that nobody can have taken over."""
        return boot_time() - self._renewed_at < FRESH_S

    async def leave(self) -> None:
        """Be gone. Where that cannot be written, the lease ends by itself."""
        try:
            await executions.leave(self._db, self.id)
        except DatabaseError as error:
            log.warning("worker.not_left error=%s", error)
