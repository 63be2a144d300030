"""Approvals and other questions that wait for a person."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any
from uuid import UUID

from quart import Blueprint, Response

from controllers import body, envelope, pages
from controllers import execution_views as views
from controllers.context import actor, services
from controllers.guards import Permission, requires
from controllers.openapi import Operation, describe
from models.inquiries import InquiryRow

blueprint = Blueprint("inquiries", __name__, url_prefix="/api/v1/inquiries")


def _shown(row: InquiryRow) -> dict[str, Any]:
    return {name: value for name, value in asdict(row).items() if name != "task_run"}


@blueprint.get("")
@requires(Permission.INQUIRY_VIEW)
@describe(
    Operation(tag="executions", query=views.InquiriesQuery, answers={200: list[views.InquiryView]}, errors=(400,))
)
async def list_inquiries() -> Response:
    """The inquiries the caller may see: assigned to them, of their executions, or of workflows they may view."""
    wanted = body.query(views.InquiriesQuery)
    window, here = pages.window(wanted, *pages.TIME_AND_ID), services().execution.inquiries
    after = None if window.after is None else (window.after[0], window.after[1])
    page = await here.page(by=actor(), status=wanted.status, after=after, count=window.limit, skip=window.offset)
    total = await here.count(by=actor(), status=wanted.status)
    meta = pages.pagination(window, total=total, shown=page.rows, next_key=page.next)
    return envelope.ok([_shown(row) for row in page.rows], meta={"pagination": meta})


@blueprint.get("/<uuid:inquiry_id>")
@requires(Permission.INQUIRY_VIEW)
@describe(Operation(tag="executions", answers={200: views.InquiryView}, errors=(404,)))
async def get_inquiry(inquiry_id: UUID) -> Response:
    """One inquiry."""
    return envelope.ok(_shown(await services().execution.inquiries.get(inquiry_id, by=actor())))


@blueprint.post("/<uuid:inquiry_id>/respond")
@requires(Permission.INQUIRY_RESPOND)
@describe(
    Operation(tag="executions", body=views.Respond, answers={200: views.InquiryView}, errors=(400, 403, 404, 409))
)
async def respond(inquiry_id: UUID) -> Response:
    """Answer an inquiry; its execution goes on."""
    answer = await body.read(views.Respond)
    row = await services().execution.inquiries.respond(inquiry_id, answer.response, by=actor())
    return envelope.ok(_shown(row), message="Response accepted")
