"""What the run history keeps: the policy, pinned runs, and the work behind it. For administrators."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import Field
from quart import Blueprint, Response

from controllers import body, envelope
from controllers import run_views as views
from controllers.context import actor, services
from controllers.guards import Permission, requires
from controllers.openapi import Operation, describe
from controllers.shapes import BaseModel

blueprint = Blueprint("retention", __name__, url_prefix="/api/v1")


class WorkflowShare(BaseModel):
    """What one workflow would lose."""

    wpk_id: str
    runs: int
    bytes: int


class PolicyView(BaseModel):
    """How long runs are kept; 0 = no limit of that kind."""

    success_days: int
    failure_days: int
    runs_per_workflow: int
    max_bytes: int
    signal_days: int


class RetentionView(BaseModel):
    """What the policy would delete by age now."""

    policy: PolicyView
    runs: int
    bytes: int
    workflows: list[WorkflowShare]
    imported_exempt: bool = Field(description="Adopted and imported runs are left alone until it is allowed once")


class RunRetention(BaseModel):
    """Delete now. `allow_imported` lets the policy apply to adopted and imported runs, now and from now on."""

    allow_imported: bool = False


class DeletedView(BaseModel):
    """What went."""

    deleted_runs: int


class OutboxTask(BaseModel):
    """Work that was given up."""

    kind: Literal["index", "embed"]
    subject: UUID
    attempts: int
    error: str | None
    dead_at: datetime


class OutboxView(BaseModel):
    """The work behind the history: how much waits, what was given up."""

    waiting: dict[str, int]
    dead: dict[str, int]
    given_up: list[OutboxTask]


class RevivedView(BaseModel):
    """Work that is tried again."""

    revived: int


@blueprint.get("/retention")
@requires(Permission.RETENTION_ADMIN)
@describe(Operation(tag="runs", answers={200: RetentionView}))
async def preview_retention() -> Response:
    """What the retention policy would delete now: rows, bytes, per workflow."""
    return envelope.ok(await _preview())


async def _preview() -> dict[str, Any]:
    here = services().retention
    found, policy = await here.preview(), here.policy
    return {
        "policy": {name: getattr(policy, name) for name in PolicyView.model_fields},
        "runs": found.runs,
        "bytes": found.bytes,
        "workflows": found.workflows,
        "imported_exempt": found.imported_exempt,
    }


@blueprint.post("/retention/run")
@requires(Permission.RETENTION_ADMIN)
@describe(Operation(tag="runs", body=RunRetention, body_optional=True, answers={200: DeletedView}, errors=(400,)))
async def run_retention() -> Response:
    """Apply the retention policy now."""
    asked = await body.read(RunRetention, optional=True)
    here = services().retention
    if asked.allow_imported:
        await here.allow_imported(by=actor())
    return envelope.ok({"deleted_runs": await here.order(by=actor())}, message="Retention applied")


@blueprint.put("/runs/<run_id>/pin")
@requires(Permission.RUN_LOG)
@describe(Operation(tag="runs", query=views.OneRunQuery, answers={200: views.RunView}, errors=(400, 404, 409)))
async def pin_run(run_id: str) -> Response:
    """Keep a run for ever."""
    return envelope.ok(views.view(await _pin(run_id, pinned=True)))


@blueprint.delete("/runs/<run_id>/pin")
@requires(Permission.RUN_LOG)
@describe(Operation(tag="runs", query=views.OneRunQuery, answers={200: views.RunView}, errors=(400, 404, 409)))
async def unpin_run(run_id: str) -> Response:
    """Let the retention policy decide about a run again."""
    return envelope.ok(views.view(await _pin(run_id, pinned=False)))


async def _pin(run_id: str, *, pinned: bool) -> Any:
    history, asked = services().history, body.query(views.OneRunQuery)
    run = await history.get(actor(), run_id, asked.wpk_id, community_id=asked.community_id)
    return await history.pin(actor(), run, pinned=pinned)


@blueprint.get("/outbox")
@requires(Permission.RETENTION_ADMIN)
@describe(Operation(tag="runs", answers={200: OutboxView}))
async def get_outbox() -> Response:
    """The indexing and embedding that waits or was given up."""
    return envelope.ok(await services().history.outbox())


@blueprint.post("/outbox/retry")
@requires(Permission.RETENTION_ADMIN)
@describe(Operation(tag="runs", answers={200: RevivedView}))
async def retry_outbox() -> Response:
    """Try again what was given up."""
    return envelope.ok({"revived": await services().history.retry_outbox(by=actor())})
