"""May this user do that to this workflow? The rules are in `permissions`; this reads, remembers and records."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

import models.access
from models.access import RoleRow
from models.dal import AsyncDAL
from models.records import Flag
from services.access.actor import SYSTEM, Actor
from services.access.audit import AuditLog, Category, Entry, Result, say
from services.access.permissions import Grant, Guarded, Verdict, resolve
from services.errors import Denied, Invalid, WorkflowNotFound

CACHE_S = 1.5
CACHE_SIZE = 20_000
ACTIONS = {
    Flag.VIEW: "view_workflow",
    Flag.EDIT: "edit_workflow",
    Flag.EXECUTE: "execute_workflow",
    Flag.DELETE: "delete_workflow",
    Flag.MANAGE_PERMISSIONS: "manage_permissions",
}
_FIRST = UUID(int=0)


class WorkflowFacts(Protocol):
    """What must be known of a workflow; a row of the registry is one."""

    @property
    def id(self) -> UUID:
        """Its id."""
        ...

    @property
    def owner_id(self) -> int | None:
        """Whose it is."""
        ...

    @property
    def community_id(self) -> int | None:
        """Its community."""
        ...


@dataclass(frozen=True, slots=True)
class VisibleWorkflow:
    """A workflow in `list_workflows_for_user`."""

    id: UUID
    ref: str


class PermissionService:
    """Decides, says so in the log, and writes denials to the record."""

    def __init__(self, db: AsyncDAL, *, audit: AuditLog) -> None:
        self._db = db
        self._audit = audit
        self._grants: OrderedDict[UUID, tuple[float, tuple[Grant, ...]]] = OrderedDict()

    async def check_permission(
        self, *, workflow_id: UUID | str, user_id: int, permission_type: str, community_id: int | None = None
    ) -> Verdict:
        """Whether a user holds a permission on a workflow; truthy when allowed, and says why.

        Raises `Invalid` for a permission that does not exist.
        """
        flag = _flag(permission_type)
        actor = await self._actor(user_id)
        known = await models.access.guarded(self._db, _uuid(workflow_id))
        if known is None:
            return Verdict(False, "no such workflow", visible=False)
        verdict = await self.decide(actor, known, flag, community_id=community_id)
        await self.record(actor, known, flag, verdict)
        return verdict

    async def list_workflows_for_user(
        self, user_id: int, *, permission_type: str = "can_view", after: UUID = _FIRST, limit: int = 100
    ) -> Sequence[VisibleWorkflow]:
        """The workflows on which a user holds a permission, by id; continue behind the last one."""
        actor = await self._actor(user_id)
        rows = await models.access.workflows_with(
            self._db,
            _flag(permission_type).value,
            user=None if actor.is_admin else user_id,
            after=after,
            count=limit,
        )
        return [VisibleWorkflow(row.id, row.ref) for row in rows]

    async def decide(
        self, actor: Actor, workflow: WorkflowFacts, flag: Flag, *, community_id: int | None = None
    ) -> Verdict:
        """The verdict, neither logged nor recorded: for lists and for parts of a larger decision."""
        owned = workflow.owner_id is not None and workflow.owner_id == actor.user_id
        grants = () if owned or actor.is_admin else await self._grants_of(workflow.id)
        thing = Guarded(owner_id=workflow.owner_id, community_id=workflow.community_id, grants=grants)
        return resolve(actor.subject, thing, flag, community_id=community_id)

    async def require(
        self, actor: Actor, workflow: WorkflowFacts, flag: Flag, *, called: str, community_id: int | None = None
    ) -> Verdict:
        """Let the caller pass, who called the workflow `called`.

        Who may not view a workflow may not change it either. Raises `Denied` when they may see the workflow but lack
        the flag, and when they may not the same `WorkflowNotFound` as for a workflow that does not exist.
        """
        verdict = await self.decide(actor, workflow, flag, community_id=community_id)
        if verdict and flag not in (Flag.VIEW, Flag.EXECUTE):  # the answer to a change shows the workflow
            seen = await self.decide(actor, workflow, Flag.VIEW, community_id=community_id)
            verdict = verdict if seen else seen
        await self.record(actor, workflow, flag, verdict, called=called)
        if verdict:
            return verdict
        if verdict.visible:
            raise Denied(f"You lack {flag.value} on this workflow", permission=flag.value)
        raise WorkflowNotFound(workflow=called)

    async def record(
        self, actor: Actor, workflow: WorkflowFacts, flag: Flag, verdict: Verdict, *, called: str | None = None
    ) -> None:
        """Say the verdict; a denial is a row of its own, with what the caller asked for. The server itself is not news."""
        if verdict and actor is SYSTEM:
            return
        entry = Entry(
            category=Category.AUTHZ,
            action=ACTIONS[flag],
            result=Result.ALLOWED if verdict else Result.DENIED,
            actor=actor,
            community_id=workflow.community_id,
            workflow_id=workflow.id,
            resource=None if verdict else called,
            reason=verdict.reason,
        )
        if verdict:
            say(entry)
        else:
            await self._audit.write(entry)

    def forget(self, workflow_id: UUID) -> None:
        """Drop what is remembered of a workflow: its grants were changed in this process."""
        self._grants.pop(workflow_id, None)

    async def _grants_of(self, workflow_id: UUID) -> tuple[Grant, ...]:
        found = self._grants.get(workflow_id)
        read_at = time.monotonic()
        if found is not None and read_at - found[0] <= CACHE_S:
            return found[1]
        grants = tuple(_grant(row) for row in await models.access.grants(self._db, workflow_id))
        self._grants[workflow_id] = (read_at, grants)
        self._grants.move_to_end(workflow_id)
        if len(self._grants) > CACHE_SIZE:
            self._grants.popitem(last=False)
        return grants

    async def _actor(self, user_id: int) -> Actor:
        user = await models.access.user(self._db, user_id)
        if user is None or not user.is_active:
            return Actor(user_id=user_id)
        roles: list[RoleRow] = await models.access.roles_of(self._db, [user_id])
        return Actor(
            user_id=user_id,
            name=user.name,
            is_admin=user.is_admin,
            roles=frozenset((role.community_id, role.role) for role in roles),
        )


def _flag(permission_type: str) -> Flag:
    try:
        return Flag(permission_type)
    except ValueError:
        allowed = ", ".join(Flag)
        raise Invalid(f"No permission {permission_type!r}; there are {allowed}") from None


def _uuid(workflow_id: UUID | str) -> UUID:
    try:
        return workflow_id if isinstance(workflow_id, UUID) else UUID(workflow_id)
    except ValueError:
        return _FIRST


def _grant(row: Any) -> Grant:
    flags = frozenset(flag for flag in Flag if row[flag.value])
    return Grant(subject_type=row.subject_type, subject_id=row.subject_id, flags=flags)
