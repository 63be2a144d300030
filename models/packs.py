"""Statements about packs, their actions and who may edit them: one function, one statement."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any
from uuid import UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class PackRow:
    """A pack as registered. `source_hash` covers its files; `workflow_count` its living workflows.

    `modified`: a request said otherwise than the manifest, which is not followed any more.
    """

    id: UUID
    ref: str
    label: str
    description: str | None
    version: str
    config_schema: dict[str, Any] | bool | None
    config: dict[str, Any] | None
    tags: list[str]
    source: str
    source_hash: str | None
    modified: bool
    workflow_count: int
    owner_id: int | None
    community_id: int | None
    change_no: int
    created: datetime
    updated: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class PackPage:
    """Where a list of packs starts and how far it goes."""

    after: str
    count: int
    skip: int = 0
    tag: str | None = None
    needle: str | None = None
    without: frozenset[str] = frozenset()


P_COLUMNS = ", ".join(f"p.{field.name}" for field in fields(PackRow))

BY_REF = f"SELECT {P_COLUMNS} FROM pack p WHERE p.ref = :ref"
OF_COMMUNITIES = f"SELECT {P_COLUMNS} FROM pack p WHERE p.community_id IS NOT NULL"
REFS = "SELECT ref, source_hash FROM pack"
WORKFLOWS = "SELECT COALESCE(SUM(workflow_count), 0) AS n FROM pack"


async def by_ref(db: Any, ref: str) -> PackRow | None:
    """The pack of that ref."""
    return _pack(await db.sql(BY_REF, into=db.pack, ref=ref).first())


async def hashes(db: Any) -> dict[str, str | None]:
    """Every pack with the hash of the files it was loaded from."""
    return {row["ref"]: row["source_hash"] for row in await db.sql(REFS, into=db.pack)}


async def count_workflows(db: Any) -> int:
    """How many workflows live in all packs together, from the packs' own counts."""
    return int((await db.sql(WORKFLOWS).first())["n"])


async def page(db: Any, wanted: PackPage) -> list[PackRow]:
    """Packs in order of their ref."""
    p = db.pack
    query = _wanted(db, wanted, after=wanted.after)
    rows = await db(query).select(p.ALL, orderby=p.ref, limit=wanted.count, offset=wanted.skip or None)
    return [PackRow(**row) for row in rows]


async def count(db: Any, wanted: PackPage) -> int:
    """How many packs a list has altogether."""
    return int(await db(_wanted(db, wanted, after="")).count())


def _wanted(db: Any, wanted: PackPage, *, after: str) -> Any:
    p = db.pack
    query = p.ref > after
    if wanted.tag is not None:
        query &= p.tags.contains(wanted.tag)
    if wanted.needle is not None:
        query &= p.ref.contains(wanted.needle) | p.label.ilike(f"%{wanted.needle}%")
    if wanted.without:
        query &= ~p.ref.belongs(sorted(wanted.without))
    return query


async def of_communities(db: Any) -> list[PackRow]:
    """Every pack that belongs to a community."""
    return [PackRow(**row) for row in await db.sql(OF_COMMUNITIES, into=db.pack)]


def insert(db: Any, values: dict[str, Any]) -> Any:
    """Register a pack. Raises Duplicate(pack_ref)."""
    return db.pack.insert(**values)


def change(db: Any, ref: str, *, seen: int, values: dict[str, Any]) -> Any:
    """Change a pack that nobody changed since `seen` was read, else the transaction is Stale."""
    p = db.pack
    return db((p.ref == ref) & (p.change_no == seen)).update(change_no=seen + 1, **values).expect(1)


def remember_files(db: Any, ref: str, source_hash: str, at: datetime) -> Any:
    """Note the files a pack was loaded from."""
    return db(db.pack.ref == ref).update(source_hash=source_hash, source="file", updated=at)


def count_by(db: Any, ref: str, difference: int) -> Any:
    """Count workflows that come or go, which also holds the pack in place until the transaction ends.

    The transaction is Stale when the pack is gone.
    """
    p = db.pack
    return db(p.ref == ref).update(workflow_count=p.workflow_count + difference).expect(1)


def delete(db: Any, ref: str, *, seen: int, workflows: int) -> Any:
    """Forget a pack that nobody changed since `seen` was read and that has so many workflows, else Stale."""
    p = db.pack
    return db((p.ref == ref) & (p.change_no == seen) & (p.workflow_count == workflows)).delete().expect(1)


# ---- what goes with a pack -------------------------------------------------------------------------------------------

RUNNING = (
    "SELECT e.execution_id FROM workflow w JOIN workflow_executions e ON e.workflow_id = w.id"
    " WHERE w.pack_ref = :ref AND w.deleted_at IS NULL AND e.ended_at IS NULL LIMIT :count"
)
BURY_PG = (
    "WITH mine AS (SELECT id FROM workflow WHERE pack_ref = :ref AND deleted_at IS NULL ORDER BY id FOR UPDATE)"
    " UPDATE workflow SET deleted_at = :at, updated = :at, change_no = change_no + 1 WHERE id IN (SELECT id FROM mine)"
)
BURY_SQLITE = (
    "UPDATE workflow SET deleted_at = :at, updated = :at, change_no = change_no + 1"
    " WHERE pack_ref = :ref AND deleted_at IS NULL"
)


async def running(db: Any, ref: str, *, count: int) -> list[str]:
    """Ids of unfinished executions of the pack's workflows, at most `count`."""
    rows = await db.sql(RUNNING, into=db.workflow_executions, ref=ref, count=count)
    return [str(row["execution_id"]) for row in rows]


def bury_workflows(db: Any, ref: str, at: datetime) -> Any:
    """Remove every workflow of a pack from the registry; versions and history stay."""
    return db.sql(pg=BURY_PG, sqlite=BURY_SQLITE, ref=ref, at=at)


def drop_actions(db: Any, ref: str) -> Any:
    """Forget the actions of a pack."""
    return db(db.action.pack_ref == ref).delete()


def drop_grants(db: Any, ref: str) -> Any:
    """Forget who may edit a pack."""
    return db(db.pack_permission.pack_ref == ref).delete()


def put_action(db: Any, values: dict[str, Any]) -> Any:
    """Declare an action, or declare it anew."""
    return db.action.upsert(db.action.ref, update=("pack_ref", "spec", "updated"), **values)


# ---- actions ---------------------------------------------------------------------------------------------------------

ACTION = "SELECT ref, pack_ref, spec, updated FROM action WHERE ref = :ref"
ACTIONS = "SELECT ref, pack_ref, spec, updated FROM action ORDER BY ref"
ACTIONS_MARK = "SELECT count(*) AS n, max(updated) AS updated, max(ref) AS last FROM action"
ACTIONS_OF = "SELECT ref, pack_ref, spec, updated FROM action WHERE pack_ref = :pack_ref ORDER BY ref"


async def action(db: Any, ref: str) -> dict[str, Any] | None:
    """The declaration of one action: `{ref, pack_ref, spec, updated}`."""
    row = await db.sql(ACTION, into=db.action, ref=ref).first()
    return None if row is None else dict(row)


async def actions_mark(db: Any) -> tuple[Any, ...]:
    """What changes whenever an action is declared, changed or forgotten."""
    row = await db.sql(ACTIONS_MARK, into=db.action).first()
    return row["n"], row["updated"], row["last"]


async def actions(db: Any, pack_ref: str | None = None) -> list[dict[str, Any]]:
    """The declarations of every action, or of one pack's."""
    if pack_ref is None:
        return [dict(row) for row in await db.sql(ACTIONS, into=db.action)]
    return [dict(row) for row in await db.sql(ACTIONS_OF, into=db.action, pack_ref=pack_ref)]


# ---- edit grants -----------------------------------------------------------------------------------------------------

_HELD = (
    " g.can_edit AND ("
    "(g.subject_type = 'user' AND g.subject_id = :subject)"
    " OR (g.subject_type = 'community' AND EXISTS (SELECT 1 FROM user_role r WHERE r.user_id = :user_id"
    " AND CAST(r.community_id AS text) = g.subject_id))"
    " OR (g.subject_type = 'role' AND EXISTS (SELECT 1 FROM user_role r JOIN pack p ON p.community_id = r.community_id"
    " WHERE p.ref = g.pack_ref AND r.user_id = :user_id AND r.role = g.subject_id)))"
)
MAY_EDIT = f"SELECT 1 AS yes FROM pack_permission g WHERE g.pack_ref = :ref AND{_HELD} LIMIT 1"
EDITABLE = f"SELECT DISTINCT g.pack_ref FROM pack_permission g WHERE{_HELD}"
GRANTS = (
    "SELECT subject_type, subject_id, can_edit, created FROM pack_permission WHERE pack_ref = :ref"
    " ORDER BY subject_type, subject_id"
)


async def may_edit(db: Any, ref: str, user_id: int) -> bool:
    """Whether a grant lets that user add to the pack."""
    return await db.sql(MAY_EDIT, ref=ref, user_id=user_id, subject=str(user_id)).first() is not None


async def editable(db: Any, user_id: int) -> frozenset[str]:
    """The packs that a grant lets that user add to."""
    rows = await db.sql(EDITABLE, into=db.pack_permission, user_id=user_id, subject=str(user_id))
    return frozenset(row["pack_ref"] for row in rows)


async def grants(db: Any, ref: str) -> list[dict[str, Any]]:
    """Who may edit a pack."""
    return [dict(row) for row in await db.sql(GRANTS, into=db.pack_permission, ref=ref)]


def put_grant(db: Any, values: dict[str, Any]) -> Any:
    """Let a subject edit a pack, or not."""
    g = db.pack_permission
    return g.upsert((g.pack_ref, g.subject_type, g.subject_id), update=("can_edit",), **values)


def drop_grant(db: Any, ref: str, subject_type: str, subject_id: str) -> Any:
    """Take a subject's grant away; the transaction is Stale when it had none."""
    g = db.pack_permission
    mine = (g.pack_ref == ref) & (g.subject_type == subject_type) & (g.subject_id == subject_id)
    return db(mine).delete().expect(1)


def _pack(row: Any) -> PackRow | None:
    return None if row is None else PackRow(**row)
