"""Workflows: create, read, list, change, remove, check, share."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import Field
from quart import Blueprint, Response, request

from controllers import body, envelope, idempotency, pages, preconditions
from controllers import registry_views as shapes
from controllers.context import actor, request_id, services
from controllers.guards import Permission, requires
from controllers.openapi import Operation, describe
from controllers.shapes import CommunityQuery
from models.records import Flag
from models.workflow_lists import Filters, Window
from services.engine.export import Export
from services.engine.graph_json import to_json
from services.registry import texts, views
from services.registry.caller import Caller
from services.registry.checking import Checked
from services.registry.refs import MAX_TAG
from services.registry.sharing import Subject
from services.registry.workflows import Document, VersionPart, Written

blueprint = Blueprint("registry", __name__, url_prefix="/api/v1/workflows")
KEY_KINDS: dict[str, tuple[type, ...]] = {
    "created": (UUID,),
    "updated": (datetime, UUID),
    "label": (str, UUID),
    "name": (str, UUID),
    "ref": (str,),
}


class WorkflowQuery(CommunityQuery):
    """In which form a workflow is wanted."""

    format: Literal["native", "orquesta", "nodes", "wpk"] | None = Field(
        None, description="Answer the definition alone, translated into this dialect"
    )


class WorkflowsQuery(pages.PageQuery):
    """Which workflows; everything given must hold."""

    tags: str | None = Field(None, max_length=50 * MAX_TAG, description="Any of these, separated by commas")
    enabled: bool | None = None
    search: str | None = Field(None, max_length=200, description="In ref, label and description, whatever the case")
    pack_ref: str | None = Field(None, max_length=100)
    community_id: int | None = Field(None, ge=0, le=2**53)
    sort_by: Literal["created", "updated", "label", "name", "ref"] = "created"
    sort_order: Literal["asc", "desc"] = "desc"

    def filters(self) -> Filters:
        """The same for the registry."""
        named = [tag.strip() for tag in (self.tags or "").split(",")]
        return Filters(
            tags=tuple(dict.fromkeys(tag for tag in named if tag)),
            enabled=self.enabled,
            needle=self.search.casefold() if self.search else None,
            pack_ref=self.pack_ref,
            community_id=self.community_id,
        )


class VersionsQuery(pages.PageQuery, CommunityQuery):
    """Which part of the versions."""


# ---- the collection --------------------------------------------------------------------------------------------------


@blueprint.get("")
@requires(Permission.WORKFLOW_VIEW)
@describe(Operation(tag="workflows", query=WorkflowsQuery, answers={200: list[shapes.WorkflowSummary]}, errors=(400,)))
async def list_workflows() -> Response:
    """List the workflows you may view."""
    return await answer_list(body.query(WorkflowsQuery))


@blueprint.post("")
@requires(Permission.WORKFLOW_CREATE)
@describe(
    Operation(
        tag="workflows",
        body=shapes.CreateWorkflow,
        yaml=True,
        answers={201: shapes.WorkflowView},
        errors=(400, 404, 409, 422),
        headers=("Idempotency-Key",),
    )
)
async def create_workflow() -> Response:
    """Register a workflow; you become its owner."""
    once = idempotency.wanted(await body.raw())
    written = await services().registry.workflows.create(await _document(), caller(once=once))
    answer = _written(written, "Workflow created", status=201)
    answer.headers["Location"] = f"/api/v1/workflows/{written.workflow.ref}"
    return idempotency.replayed(answer) if written.replayed else answer


@blueprint.post("/validate")
@requires(Permission.WORKFLOW_VALIDATE)
@describe(Operation(tag="workflows", body=dict[str, Any], yaml=True, answers={200: shapes.CheckedView}, errors=(400,)))
async def validate_definition() -> Response:
    """Check a definition, or a whole workflow, without storing it."""
    return _checked(await services().registry.workflows.validate((await _candidate()).value, caller()))


# ---- one workflow ----------------------------------------------------------------------------------------------------


@blueprint.get("/<identifier>")
@requires(Permission.WORKFLOW_VIEW)
@describe(Operation(tag="workflows", query=WorkflowQuery, answers={200: shapes.WorkflowView}, errors=(400, 404)))
async def get_workflow(identifier: str) -> Response:
    """Show a workflow with its definition and run summary; as YAML with `Accept: application/yaml`.

    With `format` the answer is `{dialect, definition, param_schema, notes}`: the definition in that dialect.
    """
    query = body.query(WorkflowQuery)
    row, version = await services().registry.workflows.get_version(identifier, caller(query.community_id))
    headers = {"ETag": f'"{views.state_of(row)}"'}
    if query.format is not None:
        return _exported(services().registry.workflows.exported(version, query.format), headers)
    if _wants_yaml():
        return _yaml(texts.of(row, version), headers)
    return envelope.ok(views.detail(row, version), headers=headers)


@blueprint.put("/<identifier>")
@requires(Permission.WORKFLOW_EDIT)
@describe(
    Operation(
        tag="workflows",
        body=shapes.UpdateWorkflow,
        query=CommunityQuery,
        yaml=True,
        answers={200: shapes.WorkflowView},
        errors=(400, 404, 409, 412),
        headers=("If-Match",),
    )
)
async def update_workflow(identifier: str) -> Response:
    """Change the given fields of a workflow."""
    who = caller(body.query(CommunityQuery).community_id)
    written = await services().registry.workflows.update(
        identifier, await _document(), who, expected=preconditions.expected()
    )
    return _written(written, "Workflow updated")


@blueprint.delete("/<identifier>")
@requires(Permission.WORKFLOW_DELETE)
@describe(
    Operation(
        tag="workflows",
        query=CommunityQuery,
        answers={200: shapes.DeletedWorkflow},
        errors=(400, 404, 412),
        headers=("If-Match",),
    )
)
async def delete_workflow(identifier: str) -> Response:
    """Take a workflow out of the registry; its history stays readable."""
    who = caller(body.query(CommunityQuery).community_id)
    row = await services().registry.workflows.delete(identifier, who, expected=preconditions.expected())
    return envelope.ok({"id": row.id, "ref": row.ref, "deleted": True}, message=f"Workflow {row.ref} deleted")


@blueprint.get("/<identifier>/versions")
@requires(Permission.WORKFLOW_VIEW)
@describe(Operation(tag="workflows", query=VersionsQuery, answers={200: list[shapes.VersionView]}, errors=(400, 404)))
async def list_versions(identifier: str) -> Response:
    """List the revisions of a workflow, newest first."""
    query = body.query(VersionsQuery)
    at = pages.window(query, int)
    part = VersionPart(count=at.limit, before=at.after[0] if at.after else None, skip=at.offset)
    listed = await services().registry.workflows.versions(identifier, caller(query.community_id), part)
    meta = pages.pagination(at, total=listed.total, shown=listed.rows, next_key=listed.next_key)
    return envelope.ok(listed.rows, meta={"pagination": meta})


@blueprint.get("/<identifier>/graph")
@requires(Permission.WORKFLOW_VIEW)
@describe(Operation(tag="workflows", query=CommunityQuery, answers={200: shapes.GraphView}, errors=(400, 404)))
async def get_graph(identifier: str) -> Response:
    """Show the compiled graph: nodes, edges, entry nodes and joins."""
    who = caller(body.query(CommunityQuery).community_id)
    pinned = await services().registry.versions.load_for_drawing(identifier, who)
    return envelope.ok({"workflow_id": pinned.workflow_id, "version": pinned.version, **to_json(pinned.graph)})


@blueprint.post("/<identifier>/validate")
@requires(Permission.WORKFLOW_VALIDATE)
@describe(
    Operation(
        tag="workflows",
        body=dict[str, Any],
        body_optional=True,
        query=CommunityQuery,
        yaml=True,
        answers={200: shapes.CheckedView},
        errors=(400, 404),
    )
)
async def validate_workflow(identifier: str) -> Response:
    """Check a definition for a workflow, or the one it has, without storing anything."""
    who = caller(body.query(CommunityQuery).community_id)
    document = await _candidate() if await body.raw() else None
    return _checked(await services().registry.workflows.validate_for(identifier, document, who))


# ---- permissions -----------------------------------------------------------------------------------------------------


@blueprint.get("/<identifier>/permissions")
@requires(Permission.WORKFLOW_SHARE)
@describe(Operation(tag="workflows", query=CommunityQuery, answers={200: list[shapes.GrantView]}, errors=(400, 404)))
async def list_permissions(identifier: str) -> Response:
    """List who holds which flags on a workflow."""
    who = caller(body.query(CommunityQuery).community_id)
    return envelope.ok([views.grant(row) for row in await services().registry.sharing.grants(identifier, who)])


@blueprint.put("/<identifier>/permissions/<subject_type>/<subject_id>")
@requires(Permission.WORKFLOW_SHARE)
@describe(
    Operation(
        tag="workflows",
        body=shapes.PutGrant,
        query=CommunityQuery,
        answers={200: shapes.GrantView},
        errors=(400, 404),
    )
)
async def grant_permission(identifier: str, subject_type: str, subject_id: str) -> Response:
    """Give a user, a role or a community exactly these flags."""
    who = caller(body.query(CommunityQuery).community_id)
    data = await body.read(shapes.PutGrant)
    flags = frozenset(flag for flag in Flag if getattr(data, flag.value))
    subject = Subject(type=subject_type, id=subject_id)
    row = await services().registry.sharing.grant(identifier, subject, flags, who)
    return envelope.ok(views.grant(row), message="Permission granted")


@blueprint.delete("/<identifier>/permissions/<subject_type>/<subject_id>")
@requires(Permission.WORKFLOW_SHARE)
@describe(Operation(tag="workflows", query=CommunityQuery, answers={200: shapes.RevokedGrant}, errors=(400, 404)))
async def revoke_permission(identifier: str, subject_type: str, subject_id: str) -> Response:
    """Take every flag away from a user, a role or a community."""
    who = caller(body.query(CommunityQuery).community_id)
    await services().registry.sharing.revoke(identifier, Subject(type=subject_type, id=subject_id), who)
    gone = {"subject_type": subject_type, "subject_id": subject_id, "revoked": True}
    return envelope.ok(gone, message="Permission revoked")


# ---- shared ----------------------------------------------------------------------------------------------------------


def caller(community_id: int | None = None, once: Any = None) -> Caller:
    """The caller of the current request."""
    return Caller(actor=actor(), request_id=request_id(), community_id=community_id, once=once)


async def answer_list(query: WorkflowsQuery) -> Response:
    """A page of workflows."""
    at = pages.window(query, *KEY_KINDS[query.sort_by])
    window = Window(
        sort_by=query.sort_by, descending=query.sort_order == "desc", after=at.after, skip=at.offset, count=at.limit
    )
    listed = await services().registry.workflows.page(caller(), query.filters(), window)
    meta = pages.pagination(at, total=listed.total, shown=listed.rows, next_key=listed.next_key, capped=listed.capped)
    return envelope.ok([views.summary(row) for row in listed.rows], meta={"pagination": meta})


async def _document() -> Document:
    value, text = await body.document()
    return Document(value=value, text=text)


async def _candidate() -> Document:
    """A definition to be checked: whatever an object holds is judged by its content, anything else is no definition."""
    document = await _document()
    body.validate(dict[str, Any], document.value)
    return document


def _written(written: Written, message: str, *, status: int = 200) -> Response:
    meta = {"warnings": written.warnings} if written.warnings else None
    headers = {"ETag": f'"{views.state_of(written.workflow)}"'}
    shown = views.detail(written.workflow, written.version)
    return envelope.ok(shown, message=message, meta=meta, status=status, headers=headers)


def _checked(checked: Checked) -> Response:
    found = {"is_valid": not checked.errors, "errors": checked.errors, "warnings": checked.warnings}
    return envelope.ok(
        found, message="The definition is valid" if not checked.errors else "The definition is not valid"
    )


def _exported(export: Export, headers: dict[str, str]) -> Response:
    if _wants_yaml():
        notes = "".join(f"# {note}\n" for note in export.notes)
        return _yaml(notes + texts.dump(export.definition), headers)
    return envelope.ok(asdict(export), headers=headers)


def _wants_yaml() -> bool:
    best = request.accept_mimetypes.best_match(["application/json", *body.YAML_TYPES], default="application/json")
    return best != "application/json"


def _yaml(text: str, headers: dict[str, str]) -> Response:
    return Response(text, headers=headers, content_type="application/yaml; charset=utf-8")
