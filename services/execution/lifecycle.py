"""What a caller may do with executions: start, read, cancel, pause, resume, list. Permission is decided here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from msgspec import Struct, structs

from models import execution_lists, workflows
from models.execution_lists import ExecutionFilter, ExecutionPage
from models.executions import ExecutionRow
from models.journal import Unit
from models.journal_statements import AUDIT, REMEMBER_KEY
from models.records import Flag, uuid_text
from models.workflows import WorkflowRow
from services.access.actor import Actor
from services.access.audit import AuditLog, Category, Entry, Result, say
from services.access.permission_service import PermissionService
from services.engine import view as engine_view
from services.engine.explain import explain
from services.errors import (
    Denied,
    ExecutionNotFound,
    IdempotencyMismatch,
    WorkflowNotFound,
)
from services.execution import view
from services.execution.book import Book
from services.execution.controls import Also, Controls
from services.execution.dispatch.embedded import Dispatcher
from services.execution.journal import Journal
from services.execution.library import Library
from services.execution.starting import Order, Started, Starter
from services.execution.view import Show
from services.execution.waiting import Waiters
from services.idempotency import Idempotency, Wanted
from services.registry import lookup
from services.registry.caller import Caller


class StartRequest(Struct, frozen=True, kw_only=True):
    """A request to start. `identifier` is what the caller called the workflow."""

    identifier: str
    variables: Mapping[str, Any] = msgspec.field(default_factory=dict)
    metadata: Any = None
    community_id: int | None = None
    traceparent: str | None = None
    once: Wanted | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanting:
    """Which executions a list is about. `community_id` is the context of the permission check."""

    status: str | None = None
    started_after: datetime | None = None
    started_before: datetime | None = None
    community_id: int | None = None


class Accepted(Struct, frozen=True):
    """A durable start. `book` belongs to its driver; only its facts may be read. `replayed`: it was started before."""

    facts: Any
    ending: asyncio.Future[Book | None] | None
    replayed: bool = False


@dataclass(slots=True, kw_only=True)
class Lifecycle:
    """Executions as callers see them."""

    library: Library
    journal: Journal
    starter: Starter
    controls: Controls
    permissions: PermissionService
    idempotency: Idempotency
    audit: AuditLog
    waiters: Waiters
    dispatcher: Dispatcher
    now: Callable[[], datetime]

    # ---- start ------------------------------------------------------------------------------------------------------

    async def start(self, request: StartRequest, *, by: Actor, wait: bool = False) -> Accepted:
        """Start a workflow; returns when the execution is durable.

        Raises WorkflowNotFound, Denied, WorkflowDisabled, Invalid, ExecutionRefused, IdempotencyMismatch.
        """
        if request.once is not None and (known := await self.idempotency.find(request.once)) is not None:
            return await self._again(known, wait=wait)
        caller = Caller(actor=by, community_id=request.community_id)
        pinned = await self.library.versions.load_for_execution(request.identifier, caller)
        order = Order(
            pinned=pinned,
            parameters=request.variables,
            at=self.now(),
            triggered_by=by.user_id,
            key_id=None if by.key_id is None else uuid_text(by.key_id),
            community_id=pinned.community_id,
            metadata=request.metadata,
            traceparent=request.traceparent,
            by=by,
        )
        return await self.begin(order, request, by=by, wait=wait)

    async def begin(
        self, order: Order, request: StartRequest, *, by: Actor, wait: bool, action: str = "execute_workflow"
    ) -> Accepted:
        """Decide a start, make it durable, and hand it to a driver. Raises Overloaded when too many wait already."""
        self.dispatcher.check_room()
        started = await self.starter.start(order, self.dispatcher.holder())
        entry = self._entry(action, by, order.pinned.row, started.book.id)
        self._audit(started.unit, entry)
        if request.once is not None:
            started.unit.guards.append((REMEMBER_KEY, self._remembered(request.once, started.book.id)))
        ending = self.waiters.expect(started.book.id) if wait else None  # before anybody else can end it
        try:
            written = await self.journal.write(started.unit)
        except BaseException:
            self._forget(started, ending)
            raise
        if written.refused_by is not None:
            assert request.once is not None
            self._forget(started, ending)
            return await self._replay(request.once, wait=wait)
        say(entry)
        self._hand_over(started)
        self.controls.family.tell(written, started.commands)
        return Accepted(started.book.facts, ending)

    def _forget(self, started: Started, ending: asyncio.Future[Book | None] | None) -> None:
        if ending is not None:
            self.waiters.forget(started.book.id, ending)

    def _hand_over(self, started: Started) -> None:
        if started.book.state.ended:
            self.waiters.ended(started.book.id, started.book)
        else:
            self.dispatcher.adopt(started)

    async def _replay(self, once: Wanted, *, wait: bool) -> Accepted:
        known = await self.idempotency.find(once)
        if known is None:
            raise IdempotencyMismatch(key=once.key)
        return await self._again(known, wait=wait)

    async def _again(self, execution_id: str, *, wait: bool) -> Accepted:
        """The execution that an earlier request with the same key started."""
        ending = self.waiters.expect(execution_id) if wait else None
        row = await self.library.row(execution_id)
        if ending is not None and row.ended_at is not None:
            self.waiters.ended(execution_id)
        return Accepted(row, ending, replayed=True)

    def _remembered(self, once: Wanted, execution_id: str) -> tuple[Any, ...]:
        values = self.idempotency.values(once, execution_id)
        return tuple(values[name] for name, _ in REMEMBER_KEY.fields)

    # ---- read -------------------------------------------------------------------------------------------------------

    async def row(self, execution_id: str, *, by: Actor, community_id: int | None = None) -> ExecutionRow:
        """The summary row of an execution that the caller may see: its own, or one of a workflow they may view."""
        return await self._visible(execution_id, by=by, community_id=community_id)

    async def show(
        self, execution_id: str, show: Show, *, by: Actor, community_id: int | None = None
    ) -> dict[str, Any]:
        """Everything about an execution that the caller may see."""
        row = await self._visible(execution_id, by=by, community_id=community_id)
        book, lines = await self.library.read(row)
        shown = view.execution(row, book.state, lines, show)
        turn = await self.dispatcher.turn_of(row)
        if turn is not None:
            shown["waiting_for"].append({"kind": "turn", "node_id": None, "since": turn.since, "until": None})
        if show.metrics:
            shown["metrics"] = engine_view.metrics(book.state, self.now())
        return shown

    async def page(
        self, identifier: str, wanted: Wanting, at: ExecutionPage, *, by: Actor
    ) -> tuple[list[ExecutionRow], int]:
        """A page of a workflow's executions, and how many there are (10,001 stands for more)."""
        found = await lookup.require(self.library.db, identifier, removed=True)
        await self.permissions.require(
            by, found.workflow, Flag.VIEW, called=identifier, community_id=wanted.community_id
        )
        chosen = ExecutionFilter(
            workflow_id=found.workflow.id,
            package_id=found.package_named(identifier),
            status=wanted.status,
            started_after=wanted.started_after,
            started_before=wanted.started_before,
        )
        rows = await execution_lists.page(self.library.db, chosen, at)
        return rows, await execution_lists.count(self.library.db, chosen)

    async def _visible(self, execution_id: str, *, by: Actor, community_id: int | None = None) -> ExecutionRow:
        try:
            row = await self.library.row(str(UUID(execution_id)))
        except ValueError:
            raise ExecutionNotFound(execution=execution_id) from None
        if community_id is not None and row.community_id not in (None, community_id):
            raise ExecutionNotFound(execution=execution_id).denying(f"it is not of community {community_id}")
        if not _is_own(row, by):
            try:
                await self.permissions.require(by, await self._workflow_of(row), Flag.VIEW, called=execution_id)
            except (Denied, WorkflowNotFound):
                raise ExecutionNotFound(execution=execution_id) from None
        return row

    async def _workflow_of(self, row: ExecutionRow) -> WorkflowRow:
        """The workflow, or what is left of it: history stays readable after it was removed."""
        found = await workflows.by_id(self.library.db, row.workflow_id) if row.workflow_id is not None else None
        if found is None:
            missing = ExecutionNotFound(execution=str(row.execution_id))
            raise missing.denying("somebody else's, and its workflow was removed")
        return found

    async def awaited(self, accepted: Accepted, *, seconds: float) -> Book | ExecutionRow | None:
        """The end of an accepted execution, if it comes in time: its book when it ended here, else its row."""
        assert accepted.ending is not None
        execution_id = str(accepted.facts.execution_id)
        try:
            async with asyncio.timeout(seconds):
                book = await accepted.ending
        except TimeoutError:
            return None
        finally:
            self.waiters.forget(execution_id, accepted.ending)
        if book is not None:
            return book
        row = await self.library.row(execution_id)
        return row if row.ended_at is not None else None

    async def explain(self, execution_id: str, *, by: Actor) -> dict[str, Any]:
        """Why an execution is where it is."""
        row = await self._visible(execution_id, by=by)
        book = await self.library.folded_row(row)
        facts = explain(book.state, self.now())
        turn = await self.dispatcher.turn_of(row)
        if turn is not None:
            facts.insert(1, {"kind": "turn", "since": turn.since, "text": f"it waits for its turn: {turn.reason}"})
        return {
            "execution_id": row.execution_id,
            "status": row.status,
            "driver": row.driver,
            "explanation": ". ".join(fact["text"] for fact in facts),
            "facts": facts,
        }

    # ---- control ----------------------------------------------------------------------------------------------------

    async def control(self, execution_id: str, verb: str, *, by: Actor, reason: str | None = None) -> Book:
        """Cancel, pause or resume. The starter may, and whoever may execute the workflow."""
        row = await self._visible(execution_id, by=by)
        workflow = await self._workflow_of(row)
        if not _is_own(row, by):
            await self.permissions.require(by, workflow, Flag.EXECUTE, called=workflow.ref)
        entry = structs.replace(self._entry(f"{verb}_execution", by, workflow, str(row.execution_id)), reason=reason)
        also = Also(rows=((AUDIT, self.audit_row(entry)),))
        book = await self.controls.request(str(row.execution_id), verb, by=by.name or str(by.user_id), also=also)
        say(entry)
        if book.state.ended:
            self.waiters.ended(book.id, book)
        return book

    # ---- audit ------------------------------------------------------------------------------------------------------

    def _entry(self, action: str, by: Actor, workflow: WorkflowRow, resource: str) -> Entry:
        return Entry(
            category=Category.AUDIT,
            action=action,
            result=Result.SUCCESS,
            actor=by,
            community_id=workflow.community_id,
            workflow_id=workflow.id,
            resource=resource,
            as_admin=by.overrides(workflow.owner_id),
        )

    def _audit(self, unit: Unit, entry: Entry) -> None:
        unit.add(AUDIT, *self.audit_row(entry))

    def audit_row(self, entry: Entry) -> tuple[Any, ...]:
        """The values of the AUDIT statement."""
        return self.audit.bulk(entry)


def _is_own(row: ExecutionRow, by: Actor) -> bool:
    return row.triggered_by is not None and row.triggered_by == by.user_id and by.reaches(row.community_id)
