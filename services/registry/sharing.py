"""Who holds which flags on a workflow, and who may edit a pack."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from models import access, packs, workflows
from models.dal.errors import Stale
from models.packs import PackRow
from models.records import Flag
from models.workflows import GrantRow, WorkflowRow
from services.access.audit import Category, Entry, Result
from services.errors import NotFound
from services.registry.caller import Caller
from services.registry.doors import Doors
from services.registry.findings import Findings
from services.registry.ledger import Ledger
from services.registry.workflows import Workflows

SUBJECTS = ("user", "role", "community")


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """Whom a grant is for; `id` is a user id, a role name or a community id."""

    type: str
    id: str

    def checked(self) -> Subject:
        """Itself, with its id in one form. Raises `Invalid`."""
        findings = Findings()
        if self.type not in SUBJECTS:
            findings.add(("subject_type",), f"must be one of {', '.join(SUBJECTS)}", kind="subject_type")
        elif self.type != "role" and not (self.id.isascii() and self.id.isdigit() and len(self.id) < 19):
            findings.add(("subject_id",), f"the id of a {self.type} is a number", kind="subject_id")
        elif not 1 <= len(self.id) <= 100:
            findings.add(("subject_id",), "must be 1 to 100 characters", kind="subject_id")
        findings.raise_any("The subject")
        return self if self.type == "role" else replace(self, id=str(int(self.id)))  # 007 is 7


class Sharing:
    """Lists, gives and takes grants."""

    def __init__(self, ledger: Ledger, *, registry: Workflows, doors: Doors, changed: Callable[[UUID], None]) -> None:
        """`changed` is called with a workflow's id after a grant on it was given or taken, for caches of grants."""
        self._ledger = ledger
        self._db = ledger.db
        self._registry = registry
        self._doors = doors
        self._changed = changed

    async def grants(self, identifier: str, caller: Caller) -> list[GrantRow]:
        """Who holds what on a workflow."""
        found = await self._registry.get(identifier, caller, Flag.MANAGE_PERMISSIONS)
        return await workflows.grants(self._db, found.workflow.id)

    async def grant(self, identifier: str, subject: Subject, flags: frozenset[Flag], caller: Caller) -> GrantRow:
        """Give a subject exactly these flags. Raises `Invalid`, `Denied`, `WorkflowNotFound`."""
        row = (await self._registry.get(identifier, caller, Flag.MANAGE_PERMISSIONS)).workflow
        who = await self._there(subject)
        values: dict[str, Any] = {
            "workflow_id": row.id,
            "subject_type": who.type,
            "subject_id": who.id,
            **{flag.value: flag in flags for flag in Flag},
            "created": self._ledger.now(),
            "created_by": caller.actor.user_id,
        }
        entry = self._entry("grant_permission", caller, row, who, flags=sorted(flag.value for flag in flags))
        await self._ledger.write(entry, workflows.put_grant(self._db, values))
        self._changed(row.id)
        return GrantRow(**values)

    async def revoke(self, identifier: str, subject: Subject, caller: Caller) -> None:
        """Take a subject's flags away. Raises `NotFound` when it had none."""
        row = (await self._registry.get(identifier, caller, Flag.MANAGE_PERMISSIONS)).workflow
        entry = self._entry("revoke_permission", caller, row, subject)
        try:
            await self._ledger.write(entry, workflows.drop_grant(self._db, row.id, subject.type, subject.id))
        except Stale as none:
            raise NotFound("There is no such grant") from none
        self._changed(row.id)

    async def pack_grants(self, ref: str, caller: Caller) -> list[dict[str, Any]]:
        """Who may edit a pack."""
        await self._doors.require_owner(caller, await self._doors.require_pack(ref, caller))
        return await packs.grants(self._db, ref)

    async def grant_pack(self, ref: str, subject: Subject, can_edit: bool, caller: Caller) -> dict[str, Any]:
        """Let a subject add workflows to a pack, or not."""
        pack = await self._doors.require_pack(ref, caller)
        await self._doors.require_owner(caller, pack)
        who = await self._there(subject)
        facts = {"subject_type": who.type, "subject_id": who.id, "can_edit": can_edit, "created": self._ledger.now()}
        entry = self._entry("grant_pack", caller, pack, who, can_edit=can_edit)
        await self._ledger.write(entry, packs.put_grant(self._db, {**facts, "pack_ref": ref}))
        return facts

    async def revoke_pack(self, ref: str, subject: Subject, caller: Caller) -> None:
        """Take a subject's right to edit a pack away. Raises `NotFound`."""
        pack = await self._doors.require_pack(ref, caller)
        await self._doors.require_owner(caller, pack)
        try:
            entry = self._entry("revoke_pack", caller, pack, subject)
            await self._ledger.write(entry, packs.drop_grant(self._db, ref, subject.type, subject.id))
        except Stale as none:
            raise NotFound("There is no such grant") from none

    async def _there(self, subject: Subject) -> Subject:
        """The subject; a user has to exist, or the grant would be for whoever gets that id next. Raises `NotFound`."""
        who = subject.checked()
        if who.type == "user" and await access.user(self._db, int(who.id)) is None:
            raise NotFound(f"There is no user {who.id}")
        return who

    def _entry(
        self, action: str, caller: Caller, about: WorkflowRow | PackRow, subject: Subject, **details: Any
    ) -> Entry:
        return Entry(
            category=Category.AUDIT,
            action=action,
            result=Result.SUCCESS,
            actor=caller.actor,
            community_id=about.community_id,
            workflow_id=about.id if isinstance(about, WorkflowRow) else None,
            resource=about.ref,
            request_id=caller.request_id,
            details={"subject_type": subject.type, "subject_id": subject.id, **details},
            as_admin=caller.actor.overrides(about.owner_id),
        )
