"""Finds the executions that should be driven, claims them and lets them be driven, inside this process.

The sweep is the guarantee: once a second it finds whatever is due, unclaimed, or held by a dead worker. Being told
(`woken`, `adopt`) only makes it quicker.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from models import executions
from models.dal.errors import DatabaseError, Unavailable
from models.executions import Claim
from services.execution.book import Book
from services.execution.dispatch.bell import Bell, News
from services.execution.driver import Drive, Lease, LeaseLost, Tools
from services.execution.poison import MOST_TAKEOVERS, quarantine, takeovers_of
from services.execution.starting import Holder, Started
from services.execution.waiting import Waiters

log = logging.getLogger("millrace.dispatch")

SWEEP_S = 1.0
CLAIM_AT_ONCE = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How much this process takes on. `slots`: executions driven at once; `shutdown_s`: what running work gets."""

    slots: int = 512
    shutdown_s: float = 20.0
    drives: bool = True


OnEnd = Callable[[Book], None]


class Dispatcher:
    """The executions that this process drives."""

    def __init__(self, tools: Tools, waiters: Waiters, rules: Rules, on_end: OnEnd) -> None:
        self.bell: Bell | None = None
        self._tools = tools
        self._waiters = waiters
        self._rules = rules
        self._on_end = on_end
        self._driving: dict[str, Drive | None] = {}  # None while its log is being read
        self._ready: dict[str, None] = {}
        self._look = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()
        self._more = False
        self._swept_at = 0.0
        self._open = rules.drives

    @property
    def driving(self) -> int:
        """How many executions are in this process' hands."""
        return len(self._driving)

    # ---- being told -------------------------------------------------------------------------------------------------

    def holder(self) -> Holder:
        """Who shall drive a new execution: this process while it has room."""
        room = self._open and len(self._driving) < self._rules.slots
        return Holder(self._tools.worker.text, 1) if room else Holder()

    def adopt(self, started: Started) -> None:
        """Drive an execution that was started in our name, or look for somebody who does."""
        if started.unit.event[2] is None:
            self.woken(started.book.id, None)
            return
        drive = Drive(self._tools, started.book, Lease(1, 0))
        self._begin(started.book.id, 1, drive, self._run(drive, started))

    def woken(self, execution_id: str, driver: str | None) -> None:
        """An execution has something to look at; `driver` is who holds it."""
        drive = self._driving.get(execution_id)
        if drive is not None:
            drive.wake()
        elif driver is None and self._open:
            self._ready[execution_id] = None
            self._look.set()
        elif self.bell is not None:
            self.bell.ring(News.CLAIMABLE if driver is None else News.WOKEN, execution_id)

    def heard(self, news: News, execution_id: str) -> None:
        """Another process says that something happened."""
        self._tools.tidings.appended(execution_id)
        if news is News.ENDED:
            self._waiters.ended(execution_id)
        elif news is News.WOKEN:
            drive = self._driving.get(execution_id)
            if drive is not None:
                drive.wake()
        else:
            self.woken(execution_id, None)

    def look(self) -> None:
        """Something happened, and nobody knows what."""
        self._swept_at = 0.0
        self._look.set()

    # ---- driving ----------------------------------------------------------------------------------------------------

    def _begin(self, execution_id: str, epoch: int, drive: Drive | None, work: Awaitable[Drive]) -> None:
        self._driving[execution_id] = drive
        self._empty.clear()
        self._tools.worker.driving = len(self._driving)
        self._tools.tasks.create_task(self._attend(execution_id, epoch, work))

    async def _attend(self, execution_id: str, epoch: int, work: Awaitable[Drive]) -> None:
        try:
            self._done(await work)
        except LeaseLost:
            log.warning("lease.lost execution=%s", execution_id)
        except Exception:  # the worker loop: one broken execution must not end the others
            log.exception("execution.crashed execution=%s", execution_id)
            await self._set_aside(execution_id, epoch)
        finally:
            self._driving.pop(execution_id, None)
            if not self._driving:
                self._empty.set()
            self._tools.worker.driving = len(self._driving)
            if self._more or self._ready:
                self._look.set()

    async def _run(self, drive: Drive, started: Started) -> Drive:
        await drive.run(started.commands)
        return drive

    def _done(self, drive: Drive) -> None:
        if drive.ended:
            if self.bell is not None:
                self.bell.ring(News.ENDED, drive.book.id)
            self._on_end(drive.book)
            self._waiters.ended(drive.book.id, drive.book)
        else:
            self._tools.family.library.shelf.put(drive.book)

    async def _set_aside(self, execution_id: str, epoch: int) -> None:
        """Driving failed for a reason of ours: try again later, and not for ever."""
        try:
            await executions.set_aside(self._db, UUID(execution_id), me=self._tools.worker.id, epoch=epoch)
        except DatabaseError:
            log.exception("execution.not_set_aside execution=%s", execution_id)

    @property
    def _db(self) -> Any:
        return self._tools.family.library.db

    # ---- finding and claiming ---------------------------------------------------------------------------------------

    async def sweep_for_ever(self) -> None:
        """Look when told to, and every second anyway."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() - self._swept_at >= SWEEP_S or (self._more and not self._ready)
            try:
                if due:
                    self._swept_at = loop.time()
                    await self._sweep()
                await self._claim_ready()
            except Unavailable as error:
                log.warning("sweep.unavailable error=%s", error)
            try:
                async with asyncio.timeout(max(0.0, SWEEP_S - (loop.time() - self._swept_at))):
                    await self._look.wait()
            except TimeoutError:
                continue
            self._look.clear()

    async def _sweep(self) -> None:
        free = self._rules.slots - len(self._driving)
        if self._open and free > 0:
            found = await executions.due(self._db, count=free)
            found += await executions.orphans(self._db, me=self._tools.worker.id, count=free)
            self._more = len(found) >= free
            self._ready |= dict.fromkeys(str(id_) for id_ in found)
        await self._look_after([*self._driving, *self._waiters])

    async def _look_after(self, ids: Sequence[str]) -> None:
        """Notice what nobody told us: ends elsewhere, and wake-ups that got lost."""
        if not ids:
            return
        for row in await executions.changed(self._db, [UUID(id_) for id_ in ids]):
            execution_id = str(row["execution_id"])
            drive = self._driving.get(execution_id)
            if drive is not None and row["wake_no"] != drive.lease.wake_no:
                drive.wake()
            elif drive is None and row["ended_at"] is not None:
                self._waiters.ended(execution_id)

    async def _claim_ready(self) -> None:
        while self._open and self._ready and (free := self._rules.slots - len(self._driving)) > 0:
            taken = list(self._ready)[: min(free, CLAIM_AT_ONCE)]
            for execution_id in taken:
                del self._ready[execution_id]
            wanted = [UUID(id_) for id_ in taken if id_ not in self._driving]
            worker = self._tools.worker
            if wanted:
                claims = await executions.claim(self._db, wanted, me=worker.id, engine=worker.engine_version)
                self._take(claims)

    def _take(self, claims: Iterable[Claim]) -> None:
        for claim in claims:
            self._begin(str(claim.row.execution_id), claim.row.epoch, None, self._go_on(claim))

    async def _go_on(self, claim: Claim) -> Drive:
        book = await self._tools.family.library.claimed(claim.row)
        drive = Drive(self._tools, book, Lease(claim.row.epoch, claim.row.wake_no))
        self._driving[book.id] = drive
        tries = takeovers_of(claim, book)
        if tries >= MOST_TAKEOVERS:
            await quarantine(drive)
        else:
            await drive.take_over(None if claim.previous is None else tries)
        return drive

    # ---- stopping ---------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Claim nothing more."""
        self._open = False
        self._tools.worker.stopping = True

    async def drain(self) -> None:
        """Let go of everything: irreversible work may finish, the rest is handed back and made again elsewhere."""
        self.close()
        for drive in list(self._driving.values()):
            if drive is not None:
                drive.leave()
        try:
            async with asyncio.timeout(self._rules.shutdown_s):
                await self._empty.wait()
        except TimeoutError:
            log.warning("shutdown.unfinished executions=%d", len(self._driving))
        await executions.release_all(self._db, me=self._tools.worker.id, at=self._tools.now())
