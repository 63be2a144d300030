"""The data layer with a stopwatch."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from models.dal import AsyncDAL, Call, Options

Observe = Callable[[str, float], None]


class TimedDAL(AsyncDAL):
    """An `AsyncDAL` that tells `observe` how long each statement or batch took: `read` or `write`, in seconds."""

    def __init__(
        self, url: str, options: Options, *, observe: Observe, on_fatal: Callable[[BaseException], None]
    ) -> None:
        super().__init__(url, options, on_fatal=on_fatal)
        self._observe = observe

    async def run(self, call: Call[Any]) -> Any:
        """What awaiting a call does."""
        began = time.perf_counter()
        try:
            return await super().run(call)
        finally:
            self._observe("write" if call.statement.write else "read", time.perf_counter() - began)

    async def batch(self, *calls: Call[Any]) -> list[Any]:
        """Several calls as one transaction."""
        began = time.perf_counter()
        try:
            return await super().batch(*calls)
        finally:
            lane = "write" if any(call.statement.write for call in calls) else "read"
            self._observe(lane, time.perf_counter() - began)
