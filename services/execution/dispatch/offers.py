"""What the queue brings: executions that somebody should claim, and who waits until that was tried."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

REMEMBERED = 10_000


class Closed(Exception):
    """This process takes nothing more."""


class Offers:
    """Futures by execution, and which ended here lately: a job that comes late for one of those needs no claim."""

    def __init__(self) -> None:
        self._waiting: dict[str, asyncio.Future[None]] = {}
        self._again: set[str] = set()
        self._over: dict[str, None] = {}

    def expect(self, execution_id: str) -> asyncio.Future[None]:
        """A future for the moment when claiming was tried."""
        future = self._waiting.get(execution_id)
        if future is None:
            future = self._waiting[execution_id] = asyncio.get_running_loop().create_future()
        return future

    def answer(self, execution_ids: Iterable[str], error: Exception | None = None) -> None:
        """Claiming these was tried; `error`: why it could not be."""
        for execution_id in execution_ids:
            future = self._waiting.pop(execution_id, None)
            if future is None or future.done():  # whoever waited may have gone
                continue
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(error)

    def refuse(self, error: Exception) -> None:
        """Let nobody wait any more."""
        self.answer(list(self._waiting), error)

    # ---- executions in our hands ------------------------------------------------------------------------------------

    def again(self, execution_id: str) -> None:
        """It was offered while we drive it: it may have been let go this moment."""
        self._again.add(execution_id)

    def left(self, execution_id: str, *, ended: bool) -> bool:
        """We do not drive it any more; whether somebody should look at it once more."""
        offered = execution_id in self._again
        self._again.discard(execution_id)
        if not ended:
            return offered
        self._over[execution_id] = None
        if len(self._over) > REMEMBERED:
            del self._over[next(iter(self._over))]
        return False

    def is_over(self, execution_id: str) -> bool:
        """Whether it ended here."""
        return execution_id in self._over
