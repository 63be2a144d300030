"""Whether the server can take work now: a few named checks, each with a limit of its own."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

log = logging.getLogger("millrace.readiness")
LIMIT_S = 2.0


@dataclass(frozen=True, slots=True)
class Check:
    """The outcome of one check, in words."""

    ok: bool
    detail: str


class Readiness:
    """The checks of this process; parts of the server add theirs."""

    def __init__(self) -> None:
        self._checks: dict[str, Callable[[], Awaitable[Check]]] = {}
        self.stopping = False
        self.fatal = False

    def add(self, name: str, check: Callable[[], Awaitable[Check]]) -> None:
        """Add a check, or replace the one of that name."""
        self._checks[name] = check

    async def check(self) -> dict[str, Check]:
        """Every check, asked at the same time; one that fails or hangs counts as not ok."""
        names = list(self._checks)
        found = dict(zip(names, await asyncio.gather(*map(self._one, names)), strict=True))
        if self.stopping:
            found["server"] = Check(False, "stopping")
        return found

    async def _one(self, name: str) -> Check:
        try:
            async with asyncio.timeout(LIMIT_S):
                return await self._checks[name]()
        except TimeoutError:
            return Check(False, f"no answer within {LIMIT_S:g} s")
        except Exception as error:  # noqa: BLE001 - a failed check is an answer, whatever failed
            log.warning("readiness.failed check=%s error=%s", name, error)
            return Check(False, str(error) or type(error).__name__)
