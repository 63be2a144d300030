"""What operators do: see the workers, pause and resume everything. For administrators."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field
from quart import Blueprint, Response

from controllers import body, envelope
from controllers.context import actor, services
from controllers.guards import Permission, requires
from controllers.openapi import Operation, describe
from controllers.shapes import BaseModel
from models.dispatch_pause import PauseRow

blueprint = Blueprint("operate", __name__, url_prefix="/api/v1")


class PauseWish(BaseModel):
    """Why everything is paused."""

    reason: str | None = Field(default=None, max_length=1_000, description="For people; it is shown and recorded")


class PauseView(BaseModel):
    """Whether everything is paused, since when, by whom and why."""

    paused: bool
    reason: str | None
    changed_at: datetime | None = Field(description="Null: nobody ever paused this database")
    changed_by: str | None


def _shown(row: PauseRow) -> dict[str, object]:
    return {name: getattr(row, name) for name in PauseView.model_fields}


@blueprint.get("/operator")
@requires(Permission.EXECUTION_OPERATE)
@describe(Operation(tag="system", answers={200: PauseView}))
async def get_operator() -> Response:
    """Whether everything is paused, as the database says."""
    here = services().execution.pause_all
    await here.refresh()
    return envelope.ok(_shown(here.row))


@blueprint.post("/operator/pause")
@requires(Permission.EXECUTION_OPERATE)
@describe(Operation(tag="system", body=PauseWish, body_optional=True, answers={200: PauseView}, errors=(400,)))
async def pause_all() -> Response:
    """Pause everything: within about a second no worker claims or starts anything; what is accepted waits, durably."""
    wish = await body.read(PauseWish, optional=True)
    row = await services().execution.pause_all.order(paused=True, by=actor(), reason=wish.reason)
    return envelope.ok(_shown(row), message="Everything is paused")


@blueprint.post("/operator/resume")
@requires(Permission.EXECUTION_OPERATE)
@describe(Operation(tag="system", answers={200: PauseView}))
async def resume_all() -> Response:
    """Resume everything that was paused as a whole; executions paused one by one stay paused."""
    row = await services().execution.pause_all.order(paused=False, by=actor())
    return envelope.ok(_shown(row), message="Everything is resumed")
