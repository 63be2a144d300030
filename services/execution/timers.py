"""The timers of one driven execution, in this process. What survives the process is `wake_at` of the summary row."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from datetime import datetime

MOST_S = 3600.0
"""The loop is asked for at most an hour at a time; clocks may jump."""


def _nobody(_timer: str) -> None:
    """Whom a stopped timer tells."""


class Timers:
    """Calls `fire(id)` when a timer is due. `now` is the clock that due times are written in."""

    def __init__(self, fire: Callable[[str], None], now: Callable[[], datetime]) -> None:
        self._fire = fire
        self._now = now
        self._due: dict[str, datetime] = {}
        self._handles: dict[str, asyncio.TimerHandle] = {}

    def set(self, timer: str, due: datetime) -> None:
        """Fire at `due`, or at once when that has passed. Setting it again moves it."""
        self.clear(timer)
        self._due[timer] = due
        delay = min(max(0.0, (due - self._now()).total_seconds()), MOST_S)
        self._handles[timer] = asyncio.get_running_loop().call_later(delay, self._ring, timer)

    def clear(self, timer: str) -> None:
        """Forget it."""
        self._due.pop(timer, None)
        handle = self._handles.pop(timer, None)
        if handle is not None:
            handle.cancel()

    def keep(self, timers: Iterable[tuple[str, datetime]]) -> None:
        """Let the timers be exactly these."""
        wanted = dict(timers)
        for timer in self._due.keys() - wanted.keys():
            self.clear(timer)
        for timer, due in wanted.items():
            if self._due.get(timer) != due:
                self.set(timer, due)

    def stop(self) -> None:
        """Forget all, and whom to tell: what was driven can be freed without a search for cycles."""
        for timer in list(self._due):
            self.clear(timer)
        self._fire = _nobody

    @property
    def earliest(self) -> datetime | None:
        """When the next one is due."""
        return min(self._due.values(), default=None)

    def _ring(self, timer: str) -> None:
        due = self._due[timer]
        if due > self._now():
            self.set(timer, due)
            return
        self.clear(timer)
        self._fire(timer)
