"""Statements about workflows, their versions, tags and grants: one function, one statement.

Functions that write return the statement not yet run, so that a service joins several into one transaction
(`await db.batch(…)`); functions that read return typed rows.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any
from uuid import UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowRow:
    """A workflow as registered, without its definition. `deleted_at` is set on removed ones."""

    id: UUID
    ref: str
    package_id: str
    pack_ref: str
    name: str
    author: str | None
    label: str
    description: str | None
    version: str
    revision: int
    version_id: UUID
    change_no: int
    tags: list[str]
    enabled: bool
    community_id: int | None
    owner_id: int | None
    source: str
    source_path: str | None
    source_hash: str | None
    modified: bool
    registered_at: datetime
    created: datetime
    updated: datetime
    deleted_at: datetime | None
    latest_run_id: str | None
    latest_run_status: str | None
    latest_run_at: datetime | None
    total_runs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionRow:
    """One immutable revision. `definition`, `param_schema` and `out_schema` are JSON texts."""

    id: UUID
    workflow_id: UUID
    revision: int
    version: str
    package_id: str
    definition: str
    source_text: str | None
    param_schema: str | None
    out_schema: str | None
    created: datetime
    created_by: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantRow:
    """Flags one subject holds on a workflow."""

    workflow_id: UUID
    subject_type: str
    subject_id: str
    can_view: bool
    can_edit: bool
    can_execute: bool
    can_delete: bool
    can_manage_permissions: bool
    created: datetime
    created_by: int | None


COLUMNS = tuple(field.name for field in fields(WorkflowRow))
W_COLUMNS = ", ".join(f"w.{name}" for name in COLUMNS)
V_COLUMNS = ", ".join(f"v.{field.name}" for field in fields(VersionRow))
G_COLUMNS = ", ".join(field.name for field in fields(GrantRow))

# ---- reading a workflow ----------------------------------------------------------------------------------------------

BY_ID = f"SELECT {W_COLUMNS} FROM workflow w WHERE w.id = :id"
BY_NAME = (
    f"SELECT {W_COLUMNS} FROM workflow w WHERE w.deleted_at IS NULL AND (w.ref = :name OR w.package_id = :name)"
    " ORDER BY CASE WHEN w.ref = :name THEN 0 ELSE 1 END LIMIT 1"
)
OF_PACK = f"SELECT {W_COLUMNS} FROM workflow w WHERE w.pack_ref = :pack_ref AND w.deleted_at IS NULL ORDER BY w.id"
REF_STATE = "SELECT id, change_no, deleted_at FROM workflow WHERE id = :id"


async def by_id(db: Any, workflow_id: UUID) -> WorkflowRow | None:
    """The workflow of that id, removed ones included."""
    return _workflow(await db.sql(BY_ID, into=db.workflow, id=workflow_id).first())


async def by_name(db: Any, name: str) -> WorkflowRow | None:
    """The living workflow with that ref, else the one with that package id."""
    return _workflow(await db.sql(BY_NAME, into=db.workflow, name=name).first())


async def of_pack(db: Any, pack_ref: str) -> list[WorkflowRow]:
    """The living workflows of a pack, oldest first."""
    rows = await db.sql(OF_PACK, into=db.workflow, pack_ref=pack_ref)
    return [WorkflowRow(**row) for row in rows]


async def known_refs(db: Any, refs: Sequence[str]) -> set[str]:
    """Those of `refs` that name a living workflow."""
    w = db.workflow
    rows = await db(w.ref.belongs(list(refs)) & (w.deleted_at == None)).select(w.ref)  # noqa: E711 (SQL IS NULL)
    return {row["ref"] for row in rows}


async def guarded_refs(db: Any, refs: Collection[str]) -> list[Any]:
    """What the permissions must know of the living workflows among `refs`: ref, id, owner and community."""
    w = db.workflow
    found = w.ref.belongs(list(refs)) & (w.deleted_at == None)  # noqa: E711 (SQL IS NULL)
    return list(await db(found).select(w.ref, w.id, w.owner_id, w.community_id))


async def state_of(db: Any, workflow_id: UUID) -> tuple[int, bool] | None:
    """The change number of a workflow and whether it lives: all that a cached version has to ask."""
    row = await db.sql(REF_STATE, into=db.workflow, id=workflow_id).first()
    return None if row is None else (row["change_no"], row["deleted_at"] is None)


# ---- reading versions ------------------------------------------------------------------------------------------------

VERSION = f"SELECT {V_COLUMNS} FROM workflow_version v WHERE v.id = :id"
LABELLED = (
    f"SELECT {V_COLUMNS} FROM workflow_version v WHERE v.workflow_id = :workflow_id AND v.version = :label"
    " ORDER BY v.revision DESC LIMIT 1"
)
PACKAGED = (
    f"SELECT {V_COLUMNS} FROM workflow_version v JOIN workflow w ON w.id = v.workflow_id"
    " WHERE v.package_id = :package_id AND w.deleted_at IS NULL ORDER BY v.workflow_id DESC, v.revision DESC LIMIT 1"
)
REMOVED_PACKAGED = PACKAGED.replace("deleted_at IS NULL", "deleted_at IS NOT NULL")
VERSIONS = (
    "SELECT v.id, v.workflow_id, v.revision, v.version, v.package_id, v.created, v.created_by"
    " FROM workflow_version v WHERE v.workflow_id = :workflow_id AND v.revision < :before"
    " ORDER BY v.revision DESC LIMIT :count"
)


async def version(db: Any, version_id: UUID) -> VersionRow | None:
    """The version of that id."""
    return _version(await db.sql(VERSION, into=db.workflow_version, id=version_id).first())


async def labelled(db: Any, workflow_id: UUID, label: str) -> VersionRow | None:
    """The newest revision of a workflow with that version label."""
    call = db.sql(LABELLED, into=db.workflow_version, workflow_id=workflow_id, label=label)
    return _version(await call.first())


async def packaged(db: Any, package_id: str, *, removed: bool = False) -> VersionRow | None:
    """The newest revision of a living (or else a removed) workflow that carried that package id."""
    text = REMOVED_PACKAGED if removed else PACKAGED
    return _version(await db.sql(text, into=db.workflow_version, package_id=package_id).first())


async def versions(db: Any, workflow_id: UUID, *, before: int, count: int) -> list[dict[str, Any]]:
    """The revisions below `before`, newest first, without their definitions."""
    call = db.sql(VERSIONS, into=db.workflow_version, workflow_id=workflow_id, before=before, count=count)
    return [dict(row) for row in await call]


# ---- writing ---------------------------------------------------------------------------------------------------------


def insert(db: Any, values: dict[str, Any]) -> Any:
    """Register a workflow. Raises Duplicate(workflow_ref | workflow_package)."""
    return db.workflow.insert(**values)


def insert_version(db: Any, values: dict[str, Any]) -> Any:
    """Add a revision. Raises Duplicate(workflow_version_revision)."""
    return db.workflow_version.insert(**values)


def reword_version(db: Any, version_id: UUID, source_text: str | None) -> Any:
    """Keep another wording of the same: the text that its YAML is answered with."""
    return db(db.workflow_version.id == version_id).update(source_text=source_text)


def change(db: Any, workflow_id: UUID, *, seen: int, values: dict[str, Any]) -> Any:
    """Change a living workflow that nobody changed since `seen` was read, else the transaction is Stale."""
    w = db.workflow
    living = (w.id == workflow_id) & (w.change_no == seen) & (w.deleted_at == None)  # noqa: E711 (SQL IS NULL)
    return db(living).update(change_no=seen + 1, **values).expect(1)


def drop_tags(db: Any, workflow_id: UUID) -> Any:
    """Forget the tags of a workflow."""
    return db(db.workflow_tag.workflow_id == workflow_id).delete()


def add_tags(db: Any, workflow_id: UUID, tags: Iterable[str]) -> list[Any]:
    """Index the tags of a workflow, one statement each."""
    return [db.workflow_tag.insert(tag=tag, workflow_id=workflow_id) for tag in dict.fromkeys(tags)]


# ---- grants ----------------------------------------------------------------------------------------------------------

GRANTS = (
    f"SELECT {G_COLUMNS} FROM workflow_permission WHERE workflow_id = :workflow_id ORDER BY subject_type, subject_id"
)
_FLAGS = ("can_view", "can_edit", "can_execute", "can_delete", "can_manage_permissions")


async def grants(db: Any, workflow_id: UUID) -> list[GrantRow]:
    """Who holds what on a workflow."""
    rows = await db.sql(GRANTS, into=db.workflow_permission, workflow_id=workflow_id)
    return [GrantRow(**row) for row in rows]


def put_grant(db: Any, values: dict[str, Any]) -> Any:
    """Give a subject exactly these flags."""
    g = db.workflow_permission
    return g.upsert((g.workflow_id, g.subject_type, g.subject_id), update=_FLAGS, **values)


def drop_grant(db: Any, workflow_id: UUID, subject_type: str, subject_id: str) -> Any:
    """Take a subject's flags away; the transaction is Stale when it had none."""
    g = db.workflow_permission
    mine = (g.workflow_id == workflow_id) & (g.subject_type == subject_type) & (g.subject_id == subject_id)
    return db(mine).delete().expect(1)


def _workflow(row: Any) -> WorkflowRow | None:
    return None if row is None else WorkflowRow(**row)


def _version(row: Any) -> VersionRow | None:
    return None if row is None else VersionRow(**row)
