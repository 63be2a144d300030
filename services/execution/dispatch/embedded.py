"""Finds the executions that should be driven, claims them and lets them be driven, inside this process.

The sweep is the guarantee: once a second it finds whatever is due, unclaimed, or held by a dead worker. Being told
(`woken`, `adopt`, on PostgreSQL also `offer` and `heard`) only makes it quicker.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Coroutine, Iterable, Sequence
from typing import Any
from uuid import UUID

from models import executions
from models.dal.errors import DatabaseError, Unavailable
from models.executions import Claim, ExecutionRow
from services.errors import Overloaded
from services.execution.dispatch.ended_elsewhere import EndedElsewhere
from services.execution.dispatch.offers import Closed, Offers
from services.execution.dispatch.rules import Rules
from services.execution.dispatch.strays import Strays
from services.execution.dispatch.turns import AHEAD, Turn, Turns
from services.execution.driver import Drive, Lease, LeaseLost, Tools
from services.execution.poison import MOST_TAKEOVERS, quarantine, takeovers_of
from services.execution.starting import Holder, Started
from services.execution.telemetry import Telemetry
from services.execution.waiting import Waiters
from services.lines import EXECUTION_ID

log = logging.getLogger("millrace.dispatch")

SWEEP_S = 1.0
FULL_FOR_S = 5.0
CLAIM_AT_ONCE = 100
MOST_READY = 4 * AHEAD


class Dispatcher:
    """The executions that this process drives."""

    def __init__(self, tools: Tools, waiters: Waiters, rules: Rules, telemetry: Telemetry) -> None:
        self._tools = tools
        self._waiters = waiters
        self._rules = rules
        self._telemetry = telemetry
        self._driving: dict[str, Drive | None] = {}  # None while its log is being read
        self._ready: dict[str, None] = {}  # never more than MOST_READY and the offers; what else waits, the sweep finds
        self._limited: set[str] = set()  # those we drive under a limit: others may wait for their places
        self._turns = Turns(self._db, engine=tools.worker.engine_version, per_key=rules.per_key)
        self._look = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()
        self._more = False
        self._is_full = False
        self._open = rules.drives
        self._ends = EndedElsewhere(tools.family.library, waiters, tools.tasks)
        self._offers = Offers()
        self._left = asyncio.Event()
        self._strays = Strays(self._db, tools.worker.id)
        self._look_around = False
        self._held = tools.pause.is_on  # nothing is to be driven, by order of the operator
        tools.pause.on_change = self._obey

    @property
    def driving(self) -> int:
        """How many executions are in this process' hands."""
        return len(self._driving)

    @property
    def ready(self) -> int:
        """How many are known to be ready and wait for a slot here; what else waits is only in the database."""
        return len(self._ready)

    # ---- being told -------------------------------------------------------------------------------------------------

    def holder(self) -> Holder:
        """Who shall drive a new execution: this process while it has room, and nobody waits for it."""
        room = self._has_room and not self._ready and not self._more
        return Holder(self._tools.worker.text, 1) if room else Holder()

    def check_room(self) -> None:
        """Raise Overloaded when more executions wait for a slot than may; as of the last sweep."""
        if self._is_full:
            raise Overloaded(f"{self._rules.queued_most} executions wait for a worker", retry_after_s=FULL_FOR_S)

    @property
    def _takes(self) -> bool:
        return self._open and not self._held

    @property
    def _has_room(self) -> bool:
        return self._takes and len(self._driving) < self._rules.slots

    async def turn_of(self, row: ExecutionRow) -> Turn | None:
        """What an execution waits for that could go on and that nobody drives; None for any other."""
        return await self._turns.turn_of(row, self._tools.now(), self._tools.pause)

    def adopt(self, started: Started) -> None:
        """Drive an execution that was started in our name, or look for somebody who does."""
        if started.unit.event[2] is None:
            self._waiters.keep(started.book)
            self.woken(started.book.id, None)
            return
        self._telemetry.waited(started.book.facts.start_time, self._tools.now())
        drive = Drive(self._tools, started.book, Lease(1, 0))
        if self._held:
            drive.hold(True)
        self._begin(started.book.id, 1, drive, self._run(drive, started))

    def woken(self, execution_id: str, driver: str | None) -> None:
        """An execution has something to look at; `driver` is who holds it."""
        drive = self._driving.get(execution_id)
        if drive is not None:
            drive.wake()
        elif driver is None and self._takes and not self._rules.queued:
            self._stand_ready(execution_id)

    def _stand_ready(self, execution_id: str) -> None:
        if len(self._ready) < MOST_READY:
            self._ready[execution_id] = None
        else:
            self._more = True
        self._look.set()

    def errand(self, work: Coroutine[Any, Any, None]) -> None:
        """Do this beside everything else; it must not fail."""
        self._tools.tasks.create_task(work)

    def heard(self, woken: Sequence[str], ended: Sequence[str]) -> None:
        """Another process has woken these executions, and ended those."""
        for execution_id in (*woken, *ended):
            drive = self._driving.get(execution_id)
            if drive is not None:
                drive.wake()
            self._tools.tidings.appended(execution_id)
        self._ends.heard(ended)

    def look_around(self) -> None:
        """Something may have happened to any execution we know."""
        self._look_around = True
        self._look.set()

    @property
    def room(self) -> int:
        """How many more the queue may bring."""
        return max(0, self._rules.slots - len(self._driving) - len(self._ready)) if self._takes else 0

    async def has_room(self) -> None:
        """Wait until there may be room; a second at most."""
        self._left.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SWEEP_S):
                await self._left.wait()

    async def offer(self, execution_ids: Iterable[str]) -> None:
        """Claim these; returns once that was tried, or at once where the sweep will do it.

        Raises Closed when this process takes nothing more, Unavailable when the database cannot be reached.
        """
        if not self._open:
            raise Closed
        if self._held or self._more:  # the sweep finds them when all is resumed, or as fairness would have it
            return
        tried = []
        for execution_id in execution_ids:
            if execution_id in self._driving:
                self._offers.again(execution_id)
            elif not self._offers.is_over(execution_id):
                self._ready[execution_id] = None
                tried.append(self._offers.expect(execution_id))
        if tried:
            self._look.set()
            await asyncio.gather(*tried)

    def refuse_offers(self, error: Exception) -> None:
        """Let nobody wait for a claim any more."""
        self._offers.refuse(error)

    # ---- driving ----------------------------------------------------------------------------------------------------

    def _begin(self, execution_id: str, epoch: int, drive: Drive | None, work: Awaitable[Drive]) -> None:
        self._driving[execution_id] = drive
        self._empty.clear()
        self._tools.worker.driving = len(self._driving)
        self._tools.tasks.create_task(self._attend(execution_id, epoch, work))

    async def _attend(self, execution_id: str, epoch: int, work: Awaitable[Drive]) -> None:
        EXECUTION_ID.set(execution_id)
        try:
            self._done(await work)
        except LeaseLost:
            log.warning("lease.lost execution=%s", execution_id)
        except Unavailable as error:  # the sweep finds it among what we hold and do not drive
            log.warning("execution.interrupted execution=%s error=%s", execution_id, error)
            self._tell(execution_id)
        except Exception as error:  # the worker loop: one broken execution must not end the others
            log.exception("execution.crashed execution=%s", execution_id)
            self._tell(execution_id)
            await self._set_aside(execution_id, epoch, error)
        finally:
            self._let_slip(execution_id)

    def _let_slip(self, execution_id: str) -> None:
        """It is in our hands no more: its slot is free."""
        drive = self._driving.pop(execution_id, None)
        if not self._driving:
            self._empty.set()
        self._tools.worker.driving = len(self._driving)
        self._left.set()
        if self._offers.left(execution_id, ended=drive is not None and drive.ended) and self._takes:
            self._stand_ready(execution_id)
        if execution_id in self._limited:
            self._limited.discard(execution_id)
            self._more = True
        if self._more or self._ready:
            self._look.set()

    async def _run(self, drive: Drive, started: Started) -> Drive:
        await drive.run(started.commands, started.later)
        return drive

    def _tell(self, execution_id: str) -> None:
        """What this process did for an execution can be told; whoever takes over from a lost lease tells it instead."""
        drive = self._driving.get(execution_id)
        if drive is not None:
            self._telemetry.let_go(drive.book.facts, drive.lease.epoch)

    def _done(self, drive: Drive) -> None:
        self._telemetry.let_go(drive.book.facts, drive.lease.epoch)
        if drive.ended:
            self._waiters.ended(drive.book.id, drive.book)
        else:
            self._tools.family.library.shelf.put(drive.book)

    async def _set_aside(self, execution_id: str, epoch: int, error: Exception) -> None:
        """Driving failed for a reason of ours: try again later, less and less often."""
        try:
            await executions.set_aside(self._db, UUID(execution_id), me=self._tools.worker.id, epoch=epoch, error=error)
        except DatabaseError:
            log.exception("execution.not_set_aside execution=%s", execution_id)

    @property
    def _db(self) -> Any:
        return self._tools.family.library.db

    # ---- finding and claiming ---------------------------------------------------------------------------------------

    async def sweep_for_ever(self) -> None:
        """Look when told to, and every second anyway."""
        loop = asyncio.get_running_loop()
        swept_at = 0.0
        while True:
            self._look.clear()
            try:
                if loop.time() - swept_at >= SWEEP_S:
                    swept_at = loop.time()
                    await self._sweep()
                elif self._look_around:
                    await self._look_after()
                elif self._more and self._takes and not self._ready:
                    await self._find_due()
                await self._claim_ready()
                if self._more and self._has_room and not self._ready:
                    self._look.set()
            except DatabaseError as error:  # away, or not (yet) what we know: the next look may find it well again
                log.warning("sweep.unavailable error=%s", error)
            try:
                async with asyncio.timeout(max(0.0, SWEEP_S - (loop.time() - swept_at))):
                    await self._look.wait()
            except TimeoutError:
                continue

    def _obey(self) -> None:
        """Do what the operator wants now. While all is paused nothing is claimed, and what is driven here is let go once
        its running tasks have ended; the sweep finds it afterwards."""
        if self._held is self._tools.pause.is_on:
            return
        self._held = self._tools.pause.is_on
        log.warning("dispatch.%s", "paused" if self._held else "resumed")
        for drive in self._driving.values():
            if drive is not None:
                drive.hold(self._held)
        self._more = not self._held  # afterwards there is something to find
        if self._held:
            self._offers.answer(list(self._ready))
            self._ready.clear()
        self._look.set()

    async def _sweep(self) -> None:
        await self._tools.pause.refresh()
        self._obey()
        worker = self._tools.worker
        if self._takes and len(self._ready) < MOST_READY:
            found = await executions.orphans(self._db, me=worker.id, engine=worker.engine_version, count=AHEAD)
            self._ready |= dict.fromkeys(str(id_) for id_ in found)
            await self._find_due()
        if self._rules.queued_most:
            self._is_full = await self._turns.is_backlog(self._rules.queued_most)
        await self._look_after()

    async def _find_due(self) -> None:
        """Look a little ahead, so that a slot that comes free is filled without a search."""
        found, self._more = await self._turns.next()
        self._ready |= dict.fromkeys(str(id_) for id_ in found if str(id_) not in self._driving)

    async def _look_after(self) -> None:
        """Notice what nobody told us: leases lost, ends elsewhere, wake-ups that got lost, executions we hold idly."""
        self._look_around = False
        ids = [*self._driving, *self._waiters]
        if not ids and not self._rules.drives:
            return
        idle: set[str] = set()
        ended: list[str] = []
        for row in await executions.changed(self._db, [UUID(id_) for id_ in ids], me=self._tools.worker.id):
            execution_id = str(row["execution_id"])
            drive = self._driving.get(execution_id)
            if drive is not None:
                self._compare(drive, row)
            elif execution_id in self._driving:
                continue
            elif row["ended_at"] is not None:
                ended.append(execution_id)
            elif row["driver"] == self._tools.worker.id:
                idle.add(execution_id)
        self._ends.heard(ended)
        await self._strays.seen(idle)

    def _compare(self, drive: Drive, row: Any) -> None:
        lease = drive.lease
        if row["wake_no"] != lease.wake_no or row["epoch"] != lease.epoch or row["driver"] != self._tools.worker.id:
            drive.wake()

    async def _claim_ready(self) -> None:
        while self._takes and self._ready and (free := self._rules.slots - len(self._driving)) > 0:
            taken = list(self._ready)[: min(free, CLAIM_AT_ONCE)]
            for execution_id in taken:
                del self._ready[execution_id]
            try:
                await self._claim([id_ for id_ in taken if id_ not in self._driving])
            except Unavailable as error:
                self._offers.answer(taken, error)
                raise
            self._offers.answer(taken)

    async def _claim(self, wanted: Sequence[str]) -> None:
        if wanted:
            self._take(await self._turns.claim([UUID(id_) for id_ in wanted], me=self._tools.worker.id))

    def _take(self, claims: Sequence[Claim]) -> None:
        """Drive what was claimed."""
        for claim in claims:
            execution_id = str(claim.row.execution_id)
            if claim.row.epoch == 1:
                self._telemetry.waited(claim.row.start_time, self._tools.now())
            if claim.row.max_parallel is not None:
                self._limited.add(execution_id)
            self._begin(execution_id, claim.row.epoch, None, self._go_on(claim))

    async def _go_on(self, claim: Claim) -> Drive:
        book = await self._tools.family.library.claimed(claim.row, claim.first)
        drive = Drive(self._tools, book, Lease(claim.row.epoch, claim.row.wake_no))
        self._driving[book.id] = drive
        if self._held:
            drive.hold(True)
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
        self._left.set()
        self.refuse_offers(Closed())
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
            for execution_id in self._driving:
                self._tell(execution_id)
        if self._rules.drives:
            try:
                await executions.release_all(self._db, me=self._tools.worker.id, at=self._tools.now())
            except DatabaseError as error:  # they are taken over once our lease has ended
                log.warning("shutdown.not_released error=%s", error)
