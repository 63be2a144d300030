"""Approvals and other questions that wait for a person."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field
from quart import Blueprint, Response

from controllers import body, envelope, pages
from controllers.context import actor, services
from controllers.guards import Permission, requires
from controllers.openapi import Operation, describe
from models.inquiries import InquiryRow

blueprint = Blueprint("inquiries", __name__, url_prefix="/api/v1/inquiries")


class InquiriesQuery(BaseModel):
    """Which inquiries."""

    status: Literal["open", "answered", "expired", "cancelled"] = "open"
    per_page: int = Field(20, ge=1, le=100, description="Items a page")
    cursor: str | None = Field(None, max_length=2_000, description="`next_cursor` of the page before")


class Respond(BaseModel):
    """An answer; it has to fit `response_schema`."""

    model_config = ConfigDict(extra="forbid")

    response: Any = Field(examples=[{"approved": True}])


class InquiryView(BaseModel):
    """A question to people."""

    id: UUID
    execution_id: UUID
    node_id: str
    workflow_id: UUID | None
    workflow_ref: str
    community_id: int | None
    prompt: str | None
    assignees: Any
    response_schema: Any
    requester_id: int | None
    requester_may_respond: bool
    status: Literal["open", "answered", "expired", "cancelled"]
    opened_at: datetime
    expires_at: datetime | None
    default_outcome: Any
    response: Any
    responded_by: int | None
    responded_at: datetime | None


def _shown(row: InquiryRow) -> dict[str, Any]:
    return {name: value for name, value in asdict(row).items() if name != "task_run"}


@blueprint.get("")
@requires(Permission.EXECUTION_VIEW)
@describe(Operation(tag="executions", query=InquiriesQuery, answers={200: list[InquiryView]}, errors=(400,)))
async def list_inquiries() -> Response:
    """The inquiries the caller may see: assigned to them, of their executions, or of workflows they may view."""
    wanted = body.query(InquiriesQuery)
    after = None if wanted.cursor is None else pages.read_cursor(wanted.cursor, *pages.TIME_AND_ID)
    page = await services().execution.inquiries.page(
        by=actor(), status=wanted.status, after=after, count=wanted.per_page
    )
    pagination = {"per_page": wanted.per_page, "next_cursor": None if page.next is None else pages.cursor(*page.next)}
    return envelope.ok([_shown(row) for row in page.rows], meta={"pagination": pagination})


@blueprint.get("/<uuid:inquiry_id>")
@requires(Permission.EXECUTION_VIEW)
@describe(Operation(tag="executions", answers={200: InquiryView}, errors=(404,)))
async def get_inquiry(inquiry_id: UUID) -> Response:
    """One inquiry."""
    return envelope.ok(_shown(await services().execution.inquiries.get(inquiry_id, by=actor())))


@blueprint.post("/<uuid:inquiry_id>/respond")
@requires(Permission.INQUIRY_RESPOND)
@describe(Operation(tag="executions", body=Respond, answers={200: InquiryView}, errors=(400, 403, 404, 409)))
async def respond(inquiry_id: UUID) -> Response:
    """Answer an inquiry; its execution goes on."""
    answer = await body.read(Respond)
    row = await services().execution.inquiries.respond(inquiry_id, answer.response, by=actor())
    return envelope.ok(_shown(row), message="Response accepted")
