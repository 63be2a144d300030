"""Executions that are ours by the database and that we do not drive."""

from __future__ import annotations

import logging
from typing import Any
from uuid import UUID

from models import executions

log = logging.getLogger("millrace.dispatch")


class Strays:
    """Hands back a claim whose answer was lost, and a drive that ended with the connection."""

    def __init__(self, db: Any, me: UUID) -> None:
        self._db = db
        self._me = me
        self._suspects: set[str] = set()

    async def seen(self, idle: set[str]) -> None:
        """These are held and not driven now. What is seen once may be on its way; what is seen twice is not."""
        strays = idle & self._suspects
        self._suspects = idle - strays
        if strays:
            log.warning("execution.strays count=%d", len(strays))
            await executions.let_go(self._db, [UUID(id_) for id_ in strays], me=self._me)
