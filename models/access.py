"""Keys, users, roles and grants: one function, one statement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from models.dal import AsyncDAL, Call, Row


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRow:
    """An API key as stored; of the key itself only its hash."""

    id: UUID
    user_id: int
    name: str
    prefix: str
    scopes: Sequence[str]
    community_id: int | None
    created: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None
    rotated_to: UUID | None


@dataclass(frozen=True, slots=True, kw_only=True)
class UserRow:
    """A user."""

    id: int
    name: str
    email: str | None
    is_admin: bool
    is_active: bool
    created: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleRow:
    """A role of a user in a community."""

    user_id: int
    community_id: int
    role: str


# ---- authentication ------------------------------------------------------------------------------------------------

FIND_KEY = """
SELECT k.id, k.user_id, k.hash, k.scopes, k.community_id, k.expires_at, k.revoked_at, k.last_used_at,
       u.name, u.is_admin, u.is_active
FROM api_key k JOIN app_user u ON u.id = k.user_id
WHERE k.hash = :hash
"""
KEY_ROLES = """
SELECT r.user_id, r.community_id, r.role FROM user_role r
WHERE r.user_id = (SELECT k.user_id FROM api_key k WHERE k.hash = :hash)
"""


async def find_key(db: AsyncDAL, key_hash: str) -> tuple[Row | None, list[RoleRow]]:
    """A key with its user, and the user's roles."""
    key, roles = await db.batch(
        db.sql(FIND_KEY, into=(db.api_key, db.app_user), hash=key_hash).first(),
        db.sql(KEY_ROLES, into=db.user_role, hash=key_hash),
    )
    return key, [RoleRow(**row) for row in roles]


async def touch_key(db: AsyncDAL, key_id: UUID, *, now: datetime, every: timedelta) -> int:
    """Note that a key is in use, unless that was noted less than `every` ago."""
    k = db.api_key
    old = (k.last_used_at == None) | (k.last_used_at < now - every)  # noqa: E711 - pyDAL's spelling of IS NULL
    return int(await db((k.id == key_id) & old).update(last_used_at=now))


# ---- keys ----------------------------------------------------------------------------------------------------------

_KEY = tuple(column.name for column in fields(KeyRow))


def insert_key(db: AsyncDAL, values: dict[str, Any]) -> Call[int]:
    """Store a new key."""
    call: Call[int] = db.api_key.insert(**values)
    return call


async def key(db: AsyncDAL, key_id: UUID) -> KeyRow | None:
    """One key."""
    k = db.api_key
    row = await db(k.id == key_id).select(*(k[name] for name in _KEY)).first()
    return KeyRow(**row) if row else None


async def keys_of(
    db: AsyncDAL, user_id: int | None, *, limit: int, offset: int = 0, before: UUID | None = None
) -> list[KeyRow]:
    """The keys of a user, or of everybody, newest first: their ids sort by time. `before`: continue behind this one."""
    k = db.api_key
    query = k.id < (before or UUID(int=2**128 - 1))
    if user_id is not None:
        query &= k.user_id == user_id
    rows = await db(query).select(*(k[name] for name in _KEY), orderby=~k.id, limit=limit, offset=offset)
    return [KeyRow(**row) for row in rows]


async def count_keys(db: AsyncDAL, user_id: int | None) -> int:
    """How many keys a user has, or everybody."""
    k = db.api_key
    return int(await db(k.user_id == user_id if user_id is not None else k.user_id > 0).count())


def end_key(db: AsyncDAL, key_id: UUID, *, at: datetime, rotated_to: UUID | None = None) -> Call[int]:
    """Let a key end at a time, unless it ends earlier already; yields 1, or 0 when it did."""
    k = db.api_key
    ends_later = (k.revoked_at == None) | (k.revoked_at > at)  # noqa: E711 - pyDAL's spelling of IS NULL
    values: dict[str, Any] = {"revoked_at": at, **({"rotated_to": rotated_to} if rotated_to else {})}
    call: Call[int] = db((k.id == key_id) & ends_later).update(**values)
    return call


# ---- users and roles -----------------------------------------------------------------------------------------------


async def count_users(db: AsyncDAL) -> int:
    """How many users there are."""
    return int(await db(db.app_user).count())


def insert_user(db: AsyncDAL, values: dict[str, Any]) -> Call[Row | None]:
    """Store a new user; yields its id. Raises Duplicate(app_user_name)."""
    call: Call[Row | None] = db.app_user.insert(returning=[db.app_user.id], **values).first()
    return call


async def user(db: AsyncDAL, user_id: int) -> UserRow | None:
    """One user."""
    row = await db.app_user(user_id)
    return UserRow(**row) if row else None


async def user_named(db: AsyncDAL, name: str) -> UserRow | None:
    """The user of that name."""
    row = await db(db.app_user.name == name).select().first()
    return UserRow(**row) if row else None


async def users(db: AsyncDAL, *, after: int, limit: int, offset: int = 0) -> list[UserRow]:
    """Users by id, behind `after`."""
    u = db.app_user
    rows = await db(u.id > after).select(orderby=u.id, limit=limit, offset=offset)
    return [UserRow(**row) for row in rows]


def update_user(db: AsyncDAL, user_id: int, values: dict[str, Any]) -> Call[int]:
    """Change a user; yields 1, or 0 for an unknown one. Raises Duplicate(app_user_name)."""
    call: Call[int] = db(db.app_user.id == user_id).update(**values)
    return call


async def other_admins(db: AsyncDAL, user_id: int) -> int:
    """How many active administrators there are besides this user."""
    u = db.app_user
    return int(await db((u.is_admin == True) & (u.is_active == True) & (u.id != user_id)).count())  # noqa: E712


async def lock_admins(db: AsyncDAL) -> None:
    """Let nobody else change an administrator until the end of the transaction."""
    u = db.app_user
    await db(u.is_admin == True).select(u.id, orderby=u.id, for_update=True)  # noqa: E712 - pyDAL's spelling


async def roles_of(db: AsyncDAL, user_ids: Sequence[int]) -> list[RoleRow]:
    """The roles of some users."""
    r = db.user_role
    rows = await db(r.user_id.belongs(list(user_ids))).select(r.user_id, r.community_id, r.role)
    return [RoleRow(**row) for row in rows]


def add_role(db: AsyncDAL, role: RoleRow, *, now: datetime) -> Call[int]:
    """Give a role; nothing happens when it is held already."""
    r = db.user_role
    call: Call[int] = r.upsert(
        (r.user_id, r.community_id, r.role),
        update=(),
        user_id=role.user_id,
        community_id=role.community_id,
        role=role.role,
        created=now,
    )
    return call


def drop_role(db: AsyncDAL, role: RoleRow) -> Call[int]:
    """Take a role away; yields 0 when it was not held."""
    r = db.user_role
    held = (r.user_id == role.user_id) & (r.community_id == role.community_id) & (r.role == role.role)
    call: Call[int] = db(held).delete()
    return call


# ---- grants --------------------------------------------------------------------------------------------------------

WORKFLOW = "SELECT id, owner_id, community_id FROM workflow WHERE id = :id"
VISIBLE = """
SELECT w.id, w.ref FROM workflow w
WHERE w.deleted_at IS NULL AND w.id > :after
  AND (CAST(:user AS bigint) IS NULL OR w.owner_id = CAST(:user AS bigint) OR EXISTS (
    SELECT 1 FROM workflow_permission p
    WHERE p.workflow_id = w.id AND p.{flag} AND (
      (p.subject_type = 'user' AND p.subject_id = CAST(CAST(:user AS bigint) AS text))
      OR (p.subject_type = 'role' AND EXISTS (
        SELECT 1 FROM user_role r
        WHERE r.user_id = CAST(:user AS bigint) AND r.community_id = w.community_id AND r.role = p.subject_id))
      OR (p.subject_type = 'community' AND EXISTS (
        SELECT 1 FROM user_role r WHERE r.user_id = CAST(:user AS bigint) AND CAST(r.community_id AS text) = p.subject_id)))))
ORDER BY w.id LIMIT :count
"""
FLAGS = ("can_view", "can_edit", "can_execute", "can_delete", "can_manage_permissions")


async def guarded(db: AsyncDAL, workflow_id: UUID) -> Row | None:
    """Owner and community of a workflow, also of a deleted one: its history is still guarded."""
    row: Row | None = await db.sql(WORKFLOW, into=db.workflow, id=workflow_id).first()
    return row


async def grants(db: AsyncDAL, workflow_id: UUID) -> list[Row]:
    """Every grant on a workflow."""
    p = db.workflow_permission
    rows: list[Row] = await db(p.workflow_id == workflow_id).select()
    return rows


async def workflows_with(db: AsyncDAL, flag: str, *, user: int | None, after: UUID, count: int) -> list[Row]:
    """Ids and refs of the workflows on which a user holds `flag`, by id; None = of every workflow."""
    if flag not in FLAGS:
        raise ValueError(f"no such flag: {flag}")
    statement = VISIBLE.format(flag=flag)
    rows: list[Row] = await db.sql(statement, into=db.workflow, user=user, after=after, count=count)
    return rows
