"""Which workflows, living or removed, somebody may view: what the run history needs to know before it lists anything."""

from __future__ import annotations

from typing import Any
from uuid import UUID

MOST = 20_000
"""Workflows one viewer's list may name; the newest, beyond that."""

_ALL = "SELECT w.id FROM workflow w WHERE {inside} ORDER BY w.id DESC LIMIT :most"
_MINE = """SELECT w.id FROM workflow w WHERE {inside} AND (w.owner_id = :user OR EXISTS (
  SELECT 1 FROM workflow_permission p WHERE p.workflow_id = w.id AND p.can_view AND (
    (p.subject_type = 'user' AND p.subject_id = :name)
    OR (p.subject_type = 'community' AND EXISTS (
      SELECT 1 FROM user_role r WHERE r.user_id = :user AND CAST(r.community_id AS text) = p.subject_id))
    OR (p.subject_type = 'role' AND EXISTS (
      SELECT 1 FROM user_role r WHERE r.user_id = :user AND r.community_id = w.community_id AND r.role = p.subject_id)))))
ORDER BY w.id DESC LIMIT :most"""
_INSIDE = "(w.community_id IS NULL OR w.community_id = :community)"


async def viewable(db: Any, *, user: int | None, community: int | None) -> frozenset[UUID]:
    """The workflows a user (None = an administrator) may view, within one community or everywhere."""
    text = (_ALL if user is None else _MINE).format(inside=_INSIDE if community is not None else "1 = 1")
    values: dict[str, Any] = {"most": MOST}
    if user is not None:
        values |= {"user": user, "name": str(user)}
    if community is not None:
        values["community"] = community
    return frozenset(row["id"] for row in await db.sql(text, into=db.workflow, **values))


async def packages(db: Any, workflow_id: UUID) -> list[str]:
    """Every package id a workflow has had, the newest 32."""
    rows = await db.sql(
        "SELECT package_id, MAX(revision) AS newest FROM workflow_version WHERE workflow_id = :id"
        " GROUP BY package_id ORDER BY newest DESC LIMIT 32",
        id=workflow_id,
    )
    return [row["package_id"] for row in rows]
