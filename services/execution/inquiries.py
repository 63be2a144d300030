"""Questions to people: who sees them, who may answer, and how an answer resumes its execution."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from models import inquiries, workflows
from models.executions import ExecutionRow
from models.inquiries import Alike, InquiryRow
from models.journal_statements import AUDIT, CLOSE_INQUIRY
from models.records import Flag
from services.access.actor import Actor
from services.access.audit import Category, Entry, Result, say
from services.actions.runners import violations
from services.engine.inputs import InquiryAnswered
from services.errors import Conflict, Denied, Invalid, NotFound
from services.execution.book import Book
from services.execution.controls import Also
from services.execution.lifecycle import Lifecycle

BATCH = 100
MOST_LOOKED_AT = 2_000
"""A page looks at so many inquiries at most; then it answers with what it has and a cursor."""

Position = tuple[datetime, UUID]


@dataclass(frozen=True, slots=True)
class Page:
    """Inquiries that the caller may see; `next`: where to continue, None at the end."""

    rows: list[InquiryRow]
    next: Position | None


class Inquiries:
    """Lists, shows and answers inquiries."""

    def __init__(self, lifecycle: Lifecycle) -> None:
        self._lifecycle = lifecycle
        self._db = lifecycle.library.db

    async def page(self, *, by: Actor, status: str, after: Position | None, count: int, skip: int = 0) -> Page:
        """A page, newest first, behind `after` and the first `skip`."""
        found: list[InquiryRow] = []
        looked = 0
        while looked < MOST_LOOKED_AT:
            batch = await inquiries.page(self._db, status=status, after=after, count=BATCH)
            for row in batch:
                after = (row.opened_at, row.id)
                if await self._sees(by, row):
                    found.append(row)
                    if len(found) > skip + count:
                        last = found[-2]
                        return Page(found[skip:-1], (last.opened_at, last.id))
            looked += len(batch)
            if len(batch) < BATCH:
                return Page(found[skip:], None)
        return Page(found[skip:], after)

    async def count(self, *, by: Actor, status: str) -> int:
        """How many inquiries of this status the caller may see; permission is asked once for those that are alike."""
        return sum([group.n for group in await inquiries.alike(self._db, status=status) if await self._sees(by, group)])

    async def get(self, inquiry_id: UUID, *, by: Actor) -> InquiryRow:
        """One inquiry. Raises NotFound."""
        row = await inquiries.get(self._db, inquiry_id)
        missing = NotFound("Inquiry not found", inquiry=str(inquiry_id))
        if row is None:
            raise missing
        if not await self._sees(by, row):
            raise missing.denying("neither assigned nor allowed to view the workflow")
        return row

    async def respond(self, inquiry_id: UUID, response: Any, *, by: Actor) -> InquiryRow:
        """Answer; the execution goes on. Raises Denied, Invalid (the answer does not fit), Conflict (too late)."""
        row = await self.get(inquiry_id, by=by)
        entry = self._entry(row, by)
        await self._may_respond(row, entry, by=by)
        if row.status != "open":
            raise Conflict(f"The inquiry is {row.status}", status=row.status)
        errors = violations(row.response_schema, response) if row.response_schema else []
        if errors:
            raise Invalid("The response does not fit", errors=[{**e, "loc": ["response", *e["loc"]]} for e in errors])
        node, run, item = row.place

        def given(now: datetime, _book: Book) -> InquiryAnswered:
            return InquiryAnswered(
                now=now, node=node, run=run, item=item, response=response, by=by.name or str(by.user_id)
            )

        now = self._lifecycle.now()
        close = (CLOSE_INQUIRY, (str(row.id), "answered", response, by.user_id, now))
        also = Also(rows=((AUDIT, self._lifecycle.audit_row(entry)),), guards=(close,))
        execution: ExecutionRow = await self._lifecycle.library.row(str(row.execution_id))
        book = await self._lifecycle.controls.give(execution, given, also=also)
        say(entry)
        if book.state.ended:
            self._lifecycle.waiters.ended(book.id, book)
        answered = await inquiries.get(self._db, inquiry_id)
        assert answered is not None
        return answered

    async def _sees(self, by: Actor, row: InquiryRow | Alike) -> bool:
        if not by.reaches(row.community_id):
            return False
        if by.is_admin or row.requester_id == by.user_id or _is_assigned(by, row):
            return True
        return await self._holds(by, row, Flag.VIEW)

    async def _may_respond(self, row: InquiryRow, entry: Entry, *, by: Actor) -> None:
        reason = None
        if row.requester_id == by.user_id and not row.requester_may_respond:
            reason = "who started the execution may not answer its inquiries"
        elif _names_somebody(row) and not _is_assigned(by, row) and not by.is_admin:
            reason = "the inquiry is assigned to others"
        elif not _names_somebody(row) and not await self._holds(by, row, Flag.EXECUTE):
            reason = "the inquiry names nobody, so it takes can_execute on the workflow"
        if reason is not None:
            denied = Entry(
                category=Category.AUTHZ,
                action=entry.action,
                result=Result.DENIED,
                actor=by,
                community_id=row.community_id,
                workflow_id=row.workflow_id,
                resource=str(row.id),
                reason=reason,
            )
            await self._lifecycle.audit.write(denied)
            raise Denied(reason[:1].upper() + reason[1:])

    async def _holds(self, by: Actor, row: InquiryRow | Alike, flag: Flag) -> bool:
        workflow = await workflows.by_id(self._db, row.workflow_id) if row.workflow_id is not None else None
        return workflow is not None and bool(await self._lifecycle.permissions.decide(by, workflow, flag))

    def _entry(self, row: InquiryRow, by: Actor) -> Entry:
        return Entry(
            category=Category.AUDIT,
            action="respond_inquiry",
            result=Result.SUCCESS,
            actor=by,
            community_id=row.community_id,
            workflow_id=row.workflow_id,
            resource=str(row.id),
            as_admin=by.is_admin and _names_somebody(row) and not _is_assigned(by, row),
        )


def _names_somebody(row: InquiryRow | Alike) -> bool:
    return isinstance(row.assignees, dict) and any(row.assignees.get(kind) for kind in ("users", "roles"))


def _is_assigned(by: Actor, row: InquiryRow | Alike) -> bool:
    if not _names_somebody(row):
        return False
    users = {str(user) for user in row.assignees.get("users") or []}
    if str(by.user_id) in users or (by.name and by.name in users):
        return True
    here = {role for community, role in by.roles if row.community_id in (None, community)}
    return not here.isdisjoint(map(str, row.assignees.get("roles") or []))
