"""May this caller do that to this workflow or pack? Denials are written to the record before they are raised."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from typing import Any

from models import packs
from models.packs import PackRow
from models.records import Flag
from models.workflows import WorkflowRow
from services.access.audit import AuditLog, Category, Entry, Result
from services.access.permission_service import PermissionService
from services.access.permissions import Verdict
from services.errors import Denied, PackNotFound
from services.registry import refs
from services.registry.caller import Caller
from services.registry.visible_refs import visible_refs


class Doors:
    """Asks the permissions, and turns a verdict into an error and a row of the record."""

    def __init__(
        self, db: Any, *, permissions: PermissionService, audit: AuditLog, reserved: Callable[[], frozenset[str]]
    ) -> None:
        """`reserved` names further packs that only an administrator may register; it reads files."""
        self._db = db
        self._reserved = reserved
        self._permissions = permissions
        self._audit = audit

    async def require(self, caller: Caller, workflow: WorkflowRow, flag: Flag, *, called: str) -> Verdict:
        """Let the caller pass, who called the workflow `called`.

        Raises `Denied`, or `WorkflowNotFound` when they may not even see it.
        """
        return await self._permissions.require(
            caller.actor, workflow, flag, called=called, community_id=caller.community_id
        )

    async def visible(self, caller: Caller, wanted: Collection[str]) -> frozenset[str]:
        """Those of `wanted` that name a workflow which the caller may view."""
        return await visible_refs(self._db, self._permissions, caller.actor, wanted)

    def require_community(self, caller: Caller, community_id: int | None) -> None:
        """Let the caller put a workflow into a community. Raises `Denied`."""
        actor = caller.actor
        if actor.community_id is not None and community_id != actor.community_id:
            home = actor.community_id
            message = f"Your key is limited to community {home}: community_id has to be {home}, or left out"
            raise Denied(message, community_id=community_id)
        if community_id is not None and community_id not in actor.communities and not actor.is_admin:
            raise Denied(f"You are not of community {community_id}", community_id=community_id)

    def owns(self, caller: Caller, pack: PackRow) -> bool:
        """Whether the caller is the pack's owner, or an administrator."""
        return caller.actor.reaches(pack.community_id) and _is_theirs(caller, pack.owner_id)

    async def hidden_packs(self, caller: Caller) -> frozenset[str]:
        """The packs that the caller may not know of: those of communities they are not of, unless they may edit them."""
        actor = caller.actor
        if actor.runs_the_server:
            return frozenset()
        theirs = await packs.of_communities(self._db)
        outside = {pack.ref for pack in theirs if not actor.reaches(pack.community_id)}
        foreign = {
            pack.ref
            for pack in theirs
            if pack.community_id not in actor.communities and not _is_theirs(caller, pack.owner_id)
        }
        granted = await packs.editable(self._db, actor.user_id) if foreign - outside else frozenset()
        return frozenset(outside | (foreign - granted))

    async def may_fill(self, caller: Caller, pack: PackRow) -> bool:
        """Whether the caller may add workflows to a pack; the pack `default` is open to everybody."""
        if pack.ref == refs.DEFAULT_PACK or self.owns(caller, pack):
            return True
        return await packs.may_edit(self._db, pack.ref, caller.actor.user_id)

    async def require_name(self, caller: Caller, ref: str, *, in_files: bool) -> None:
        """Let the caller register a pack of that name. Raises `Denied`: what the operator keeps ready is not a first comer's.

        That are the packs with files in `PACKS_DIR`, those that a secret is for, and those of the server itself.
        """
        if caller.actor.runs_the_server:
            return
        if in_files or ref in refs.RESERVED_PACKS or ref in await asyncio.to_thread(self._reserved):
            raise Denied(f"The pack name {ref} is reserved: an administrator registers it", pack_ref=ref)

    async def require_owner(self, caller: Caller, pack: PackRow) -> None:
        """Let the pack's owner pass. Raises `Denied`."""
        if self.owns(caller, pack):
            return
        await self._deny(caller, "edit_pack", "not the owner of the pack", pack)
        raise Denied("Only the owner of the pack may do this", pack_ref=pack.ref)

    async def require_pack(self, ref: str, caller: Caller) -> PackRow:
        """The pack of that ref. Raises `PackNotFound`, also when the caller may not know of it."""
        missing = PackNotFound(f"There is no pack {ref}", pack_ref=ref)
        pack = await packs.by_ref(self._db, ref)
        if pack is None:
            raise missing
        if pack.community_id is not None and pack.ref in await self.hidden_packs(caller):
            raise missing.denying(f"the pack is of community {pack.community_id}")
        return pack

    async def _deny(self, caller: Caller, action: str, reason: str, about: PackRow) -> None:
        entry = Entry(
            category=Category.AUTHZ,
            action=action,
            result=Result.DENIED,
            actor=caller.actor,
            community_id=about.community_id,
            resource=about.ref,
            reason=reason,
            request_id=caller.request_id,
        )
        await self._audit.write(entry)


def _is_theirs(caller: Caller, owner_id: int | None) -> bool:
    return caller.actor.is_admin or (owner_id is not None and owner_id == caller.actor.user_id)
