"""Packs and what came with them; what a task may call."""

from __future__ import annotations

from typing import Any

from pydantic import Field
from quart import Blueprint, Response

from controllers import body, envelope, idempotency, pages, preconditions
from controllers import registry_views as shapes
from controllers.context import services
from controllers.guards import Permission, requires
from controllers.openapi import Operation, describe
from controllers.registry import WorkflowsQuery, answer_list, caller
from controllers.shapes import BaseModel
from models.packs import PackPage, PackRow
from services.errors import Denied
from services.registry import views
from services.registry.packs import PackWritten
from services.registry.sharing import Subject

blueprint = Blueprint("packs", __name__, url_prefix="/api/v1")


class PacksQuery(pages.PageQuery):
    """Which packs; everything given must hold."""

    tag: str | None = Field(None, max_length=100)
    search: str | None = Field(None, max_length=200, description="In ref and label")


class SyncQuery(BaseModel):
    """How far a sync goes."""

    force: bool = Field(False, description="Also replace workflows that were edited or created through the API")


class DeleteQuery(BaseModel):
    """How far a removal goes."""

    cascade: bool = Field(False, description="Also remove workflows that were created through the API")


class ActionsQuery(pages.PageQuery):
    """Which actions."""

    pack_ref: str | None = Field(None, max_length=100)
    search: str | None = Field(None, max_length=200, description="In ref and description, whatever the case")


@blueprint.get("/packs")
@requires(Permission.PACK_VIEW)
@describe(Operation(tag="packs", query=PacksQuery, answers={200: list[shapes.PackSummary]}, errors=(400,)))
async def list_packs() -> Response:
    """List packs by ref, with the number of their workflows."""
    query = body.query(PacksQuery)
    at = pages.window(query, str)
    after = at.after[0] if at.after else ""
    wanted = PackPage(after=after, count=at.limit + 1, skip=at.offset, tag=query.tag, needle=query.search)
    rows, total = await services().registry.packs.page(wanted, caller())
    shown = rows[: at.limit]
    more = (shown[-1].ref,) if len(rows) > at.limit else None
    meta = pages.pagination(at, total=total, shown=shown, next_key=more)
    return envelope.ok([views.pack_summary(row) for row in shown], meta={"pagination": meta})


@blueprint.post("/packs")
@requires(Permission.PACK_WRITE)
@describe(
    Operation(
        tag="packs",
        body=shapes.CreatePack,
        yaml=True,
        answers={201: shapes.WrittenPack},
        errors=(400, 409, 422),
        headers=("Idempotency-Key",),
    )
)
async def create_pack() -> Response:
    """Register a pack and load its files; you become its owner."""
    once = idempotency.wanted(await body.raw())
    value, _ = await body.document()
    written = await services().registry.packs.create(value, caller(once=once))
    answer = _written(written, "Pack created", status=201)
    answer.headers["Location"] = f"/api/v1/packs/{written.pack.ref}"
    return idempotency.replayed(answer) if written.replayed else answer


@blueprint.post("/packs/sync")
@requires(Permission.PACK_WRITE)
@describe(Operation(tag="packs", answers={200: list[shapes.SyncView]}, errors=(403,)))
async def sync_packs() -> Response:
    """Load every pack below `PACKS_DIR` that is new or changed, as a start of the server does; for administrators."""
    by = caller()
    if not by.actor.runs_the_server:
        raise Denied("Only an administrator may load packs that have no owner yet")
    reports = await services().registry.packs.install(by)
    return envelope.ok([report.to_json() for report in reports], message=f"{len(reports)} packs loaded")


@blueprint.get("/packs/<ref>")
@requires(Permission.PACK_VIEW)
@describe(Operation(tag="packs", answers={200: shapes.PackView}, errors=(404,)))
async def get_pack(ref: str) -> Response:
    """Show a pack with its actions and those of its workflows that you may view."""
    pack, shown = await services().registry.packs.get(ref, caller())
    return envelope.ok(shown, headers=_etag(pack))


@blueprint.put("/packs/<ref>")
@requires(Permission.PACK_WRITE)
@describe(
    Operation(
        tag="packs",
        body=shapes.UpdatePack,
        yaml=True,
        answers={200: shapes.WrittenPack},
        errors=(400, 404, 409, 412),
        headers=("If-Match",),
    )
)
async def update_pack(ref: str) -> Response:
    """Change the given fields of a pack, then load its files again."""
    value, _ = await body.document()
    written = await services().registry.packs.update(ref, value, caller(), expected=preconditions.expected())
    return _written(written, "Pack updated")


@blueprint.delete("/packs/<ref>")
@requires(Permission.PACK_WRITE)
@describe(
    Operation(
        tag="packs",
        query=DeleteQuery,
        answers={200: shapes.DeletedPack},
        errors=(400, 404, 409, 412),
        headers=("If-Match",),
    )
)
async def delete_pack(ref: str) -> Response:
    """Remove a pack with its workflows and actions; history stays readable."""
    query = body.query(DeleteQuery)
    await services().registry.packs.delete(ref, caller(), cascade=query.cascade, expected=preconditions.expected())
    return envelope.ok({"ref": ref, "deleted": True}, message=f"Pack {ref} deleted")


@blueprint.get("/packs/<ref>/workflows")
@requires(Permission.WORKFLOW_VIEW)
@describe(Operation(tag="packs", query=WorkflowsQuery, answers={200: list[shapes.WorkflowSummary]}, errors=(400, 404)))
async def list_pack_workflows(ref: str) -> Response:
    """List the workflows of a pack that you may view."""
    await services().registry.packs.require(ref, caller())
    return await answer_list(body.query(WorkflowsQuery).model_copy(update={"pack_ref": ref}))


@blueprint.post("/packs/<ref>/workflows/sync")
@requires(Permission.PACK_WRITE)
@describe(Operation(tag="packs", query=SyncQuery, answers={200: shapes.SyncView}, errors=(400, 404)))
async def sync_pack(ref: str) -> Response:
    """Bring the registry in line with the pack's files."""
    report = await services().registry.packs.sync(ref, caller(), force=body.query(SyncQuery).force)
    return envelope.ok(report.to_json(), message=f"{report.registered} workflows registered")


@blueprint.post("/packs/<ref>/workflows/validate")
@requires(Permission.PACK_WRITE)
@describe(Operation(tag="packs", answers={200: shapes.PackChecked}, errors=(404,)))
async def validate_pack(ref: str) -> Response:
    """Check the pack's files without loading them."""
    return envelope.ok(await services().registry.packs.validate(ref, caller()))


@blueprint.get("/packs/<ref>/permissions")
@requires(Permission.PACK_WRITE)
@describe(Operation(tag="packs", answers={200: list[shapes.PackGrantView]}, errors=(404,)))
async def list_pack_permissions(ref: str) -> Response:
    """List who may add workflows to a pack."""
    return envelope.ok(await services().registry.sharing.pack_grants(ref, caller()))


@blueprint.put("/packs/<ref>/permissions/<subject_type>/<subject_id>")
@requires(Permission.PACK_WRITE)
@describe(
    Operation(
        tag="packs",
        body=shapes.PutPackGrant,
        body_optional=True,
        answers={200: shapes.PackGrantView},
        errors=(400, 404),
    )
)
async def grant_pack_permission(ref: str, subject_type: str, subject_id: str) -> Response:
    """Let a user, a role or a community add workflows to a pack."""
    data = await body.read(shapes.PutPackGrant, optional=True)
    subject = Subject(type=subject_type, id=subject_id)
    made = await services().registry.sharing.grant_pack(ref, subject, data.can_edit, caller())
    return envelope.ok(made, message="Permission granted")


@blueprint.delete("/packs/<ref>/permissions/<subject_type>/<subject_id>")
@requires(Permission.PACK_WRITE)
@describe(Operation(tag="packs", answers={200: shapes.RevokedGrant}, errors=(404,)))
async def revoke_pack_permission(ref: str, subject_type: str, subject_id: str) -> Response:
    """Take the right to add workflows to a pack away."""
    await services().registry.sharing.revoke_pack(ref, Subject(type=subject_type, id=subject_id), caller())
    gone = {"subject_type": subject_type, "subject_id": subject_id, "revoked": True}
    return envelope.ok(gone, message="Permission revoked")


# ---- actions ---------------------------------------------------------------------------------------------------------


@blueprint.get("/actions")
@requires(Permission.ACTION_VIEW)
@describe(Operation(tag="packs", query=ActionsQuery, answers={200: list[shapes.ActionView]}, errors=(400,)))
async def list_actions() -> Response:
    """List what a task may call, by ref."""
    query = body.query(ActionsQuery)
    at = pages.window(query, str)
    hidden = await services().registry.packs.hidden(caller())
    found = await services().registry.actions.list(pack_ref=query.pack_ref, needle=query.search, without=hidden)
    rest = [item for item in found if at.after is None or item["ref"] > at.after[0]][at.offset :]
    shown = rest[: at.limit]
    more = (shown[-1]["ref"],) if len(rest) > at.limit else None
    meta = pages.pagination(at, total=len(found), shown=shown, next_key=more)
    return envelope.ok(shown, meta={"pagination": meta})


@blueprint.get("/actions/<ref>")
@requires(Permission.ACTION_VIEW)
@describe(Operation(tag="packs", answers={200: shapes.ActionView}, errors=(404,)))
async def get_action(ref: str) -> Response:
    """Show an action: parameters, output, effect, runner and examples."""
    hidden = await services().registry.packs.hidden(caller())
    return envelope.ok(await services().registry.actions.get(ref, without=hidden))


def _written(written: PackWritten, message: str, *, status: int = 200) -> Response:
    pack = written.pack
    shown: dict[str, Any] = {
        **views.pack_summary(pack),
        "config_schema": pack.config_schema,
        "config": pack.config,
        "sync": written.sync.to_json(),
    }
    return envelope.ok(shown, message=message, status=status, headers=_etag(pack))


def _etag(pack: PackRow) -> dict[str, str]:
    return {"ETag": f'"{views.state_of(pack)}"'}
