"""Reading inquiries; they are written by the journal, in the transaction of what opened or answered them."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any
from uuid import UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class InquiryRow:
    """A question to people. `task_run`: what waits for it, as `node/run` or `node/run/item`."""

    id: UUID
    execution_id: UUID
    node_id: str
    task_run: str
    workflow_id: UUID | None
    workflow_ref: str
    community_id: int | None
    prompt: str | None
    assignees: Any
    response_schema: Any
    requester_id: int | None
    requester_may_respond: bool
    status: str
    opened_at: datetime
    expires_at: datetime | None
    default_outcome: Any
    response: Any
    responded_by: int | None
    responded_at: datetime | None

    @property
    def place(self) -> tuple[str, int, int | None]:
        """Node, run and item that wait."""
        numbers = self.task_run[len(self.node_id) + 1 :].split("/")
        return self.node_id, int(numbers[0]), int(numbers[1]) if len(numbers) > 1 else None


COLUMNS = ", ".join(field.name for field in fields(InquiryRow))


async def get(db: Any, inquiry_id: UUID) -> InquiryRow | None:
    """One inquiry, or None."""
    row = await db.sql(f"SELECT {COLUMNS} FROM inquiry WHERE id = :id", into=db.inquiry, id=inquiry_id).first()
    return None if row is None else InquiryRow(**row)


async def open_of(db: Any, execution_id: UUID) -> list[InquiryRow]:
    """The inquiries of an execution that wait for an answer."""
    text = f"SELECT {COLUMNS} FROM inquiry WHERE execution_id = :id AND status = 'open'"
    return [InquiryRow(**row) for row in await db.sql(text, into=db.inquiry, id=execution_id)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Alike:
    """How many inquiries of one status are for the same people."""

    workflow_id: UUID | None
    community_id: int | None
    requester_id: int | None
    assignees: Any
    n: int


ALIKE = (
    "SELECT workflow_id, community_id, requester_id, assignees, count(*) AS n FROM inquiry WHERE status = :status"
    " GROUP BY workflow_id, community_id, requester_id, assignees"
)


async def alike(db: Any, *, status: str) -> list[Alike]:
    """The inquiries of a status, counted by who may see them."""
    return [Alike(**row) for row in await db.sql(ALIKE, into=db.inquiry, status=status)]


async def page(db: Any, *, status: str, after: tuple[datetime, UUID] | None, count: int) -> list[InquiryRow]:
    """Inquiries of one status, newest first, behind `after` (opened_at, id)."""
    behind = "" if after is None else " AND (opened_at, id) < (:at, :after)"
    values = {} if after is None else {"at": after[0], "after": after[1]}
    text = f"SELECT {COLUMNS} FROM inquiry WHERE status = :status{behind} ORDER BY opened_at DESC, id DESC LIMIT :count"
    rows = await db.sql(text, into=db.inquiry, status=status, count=count, **values)
    return [InquiryRow(**row) for row in rows]
