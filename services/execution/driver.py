"""Drives one execution from the moment it is ours to its end, or to where it only waits (JOURNAL sections 3 and 4).

The loop is: take what happened → decide → write one row → do what the decision asks for. At most one append is under
way; whatever happens meanwhile is decided together afterwards. A row that could not be written means that somebody
wrote before us: the log is read again, and what is still undelivered is decided anew.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from msgspec import Struct

from models.dal.errors import Unavailable
from models.journal import Unit, Written
from models.journal_statements import PARK, TAKEN_OVER
from models.records import Effect
from services.engine import inputs as given
from services.engine.commands import (
    ClearTimer,
    CloseInquiry,
    EngineCommand,
    InterruptAttempt,
    OpenInquiry,
    Perform,
    SetTimer,
    StartChild,
)
from services.engine.events import Claimed, Event
from services.engine.evolve import evolve
from services.engine.graph import LIMIT_NAMES
from services.engine.inputs import Input
from services.engine.statuses import PUBLIC
from services.execution.attempts import Attempts
from services.execution.away import Away
from services.execution.book import Book
from services.execution.deciding import Decider, Turn
from services.execution.endings import add_ending
from services.execution.family import Family
from services.execution.in_flight import InFlight
from services.execution.journal import Append, EventRow, Journal
from services.execution.pause_all import PauseAll
from services.execution.standing import standing_commands, standing_requests, waiting_for
from services.execution.stream import Tidings
from services.execution.timers import Timers
from services.execution.worker import Worker

log = logging.getLogger("millrace.driver")

PARK_AFTER_S = 2.0
"""An execution that will go on sooner than this keeps its place in memory."""
COALESCE_S = 0.01


WAITING = (SetTimer, ClearTimer, OpenInquiry, CloseInquiry, StartChild)
"""Commands after which there is nothing to do here but wait."""


class LeaseLost(Exception):
    """Somebody else drives this execution now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """What every drive of this process works with."""

    journal: Journal
    decider: Decider
    attempts: Attempts
    family: Family
    worker: Worker
    tidings: Tidings
    pause: PauseAll
    tasks: asyncio.TaskGroup
    now: Callable[[], datetime]


class Lease(Struct):
    """Our claim on an execution, and the last wake-up we know of."""

    epoch: int
    wake_no: int


class Drive:
    """One execution in the hands of this process."""

    def __init__(self, tools: Tools, book: Book, lease: Lease) -> None:
        self.book = book
        self.lease = lease
        self.ended = False
        self._tools = tools
        self._inbox: list[Input] = []
        self._in_flight = InFlight(tools.attempts, tools.tasks, report=self._happened, given_up=self._stir)
        self._timers = Timers(self._timer_due, tools.now)
        self._signal: asyncio.Future[None] | None = None
        self._woken = False
        self._leaving = False
        self._holding = False
        self._parked = False
        self._away = Away(book.id)
        self._began = asyncio.get_running_loop().time()
        left = max(0.0, book.state.limits.workflow_timeout_s - book.spent_s)
        self._deadline = asyncio.get_running_loop().call_later(left, self._out_of_time)

    # ---- what others may ask of it --------------------------------------------------------------------------------

    def wake(self) -> None:
        """Something was written that this execution may wait for."""
        self._woken = True
        self._stir()

    def hold(self, on: bool) -> None:
        """Start nothing more, and let go once nothing is under way; or go on as before."""
        self._holding = on
        if on:
            self._stir()
        else:
            self._happened(given.Released(now=self.now()))

    def leave(self) -> None:
        """Stop as soon as nothing irreversible is under way; the rest is handed back."""
        self._leaving = self._holding = True
        self._in_flight.leave()
        self._stir()

    # ---- the loop ---------------------------------------------------------------------------------------------------

    async def run(self, commands: Sequence[EngineCommand] = (), news: Sequence[Input] = ()) -> None:
        """Go on from a fresh start, whose first commands and news are given, to the end or to where it only waits."""
        try:
            self._inbox += news
            self._carry_out(commands)
            while not self.book.state.ended:
                inputs = await self._next()
                if inputs is None:
                    return
                await self._turn(inputs)
            self.ended = True
        finally:
            await self._stop()

    async def take_over(self, takeover: int | None) -> None:
        """Go on with an execution that was claimed. `takeover`: how many drivers in a row died without getting further;
        then the log says that we took over before anything is performed."""
        try:
            inputs: list[Input] = [given.Recovered(now=self.now())]
            inputs += await self._tools.family.ended_children(self.book)
            await self._turn(inputs, takeover)
        except BaseException:
            await self._stop()
            raise
        await self.run()

    async def finish_with(self, events: Sequence[Event]) -> None:
        """End the execution by a decision of the shell, not of the engine; one that has just ended stays as it is."""
        self.ended = self.book.state.ended
        if not self.ended:
            for event in events:
                evolve(self.book.state, event)
            unit = self._unit(Turn(events=list(events)))
            add_ending(unit, self.book.facts, self.book.state)
            written = await self._write(unit)
            if written.committed:
                self._tools.family.tell(written)
                self.ended = True
        await self._stop()

    async def _next(self) -> list[Input] | None:
        """What has to be decided next; None when the execution was parked or is handed back."""
        while True:
            if self._inbox:
                inputs, self._inbox = self._inbox, []
                return inputs
            if self._parked or (self._leaving and not self._in_flight):
                return None
            if self._woken:
                await self._catch_up()
            elif self._is_idle() and await self._park():
                return None
            else:
                await self._stirred()

    async def _turn(self, inputs: Sequence[Input], takeover: int | None = None) -> None:
        """Decide, make it durable, carry it out. `takeover`: how often in a row we were not the first to try."""
        while True:
            turn = await self._tools.decider.decide(self.book, inputs, ride=self._ride, hold=self._holding)
            if not turn.events and (takeover is None or self.book.state.ended):
                break  # the driver before us may have ended it after we claimed it
            written = await self._write(await self._composed(turn, takeover))
            if written.committed:
                self.book.next_seq += 1
                self._parked = written.parked
                self._tools.tidings.appended(self.book.id)
                self._tools.family.tell(written, turn.commands)
                break
            await self._read_again(inputs)
        self._inbox += turn.later
        if not self._parked:
            self._carry_out(turn.commands)

    async def _composed(self, turn: Turn, takeover: int | None) -> Unit:
        """The row of a turn: that we took over, what actions wrote into their logs, what was decided."""
        turn.events[:0] = self._in_flight.take_lines()
        if takeover is not None:
            turn.events.insert(0, Claimed(driver=self._tools.worker.text, epoch=self.lease.epoch, at=self.now()))
        unit = self._unit(turn)
        while True:
            try:
                await self._tools.decider.compose(unit, self.book, turn)
                break
            except Unavailable as error:  # a child could not be looked up
                await self._away.wait(error)
                unit = self._unit(turn)
                turn.later.clear()
        if takeover is not None:
            unit.add(TAKEN_OVER, self.book.id, takeover, self.book.next_seq)
        if self._will_wait(turn):
            unit.add(PARK, *self._parking())
        return unit

    def _ride(self, command: Perform) -> Input | None:
        return self._in_flight.ride(self.book, command)

    def _unit(self, turn: Turn) -> Unit:
        book = self.book
        book.last_at = self.now()
        place = Append(book.id, book.next_seq, self._tools.worker.text, self.lease.epoch, book.last_at)
        return self._tools.journal.unit(place, turn.events)

    async def _write(self, unit: Unit) -> Written:
        """Write, however long the database is away. A row of ours that is there was written by us."""
        while True:
            try:
                written = await self._tools.journal.write(unit)
                self._away.is_over()
                if written.committed or not await self._is_mine(unit):
                    return written
                return self._tools.journal.was_written(unit)
            except Unavailable as error:
                await self._away.wait(error)

    async def _is_mine(self, unit: Unit) -> bool:
        seq = unit.event[1]
        rows = await self._tools.journal.rows(self.book.id, after=seq - 1)
        return bool(rows) and str(rows[0].driver) == unit.event[2] and rows[0].epoch == unit.event[3]

    async def _read_again(self, undelivered: Sequence[Input]) -> None:
        """Somebody wrote before us: take the state from the log, not from what we believed."""
        library, journal = self._tools.family.library, self._tools.journal
        book = await self._away.outlast(lambda: library.folded(self.book.facts))
        self._check(await self._away.outlast(lambda: journal.rows(book.id, after=self.book.next_seq - 1)))
        book.spent_s = self.book.spent_s
        self.book = book
        self._stand([*undelivered, *self._inbox])

    # ---- what was written by others ---------------------------------------------------------------------------------

    async def _catch_up(self) -> None:
        """Read what was written since: the wake-up number first, so that none is missed."""
        await asyncio.sleep(COALESCE_S)
        self._woken = False
        family, journal = self._tools.family, self._tools.journal
        row = await self._away.outlast(lambda: family.library.row(self.book.id))
        if str(row.driver) != self._tools.worker.text or row.epoch != self.lease.epoch:
            raise LeaseLost(self.book.id)
        self.lease.wake_no = row.wake_no
        rows = await self._away.outlast(lambda: journal.rows(self.book.id, after=self.book.next_seq - 1))
        self._check(rows)
        family.library.fold(self.book, rows)
        self._inbox += await self._away.outlast(lambda: family.ended_children(self.book))
        self._stand(self._inbox)
        self._inbox.append(given.Released(now=self.now()))

    def _check(self, rows: Iterable[EventRow]) -> None:
        for row in rows:
            for event in row.events:
                if isinstance(event, Claimed) and event.driver != self._tools.worker.text:
                    raise LeaseLost(self.book.id)

    def _stand(self, undelivered: Sequence[Input]) -> None:
        """Let what is under way here be what the state says is under way, apart from what has just ended."""
        state = self.book.state
        ended = {(news.node, news.run, news.item) for news in undelivered if isinstance(news, given.AttemptEnded)}
        self._timers.keep((timer.id, timer.due) for timer in state.timers.values())
        for command in standing_commands(state):
            key = (command.node, command.run, command.item)
            if key in ended:
                continue
            if isinstance(command, Perform) and key not in self._in_flight:
                self._perform(command)
            elif isinstance(command, InterruptAttempt):
                self._in_flight.interrupt(command)
        self._tools.family.pass_down(self.book.id, standing_requests(state))

    # ---- carrying out -----------------------------------------------------------------------------------------------

    def _carry_out(self, commands: Sequence[EngineCommand]) -> None:
        for command in commands:
            if isinstance(command, Perform):
                self._perform(command)
            elif isinstance(command, SetTimer):
                self._timers.set(command.id, command.at)
            elif isinstance(command, ClearTimer):
                self._timers.clear(command.id)
            elif isinstance(command, InterruptAttempt):
                self._in_flight.interrupt(command)
        self._tools.family.pass_down(self.book.id, commands)

    def _perform(self, command: Perform) -> None:
        if command.effect is Effect.IRREVERSIBLE and not self._tools.worker.is_fresh:
            raise LeaseLost(self.book.id)
        self._in_flight.perform(self.book, command)

    def _happened(self, news: Input) -> None:
        self._inbox.append(news)
        self._stir()

    # ---- waiting ----------------------------------------------------------------------------------------------------

    def _is_idle(self) -> bool:
        """Whether nothing will happen here for a while."""
        return not self._in_flight and not self._is_soon()

    def _will_wait(self, turn: Turn) -> bool:
        """Whether nothing will happen once this turn is written: then it is also let go, in the same transaction."""
        busy = self._in_flight or self._inbox or self._woken or turn.later or self.book.state.ended
        quiet = all(isinstance(command, WAITING) for command in turn.commands)
        return quiet and not busy and not self._is_soon()

    def _is_soon(self) -> bool:
        earliest = min((timer.due for timer in self.book.state.timers.values()), default=None)
        return (
            earliest is not None
            and not self._holding
            and earliest - self._tools.now() < timedelta(seconds=PARK_AFTER_S)
        )

    def _parking(self) -> tuple[Any, ...]:
        """The values of PARK."""
        state = self.book.state
        earliest = min((timer.due for timer in state.timers.values()), default=None)
        if self._holding:  # something may be waiting to start: whoever may go on looks at once
            earliest = self.now()
        status = PUBLIC[state.phase].value
        return (
            self.book.id,
            self.lease.epoch,
            self.lease.wake_no,
            earliest,
            waiting_for(state),
            status,
            state.operations,
        )

    async def _park(self) -> bool:
        """Let go, unless something happened since we last looked."""
        parked = await self._away.outlast(lambda: self._tools.family.library.park(self._parking()))
        self._woken = not parked
        return parked

    async def _stirred(self) -> None:
        self._signal = asyncio.get_running_loop().create_future()
        try:
            await self._signal
        finally:
            self._signal = None

    def _out_of_time(self) -> None:
        """Running took too long; waiting for people and timers does not count, because then nobody drives."""
        self._happened(given.LimitPassed(now=self.now(), limit=LIMIT_NAMES["workflow_timeout_s"]))

    def _stir(self) -> None:
        if self._signal is not None and not self._signal.done():
            self._signal.set_result(None)

    def _timer_due(self, timer: str) -> None:
        self._happened(given.TimerFired(now=self.now(), id=timer))

    def now(self) -> datetime:
        """Never before what was written last."""
        now, last = self._tools.now(), self.book.last_at
        return now if last is None or now > last else last

    async def _stop(self) -> None:
        """Leave nothing running."""
        self._leaving = True
        self._deadline.cancel()
        self._timers.stop()
        await self._in_flight.stop()
        self.book.spent_s += asyncio.get_running_loop().time() - self._began
