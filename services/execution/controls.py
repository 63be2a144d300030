"""Requests to an execution from outside: each is a row of the log, and wins or loses at its commit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from models.bulk import Bulk, Row
from models.executions import ExecutionRow
from models.journal_statements import WAKE
from services.engine.inputs import CancelRequested, Input, PauseRequested, ResumeRequested
from services.errors import BadRequest, Conflict, Unavailable
from services.execution.book import Book
from services.execution.deciding import Decider
from services.execution.family import Family
from services.execution.journal import Append, Journal
from services.execution.library import Library
from services.execution.stream import Tidings

ATTEMPTS = 20

MakeInput = Callable[[datetime, Book], Input]


@dataclass(frozen=True, slots=True)
class Also:
    """Rows that are written with a request; a guard that finds nothing to do refuses it."""

    rows: tuple[tuple[Bulk, Row], ...] = ()
    guards: tuple[tuple[Bulk, Row], ...] = ()


NOTHING = Also()


@dataclass(frozen=True, slots=True, kw_only=True)
class Controls:
    """Writes requests into the logs of executions, whoever drives them."""

    library: Library
    journal: Journal
    decider: Decider
    family: Family
    tidings: Tidings
    now: Callable[[], datetime]

    async def request(self, execution_id: str, verb: str, *, by: str | None, also: Also = NOTHING) -> Book:
        """Cancel, pause or resume. Raises BadRequest with the reason when that is not possible."""

        def given(now: datetime, _book: Book) -> Input:
            kinds = {"cancel": CancelRequested, "pause": PauseRequested, "resume": ResumeRequested}
            made: Input = kinds[verb](now=now, by=by)
            return made

        return await self.give(await self.library.row(execution_id), given, also=also)

    async def give(self, row: ExecutionRow, make: MakeInput, *, also: Also = NOTHING) -> Book:
        """Hand an input to an execution: decide it on the log as it is, and write it as the next row.

        Raises BadRequest when the engine refuses it, Conflict when a guard does.
        """
        for _ in range(ATTEMPTS):
            book = await self.library.folded_row(row)
            now = max(self.now(), book.last_at or row.start_time)
            turn = await self.decider.decide(book, [make(now, book)], hold=True)
            if turn.refused is not None:
                raise BadRequest(turn.refused)
            if not turn.events:
                raise Conflict("Nothing is waiting for this any more")
            book.last_at = now
            unit = self.journal.unit(Append(book.id, book.next_seq, None, 0, now), turn.events)
            unit.guards += also.guards
            unit.also += also.rows
            await self.decider.compose(unit, book, turn)
            unit.add(WAKE, book.id, now)
            written = await self.journal.write(unit)
            if written.refused_by is not None:
                raise Conflict("Somebody was faster")
            if written.committed:
                self.tidings.appended(book.id)
                self.family.tell(written, turn.commands)
                self.family.pass_down(book.id, turn.commands)
                return book
        raise Unavailable("The execution changes faster than it can be read")
