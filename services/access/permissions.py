"""Who may do what: the vocabulary and the rules, without a database. Pure.

Two questions are kept apart. `Permission` is what a *route* asks of the caller's key (one each, deny by default).
`resolve` decides about one *workflow*: owner → grant to the user → grant to a role of the user in the workflow's
community → grant to the community; an administrator passes and is named as such.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum, StrEnum
from typing import Literal

from msgspec import Struct

from models.records import Flag


class Scope(StrEnum):
    """What a key may be limited to."""

    READ = "read"
    REGISTRY_WRITE = "registry:write"
    EXECUTIONS_WRITE = "executions:write"
    RUNS_WRITE = "runs:write"
    SIGNALS_WRITE = "signals:write"
    ADMIN = "admin"


class Permission(Enum):
    """One door each: its name in the log, and the scope a limited key needs to pass it."""

    PUBLIC = ("public", None)
    SELF_VIEW = ("self:view", None)
    WORKFLOW_VIEW = ("workflow:view", Scope.READ)
    WORKFLOW_CREATE = ("workflow:create", Scope.REGISTRY_WRITE)
    WORKFLOW_EDIT = ("workflow:edit", Scope.REGISTRY_WRITE)
    WORKFLOW_DELETE = ("workflow:delete", Scope.REGISTRY_WRITE)
    WORKFLOW_SHARE = ("workflow:share", Scope.REGISTRY_WRITE)
    WORKFLOW_VALIDATE = ("workflow:validate", Scope.READ)
    PACK_VIEW = ("pack:view", Scope.READ)
    PACK_WRITE = ("pack:write", Scope.REGISTRY_WRITE)
    ACTION_VIEW = ("action:view", Scope.READ)
    EXECUTION_VIEW = ("execution:view", Scope.READ)
    EXECUTION_START = ("execution:start", Scope.EXECUTIONS_WRITE)
    EXECUTION_CONTROL = ("execution:control", Scope.EXECUTIONS_WRITE)
    EXECUTION_TEST = ("execution:test", Scope.EXECUTIONS_WRITE)
    EXECUTION_OPERATE = ("execution:operate", Scope.ADMIN)
    INQUIRY_VIEW = ("inquiry:view", Scope.READ)
    INQUIRY_RESPOND = ("inquiry:respond", Scope.EXECUTIONS_WRITE)
    RUN_VIEW = ("run:view", Scope.READ)
    RUN_LOG = ("run:log", Scope.RUNS_WRITE)
    SIGNAL_VIEW = ("signal:view", Scope.READ)
    SIGNAL_PROBE = ("signal:probe", Scope.SIGNALS_WRITE)
    SIGNAL_JUDGE = ("signal:judge", Scope.SIGNALS_WRITE)
    WATCH_VIEW = ("watch:view", Scope.READ)
    WATCH_WRITE = ("watch:write", Scope.SIGNALS_WRITE)
    KEY_VIEW = ("key:view", Scope.READ)
    KEY_WRITE = ("key:write", Scope.ADMIN)
    USER_ADMIN = ("user:admin", Scope.ADMIN)
    RETENTION_ADMIN = ("retention:admin", Scope.ADMIN)
    AUDIT_VIEW = ("audit:view", Scope.ADMIN)

    def __init__(self, label: str, scope: Scope | None) -> None:
        self.label = label
        self.scope = scope


ADMIN_ONLY = frozenset(
    {Permission.EXECUTION_OPERATE, Permission.USER_ADMIN, Permission.RETENTION_ADMIN, Permission.AUDIT_VIEW}
)


class Verdict(Struct, frozen=True):
    """A decision with its reason; truthy when allowed. `visible` says whether the thing may be known at all."""

    allowed: bool
    reason: str
    visible: bool = True

    def __bool__(self) -> bool:
        return self.allowed


class Subject(Struct, frozen=True, kw_only=True):
    """The caller as the rules see it. `roles`: pairs of community and role name."""

    user_id: int
    is_admin: bool = False
    community_id: int | None = None
    roles: frozenset[tuple[int, str]] = frozenset()


class Grant(Struct, frozen=True, kw_only=True):
    """Flags given to a user, a role or a community; `subject_id` is text (user id, role name, community id)."""

    subject_type: Literal["user", "role", "community"]
    subject_id: str
    flags: frozenset[Flag]


class Guarded(Struct, frozen=True, kw_only=True):
    """What the rules need to know of a workflow."""

    owner_id: int | None
    community_id: int | None
    grants: tuple[Grant, ...] = ()


def may_pass(
    permission: Permission, *, is_admin: bool, scopes: frozenset[str], community_id: int | None = None
) -> Verdict:
    """Whether a key may use a door at all. No scopes = everything its user may do.

    A key limited to `community_id` opens none of the doors that lead to all communities.
    """
    if permission.scope is not None and scopes and permission.scope not in scopes:
        return Verdict(False, f"the key lacks the scope {permission.scope}")
    if permission in ADMIN_ONLY and not is_admin:
        return Verdict(False, "only an administrator may do this")
    if permission in ADMIN_ONLY and community_id is not None:
        return Verdict(False, f"the key is limited to community {community_id}")
    return Verdict(True, "admin" if is_admin else "key")


def resolve(subject: Subject, thing: Guarded, flag: Flag, *, community_id: int | None = None) -> Verdict:
    """Decide about one workflow.

    `community_id` is the context the caller named: it must be the workflow's own, where the workflow has one.
    """
    outside = _outside(subject, thing, community_id)
    if outside is not None:
        return outside
    if subject.is_admin:
        return Verdict(True, "admin")
    if thing.owner_id is not None and thing.owner_id == subject.user_id:
        return Verdict(True, "owner")
    held = {grant: _how(subject, thing, grant) for grant in thing.grants}
    matching = [(grant, how) for grant, how in held.items() if how is not None]
    for how in ("grant to the user", "grant to a role", "grant to the community"):
        if any(found == how and flag in grant.flags for grant, found in matching):
            return Verdict(True, how)
    visible = any(Flag.VIEW in grant.flags for grant, _ in matching)
    return Verdict(False, f"no {flag} for this user", visible=visible and flag is not Flag.VIEW)


def _outside(subject: Subject, thing: Guarded, community_id: int | None) -> Verdict | None:
    if community_id is not None and thing.community_id is not None and community_id != thing.community_id:
        return Verdict(False, f"the workflow is not of community {community_id}", visible=False)
    if subject.community_id is not None and thing.community_id not in (None, subject.community_id):
        return Verdict(False, f"the key is limited to community {subject.community_id}", visible=False)
    return None


def _how(subject: Subject, thing: Guarded, grant: Grant) -> str | None:
    match grant.subject_type:
        case "user":
            return "grant to the user" if grant.subject_id == str(subject.user_id) else None
        case "role":
            held = any(
                thing.community_id == community and role == grant.subject_id for community, role in subject.roles
            )
            return "grant to a role" if held else None
        case "community":
            member = any(str(community) == grant.subject_id for community, _ in subject.roles)
            return "grant to the community" if member else None


def narrower(wanted: Iterable[str], held: frozenset[str]) -> bool:
    """Whether a key with `wanted` scopes may do no more than one that holds `held` (none = everything)."""
    asked = frozenset(wanted)
    return not held or (bool(asked) and asked <= held)
