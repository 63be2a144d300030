"""Executions that wait for each other: children start inside the parent's commit, and ends wake whoever waits."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol
from uuid import UUID

from models import executions
from models.dal.errors import Unavailable as DatabaseUnavailable
from models.executions import ExecutionRow
from models.journal import Unit, Written
from models.records import ErrorType, ExecutionStatus, Flag
from services.access.actor import SYSTEM
from services.access.permission_service import PermissionService
from services.engine.commands import CancelChild, EngineCommand, PauseChild, ResumeChild, StartChild, work_key
from services.engine.graph import Failure
from services.engine.inputs import ChildEnded, ChildPaused, Input
from services.engine.statuses import Outcome
from services.errors import Denied, MillraceError, WorkflowNotFound
from services.execution.book import Book
from services.execution.library import Library
from services.execution.starting import Holder, Order, Starter
from services.execution.telemetry import Telemetry
from services.registry.caller import Caller

log = logging.getLogger("millrace.family")

AGAIN_S = 1.0
"""Pause before a child is asked again whose database was away."""


class Herald(Protocol):
    """Who tells executions that something happened."""

    def woken(self, execution_id: str, driver: str | None) -> None:
        """An execution has something to look at; `driver` is who holds it."""
        ...

    def errand(self, work: Coroutine[Any, Any, None]) -> None:
        """Do this beside everything else; it must not fail."""
        ...


class Controls(Protocol):
    """Requests to an execution; see `controls.py`."""

    async def request(self, execution_id: str, verb: str, *, by: str | None) -> Any:
        """Cancel, pause or resume."""
        ...


OUTCOMES = {
    ExecutionStatus.COMPLETED: Outcome.COMPLETED,
    ExecutionStatus.FAILED: Outcome.FAILED,
    ExecutionStatus.CANCELLED: Outcome.CANCELLED,
}
VERBS = {CancelChild: "cancel", PauseChild: "pause", ResumeChild: "resume"}


@dataclass(slots=True, kw_only=True)
class Family:
    """Parents and children, and the news between them."""

    library: Library
    starter: Starter
    permissions: PermissionService
    now: Callable[[], Any]
    telemetry: Telemetry
    herald: Herald = field(init=False)
    controls: Controls = field(init=False)

    def tell(self, written: Written, commands: Iterable[EngineCommand] = ()) -> None:
        """Pass on what a commit woke, and whom it gave birth to."""
        for execution_id, driver in written.woken:
            self.herald.woken(execution_id, driver)
        for command in commands:
            if isinstance(command, StartChild):
                self.herald.woken(command.child_id, None)

    async def ended_children(self, book: Book) -> list[Input]:
        """What became of the children this execution waits for."""
        waited = book.state.children
        if not waited:
            return []
        news: list[Input] = []
        for row in await executions.children(self.library.db, UUID(book.id)):
            key = waited.get(str(row.execution_id))
            if key is None:
                continue
            if row.ended_at is not None:
                news.append(await self._ended(row))
            elif (row.status == ExecutionStatus.PAUSED) != book.state.work[key].paused:
                paused = row.status == ExecutionStatus.PAUSED
                news.append(ChildPaused(now=self.now(), child_id=str(row.execution_id), paused=paused))
        return news

    async def _ended(self, row: ExecutionRow) -> ChildEnded:
        output = row.final_output
        if output is None:
            output = (await self.library.folded_row(row)).state.output
        failure = None
        if row.status != ExecutionStatus.COMPLETED:
            kind = ErrorType(row.error_type) if row.error_type else ErrorType.CANCELLED
            details = {"execution_id": str(row.execution_id)}
            failure = Failure(type=kind, message=row.error_message or f"the child was {row.status}", details=details)
        return ChildEnded(
            now=self.now(),
            child_id=str(row.execution_id),
            outcome=OUTCOMES[ExecutionStatus(row.status)],
            output=output,
            failure=failure,
        )

    async def add_start(self, unit: Unit, parent: Book, command: StartChild) -> Input | None:
        """Start a child in the parent's commit. One that cannot start is answered at once."""
        try:
            order = await self._order(parent, command)
            started = await self.starter.start(order, Holder())
        except MillraceError as error:
            failure = Failure(type=ErrorType.VALIDATION, message=error.message, details=error.details or None)
            return ChildEnded(now=self.now(), child_id=command.child_id, outcome=Outcome.FAILED, failure=failure)
        unit.include(started.unit)
        return None

    async def _order(self, parent: Book, command: StartChild) -> Order:
        facts = parent.facts
        pinned = await self.library.versions.load_for_execution(command.workflow, Caller(actor=SYSTEM))
        if facts.triggered_by != SYSTEM.user_id:
            verdict = await self.permissions.check_permission(
                workflow_id=pinned.workflow_id, user_id=facts.triggered_by or 0, permission_type=Flag.EXECUTE
            )
            if not verdict and not verdict.visible:
                raise WorkflowNotFound(workflow=command.workflow)
            if not verdict:
                raise Denied(f"{command.workflow} may not be started by who started this: {verdict.reason}")
        return Order(
            pinned=pinned,
            parameters=command.inputs,
            at=self.now(),
            triggered_by=facts.triggered_by,
            key_id=facts.key_id,
            community_id=pinned.community_id,
            execution_id=command.child_id,
            parent_execution_id=facts.execution_id,
            parent_node=work_key(command.node, command.run, command.item),
            depth=command.depth,
            traceparent=self.telemetry.child_header(facts, command.child_id),
        )

    def pass_down(self, parent_id: str, commands: Iterable[EngineCommand]) -> None:
        """Ask of the children what was asked of their parent, and is durable."""
        for command in commands:
            if isinstance(command, CancelChild | PauseChild | ResumeChild):
                self.herald.errand(self.pass_on(parent_id, command))

    async def pass_on(self, parent_id: str, command: CancelChild | PauseChild | ResumeChild) -> None:
        """A child that has ended needs nothing."""
        verb = VERBS[type(command)]
        while True:
            try:
                await self.controls.request(command.child_id, verb, by=f"parent {parent_id}")
            except DatabaseUnavailable as error:  # it has to arrive: nobody else passes it on
                log.warning("child.%s_waits child=%s error=%s", verb, command.child_id, error)
                await asyncio.sleep(AGAIN_S)
                continue
            except MillraceError as error:
                log.info("child.%s_refused child=%s reason=%s", verb, command.child_id, error.message)
            except Exception:  # the worker loop: one child that cannot be read must not end the others
                log.exception("child.%s_failed child=%s", verb, command.child_id)
            return
