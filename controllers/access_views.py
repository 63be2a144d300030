"""How keys, users and audit entries look to a client."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Any
from uuid import UUID

from controllers.shapes import BaseModel
from models.access import KeyRow
from services.access.accounts import Account
from services.access.sealer import ChainReport


class KeyView(BaseModel):
    """An API key without its text; `prefix` is its visible beginning."""

    id: UUID
    user_id: int
    name: str
    prefix: str
    scopes: list[str]
    community_id: int | None
    created: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None
    rotated_to: UUID | None


class ShownKeyView(KeyView):
    """An API key with its text, null when it was shown before."""

    key: str | None


class RotatedKeyView(ShownKeyView):
    """The new key, and how long the old one stays valid."""

    old_key_id: UUID
    old_key_valid_until: datetime


class RevokedView(BaseModel):
    """A key that has ended."""

    id: UUID
    revoked_at: datetime


class RoleView(BaseModel):
    """A role in a community."""

    community_id: int
    role: str


class UserView(BaseModel):
    """A user with their roles."""

    id: int
    name: str
    email: str | None
    is_admin: bool
    is_active: bool
    created: datetime
    roles: list[RoleView]


class MeView(UserView):
    """The caller; `is_admin` says whether this key may act as administrator."""

    key: KeyView | None


class AuditView(BaseModel):
    """An entry of the audit record; `chain_no` is null until it is sealed."""

    id: UUID
    at: datetime
    category: str
    action: str
    result: str
    actor_id: int | None
    key_id: UUID | None
    community_id: int | None
    workflow_id: UUID | None
    resource: str | None
    reason: str | None
    request_id: str | None
    details: dict[str, Any] | None
    chain_no: int | None
    hash: str | None


class ChainView(BaseModel):
    """Whether the chain over the audit record holds."""

    intact: bool
    sealed: int
    unsealed: int
    broken_at: int | None
    broken_id: UUID | None
    reason: str | None


def key(row: KeyRow) -> dict[str, Any]:
    """A key without its text."""
    return asdict(row)


def shown_key(row: KeyRow, text: str | None) -> dict[str, Any]:
    """A key with its text."""
    return {**asdict(row), "key": text}


def account(found: Account) -> dict[str, Any]:
    """A user with their roles, in a stable order."""
    held = sorted((role.community_id, role.role) for role in found.roles)
    return {**asdict(found.user), "roles": [{"community_id": community, "role": role} for community, role in held]}


def audit(row: dict[str, Any]) -> dict[str, Any]:
    """An entry of the record."""
    return dict(row)


def chain(report: ChainReport) -> dict[str, Any]:
    """What following the chain found."""
    return asdict(report)
