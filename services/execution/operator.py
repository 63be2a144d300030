"""What operators do about executions, whoever started them: look for them, fail one by force, cancel many."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from models import executions, inquiries, operator_lists
from models.executions import ExecutionRow
from models.journal import Unit
from models.journal_statements import AUDIT, CLOSE_INQUIRY
from models.operator_lists import OperatorFilter, Part, WorkerRow
from models.records import ErrorType
from services.access.actor import Actor
from services.access.audit import Category, Entry, Result, say
from services.engine.commands import CancelChild
from services.engine.evolve import evolve
from services.engine.graph import Failure
from services.engine.statuses import PUBLIC, Phase
from services.errors import BadRequest, MillraceError, Unavailable
from services.execution.book import Book, Facts
from services.execution.controls import ATTEMPTS
from services.execution.endings import add_ending
from services.execution.journal import Append
from services.execution.lifecycle import Lifecycle
from services.execution.poison import given_up, unreadable

log = logging.getLogger("millrace.operator")

CAP = 10_000
BATCH = 100
AT_ONCE = 16
MOST_NAMED = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Wreck:
    """The end of an execution whose log cannot be read, as far as the summary knows it."""

    ended_at: datetime
    failure: Failure
    operations: int
    phase: Phase = Phase.FAILED
    output: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """An execution that was failed by force. One that was being cancelled has ended as cancelled."""

    execution_id: UUID
    status: str
    failed_at: datetime


@dataclass(slots=True)
class Cancelled:
    """What a bulk cancel did. `matched` counts up to 10,001; `refused` names the first twenty, with the reason."""

    matched: int
    cancelled: int = 0
    refused: list[tuple[UUID, str]] = field(default_factory=list)
    refusals: int = 0


class Operator:
    """For administrators; every deed is in the audit record."""

    def __init__(self, lifecycle: Lifecycle) -> None:
        self._lifecycle = lifecycle
        self._db = lifecycle.library.db

    async def workers(self) -> list[WorkerRow]:
        """Every worker that is known."""
        return await operator_lists.workers(self._db)

    async def page(self, wanted: OperatorFilter, part: Part) -> tuple[list[ExecutionRow], int]:
        """Some of the executions, newest first, and how many there are (10,001 stands for more)."""
        rows = await operator_lists.page(self._db, wanted, part)
        return rows, await operator_lists.count(self._db, wanted, cap=CAP + 1)

    # ---- failing one by force ---------------------------------------------------------------------------------------

    async def fail(self, execution_id: str, *, reason: str | None, by: Actor) -> Failed:
        """End an execution as failed, whether its driver is alive, dead or none, and even if its log cannot be read.

        Raises ExecutionNotFound, BadRequest when it has ended.
        """
        for _ in range(ATTEMPTS):
            row = await self._lifecycle.row(execution_id, by=by)
            if row.ended_at is not None:
                raise BadRequest(f"the execution has already ended as {row.status}")
            entry = self._entry("fail_execution", by, reason, row)
            ending = await self._ending(row, _failure(by, reason))
            if ending is None:
                continue  # it has just ended: the row says as what
            unit, status = ending
            unit.add(AUDIT, *self._lifecycle.audit_row(entry))
            written = await self._lifecycle.journal.write(unit)
            if written.committed:
                say(entry)
                self._lifecycle.controls.family.tell(written)
                await self._tell(row)
                return Failed(execution_id=row.execution_id, status=status, failed_at=unit.event[-1])
        raise Unavailable("The execution changes faster than it can be read")

    async def _ending(self, row: ExecutionRow, failure: Failure) -> tuple[Unit, str] | None:
        """Everything that is written, and the status it leads to; None when it has ended since the row was read."""
        try:
            book = await self._lifecycle.library.folded_row(row)
        except Exception as error:  # noqa: BLE001 - whatever hinders reading it, it has to come to its end
            log.warning("execution.unreadable execution=%s error=%s", row.execution_id, error)
            wreck = await self._wreck(row, failure)
            if wreck is None:
                return None
            unit, phase = wreck, Phase.FAILED
        else:
            if book.state.ended:
                return None
            unit, phase = self._folded(book, failure)
        for asked in await inquiries.open_of(self._db, row.execution_id):
            unit.add(CLOSE_INQUIRY, str(asked.id), "cancelled", None, None, unit.event[-1])
        return unit, PUBLIC[phase].value

    def _folded(self, book: Book, failure: Failure) -> tuple[Unit, Phase]:
        now = max(self._lifecycle.now(), book.last_at or book.facts.start_time)
        events = given_up(book.state, "forced", failure, now)
        for event in events:
            evolve(book.state, event)
        unit = self._lifecycle.journal.unit(Append(book.id, book.next_seq, None, 0, now), events)
        add_ending(unit, book.facts, book.state)
        return unit, book.state.phase

    async def _wreck(self, row: ExecutionRow, failure: Failure) -> Unit | None:
        now = max(self._lifecycle.now(), row.start_time)
        seq = await operator_lists.next_seq(self._db, row.execution_id)
        if seq is None:
            return None
        place = Append(str(row.execution_id), seq, None, 0, now)
        unit = self._lifecycle.journal.unit(place, unreadable("forced", failure, now))
        add_ending(unit, Facts.of(row), Wreck(ended_at=now, failure=failure, operations=row.nodes_executed))
        return unit

    async def _tell(self, row: ExecutionRow) -> None:
        """Whoever drives it stops, whoever waits for it looks, and its children end."""
        family, execution_id = self._lifecycle.controls.family, str(row.execution_id)
        family.herald.woken(execution_id, None if row.driver is None else str(row.driver))
        self._lifecycle.controls.tidings.appended(execution_id)
        self._lifecycle.waiters.ended(execution_id)
        children = await executions.children(self._db, row.execution_id)
        asked = [CancelChild(child_id=str(child.execution_id)) for child in children if child.ended_at is None]
        family.pass_down(execution_id, asked)

    # ---- cancelling many --------------------------------------------------------------------------------------------

    async def cancel(self, wanted: OperatorFilter, *, most: int, reason: str | None, by: Actor) -> Cancelled:
        """Cancel up to `most` of the executions that match and have not ended; again for the rest.

        Each is a request of its own with an entry of its own; what has ended meanwhile is left alone.
        """
        wanted = replace(wanted, cancellable=True)
        done = await self.plan(wanted)
        after: tuple[datetime, UUID] | None = None
        while done.cancelled + done.refusals < most:
            count = min(BATCH, most - done.cancelled - done.refusals)
            rows = await operator_lists.page(self._db, wanted, Part(count, after=after))
            if not rows:
                break
            after = (rows[-1].start_time, rows[-1].execution_id)
            await self._cancel_all(rows, done, reason=reason, by=by)
        entry = self._entry("cancel_executions", by, reason)
        entry.details.update(matched=done.matched, cancelled=done.cancelled, refused=done.refusals)
        await self._lifecycle.audit.write(entry)
        return done

    async def plan(self, wanted: OperatorFilter) -> Cancelled:
        """How many `cancel` would be about."""
        return Cancelled(await operator_lists.count(self._db, replace(wanted, cancellable=True), cap=CAP + 1))

    async def _cancel_all(
        self, rows: Sequence[ExecutionRow], done: Cancelled, *, reason: str | None, by: Actor
    ) -> None:
        room = asyncio.Semaphore(AT_ONCE)

        async def one(row: ExecutionRow) -> None:
            async with room:
                try:
                    await self._lifecycle.control(str(row.execution_id), "cancel", by=by, reason=reason)
                except MillraceError as error:
                    done.refusals += 1
                    if len(done.refused) < MOST_NAMED:
                        done.refused.append((row.execution_id, error.message))
                else:
                    done.cancelled += 1

        async with asyncio.TaskGroup() as tasks:
            for row in rows:
                tasks.create_task(one(row))

    def _entry(self, action: str, by: Actor, reason: str | None, row: ExecutionRow | None = None) -> Entry:
        return Entry(
            category=Category.AUDIT,
            action=action,
            result=Result.SUCCESS,
            actor=by,
            community_id=None if row is None else row.community_id,
            workflow_id=None if row is None else row.workflow_id,
            resource="executions" if row is None else str(row.execution_id),
            reason=reason,
        )


def _failure(by: Actor, reason: str | None) -> Failure:
    message = f"failed by {by.name or by.user_id}" + (f": {reason}" if reason else "")
    return Failure(type=ErrorType.EXECUTION, message=message)
