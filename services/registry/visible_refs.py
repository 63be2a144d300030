"""Which of the workflows that a definition calls somebody may know of: to everybody else they do not exist."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from models import workflows
from models.records import Flag
from services.access.actor import Actor
from services.access.permission_service import PermissionService


async def visible_refs(
    db: Any, permissions: PermissionService, actor: Actor, wanted: Collection[str]
) -> frozenset[str]:
    """Those of `wanted` that name a living workflow which the actor may view."""
    if not wanted:
        return frozenset()
    rows = await workflows.guarded_refs(db, wanted)
    return frozenset([row["ref"] for row in rows if await permissions.decide(actor, row, Flag.VIEW)])
