"""Pause all, resume all: the operator's order to drive nothing, which every process of every database obeys.

The order is a row of the database. Each dispatcher reads it with the sweep it makes every second anyway, so that an
order reaches every worker within about a second, survives every restart, and costs nothing where work is done.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from models import dispatch_pause
from models.dispatch_pause import PauseRow
from services.access.actor import Actor
from services.access.audit import AuditLog, Category, Entry, Result, say


class PauseAll:
    """The order as this process last read it, and how to change it. Needs the database alone."""

    def __init__(self, db: Any, *, audit: AuditLog, now: Callable[[], datetime]) -> None:
        self._db = db
        self._audit = audit
        self._now = now
        self.row = PauseRow()
        self.on_change: Callable[[], None] = lambda: None

    @property
    def is_on(self) -> bool:
        """Whether nothing is to be driven, as far as this process knows."""
        return self.row.paused

    async def refresh(self) -> None:
        """Read the order. Raises Unavailable."""
        self.row = await dispatch_pause.get(self._db)

    async def order(self, *, paused: bool, by: Actor, reason: str | None = None) -> PauseRow:
        """Pause or resume everything; the order that holds now. One that holds already is left as it is."""
        await self.refresh()
        if self.row.paused is paused:
            return self.row
        row = PauseRow(paused=paused, reason=reason, changed_at=self._now(), changed_by=by.name or str(by.user_id))
        entry = Entry(
            category=Category.AUDIT,
            action="pause_all" if paused else "resume_all",
            result=Result.SUCCESS,
            actor=by,
            resource="executions",
            reason=reason,
        )
        await self._db.batch(dispatch_pause.put(self._db, row), self._audit.call(entry))
        say(entry)
        self.row = row
        self.on_change()
        return row
