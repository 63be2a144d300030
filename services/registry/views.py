"""What the API says of workflows, versions, packs and grants. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from models.packs import PackRow
from models.workflows import GrantRow, VersionRow, WorkflowRow


def state_of(row: WorkflowRow | PackRow) -> str:
    """What an ETag is made of: changes with every change by a person, differs between namesakes."""
    return f"{row.id}-{row.change_no}"


def summary(row: WorkflowRow) -> dict[str, Any]:
    """A workflow without its definition and schemas."""
    return {
        "id": row.id,
        "package_id": row.package_id,
        "ref": row.ref,
        "pack": row.pack_ref,
        "pack_ref": row.pack_ref,
        "name": row.name,
        "author": row.author,
        "label": row.label,
        "description": row.description,
        "version": row.version,
        "revision": row.revision,
        "tags": row.tags,
        "enabled": row.enabled,
        "community_id": row.community_id,
        "owner_id": row.owner_id,
        "modified": row.modified,
        "registered_at": row.registered_at,
        "created": row.created,
        "updated": row.updated,
        "latest_run_id": row.latest_run_id,
        "latest_run_status": row.latest_run_status,
        "latest_run_at": row.latest_run_at,
        "total_runs": row.total_runs,
    }


def detail(row: WorkflowRow, version: VersionRow) -> dict[str, Any]:
    """Everything of a workflow at one version."""
    return {
        **summary(row),
        "package_id": version.package_id,
        "version": version.version,
        "revision": version.revision,
        "version_id": version.id,
        "param_schema": parsed(version.param_schema),
        "out_schema": parsed(version.out_schema),
        "definition": parsed(version.definition),
    }


def parsed(text: str | None) -> Any:
    """A stored JSON text as a value, keys in their order."""
    return None if text is None else orjson.loads(text)


def grant(row: GrantRow) -> dict[str, Any]:
    """One grant on a workflow."""
    return {
        "subject_type": row.subject_type,
        "subject_id": row.subject_id,
        "can_view": row.can_view,
        "can_edit": row.can_edit,
        "can_execute": row.can_execute,
        "can_delete": row.can_delete,
        "can_manage_permissions": row.can_manage_permissions,
        "created": row.created,
        "created_by": row.created_by,
    }


def pack_summary(row: PackRow) -> dict[str, Any]:
    """A pack as it appears in lists."""
    return {
        "id": row.id,
        "ref": row.ref,
        "label": row.label,
        "description": row.description,
        "version": row.version,
        "tags": row.tags,
        "source": row.source,
        "modified": row.modified,
        "owner_id": row.owner_id,
        "community_id": row.community_id,
        "workflow_count": row.workflow_count,
        "created": row.created,
        "updated": row.updated,
    }


def pack_detail(
    row: PackRow, workflows: Sequence[dict[str, Any]], actions: Sequence[dict[str, Any]], *, may_edit: bool
) -> dict[str, Any]:
    """A pack with its workflows and actions; its settings for those who may edit it."""
    return {
        **pack_summary(row),
        "config_schema": row.config_schema,
        **({"config": row.config} if may_edit else {}),
        "workflows": list(workflows),
        "actions": list(actions),
    }
