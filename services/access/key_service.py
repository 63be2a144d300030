"""API keys: made, listed, rotated, revoked. A key is shown once; afterwards only its prefix is known."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

import models.access
from models.access import KeyRow, UserRow
from models.dal import AsyncDAL, Call, Stale
from models.records import uuid7
from services.access import keys
from services.access.actor import Actor
from services.access.audit import AuditLog, Category, Entry, Result, say
from services.access.authentication import Authentication
from services.access.permissions import Scope, narrower
from services.errors import Conflict, Denied, Invalid, NotFound
from services.idempotency import Also, nothing

MAX_OVERLAP = timedelta(days=7)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyWish:
    """What a new key shall be. `scopes` empty = everything its user may do."""

    name: str
    user_id: int | None = None
    scopes: Sequence[Scope] = ()
    community_id: int | None = None
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class ShownKey:
    """A key at the only moment its text is known."""

    row: KeyRow
    text: str = field(repr=False)


class KeyService:
    """The keys of the server."""

    def __init__(self, db: AsyncDAL, *, audit: AuditLog, authentication: Authentication, pepper: str | None) -> None:
        self._db = db
        self._audit = audit
        self._authentication = authentication
        self._pepper = pepper

    async def create(self, wish: KeyWish, *, by: Actor, also: Also = nothing) -> ShownKey:
        """Make a key; `also` yields statements of the same transaction for its id.

        Raises `Denied` when it would reach further than the key that makes it, `NotFound` for an unknown user,
        `Conflict` for one who is not active.
        """
        now = self._authentication.now()
        _check_reach(wish, by, now)
        user_id = by.user_id if wish.user_id is None else wish.user_id
        if user_id != by.user_id and not by.runs_the_server:
            raise Denied("Only an administrator may make a key for somebody else")
        await self._check_member(user_id, wish.community_id)
        made = self._make(wish, user_id, now)
        entry = self._entry("create_api_key", made.row, by)
        await self._db.batch(*also(made.row.id), self._insert(made), self._audit.call(entry))
        say(entry)
        return made

    async def get(self, key_id: UUID, *, by: Actor) -> KeyRow:
        """One key, without its text. Raises `NotFound` when it is not the caller's (administrators see all)."""
        row = await models.access.key(self._db, key_id)
        if row is None:
            raise NotFound("There is no such key")
        if row.user_id != by.user_id and not by.runs_the_server:
            raise NotFound("There is no such key").denying("the key is somebody else's")
        return row

    async def list(
        self, user_id: int | None, *, limit: int, offset: int, before: UUID | None = None
    ) -> tuple[list[KeyRow], int]:
        """The keys of a user (None = of everybody), newest first, and how many there are."""
        rows = await models.access.keys_of(self._db, user_id, limit=limit, offset=offset, before=before)
        return rows, await models.access.count_keys(self._db, user_id)

    async def revoke(self, key_id: UUID, *, by: Actor) -> datetime:
        """End a key now; other processes refuse it within two seconds. Raises `NotFound`."""
        row = await self.get(key_id, by=by)
        now = self._authentication.now()
        entry = self._entry("revoke_api_key", row, by)
        await self._db.batch(models.access.end_key(self._db, row.id, at=now), self._audit.call(entry))
        say(entry)
        self._authentication.forget()
        return now if row.revoked_at is None else min(now, row.revoked_at)

    async def rotate(
        self, key_id: UUID, *, overlap: timedelta, by: Actor, also: Also = nothing
    ) -> tuple[ShownKey, datetime]:
        """Replace a key by one that reaches as far; the old one stays valid for `overlap`.

        `also` yields statements of the same transaction for the new key's id.
        Raises `NotFound`, `Denied` when it reaches further than the key of the caller, who would hold it then, and
        `Conflict` when it has ended or was rotated already, or its user is not active.
        """
        old = await self.get(key_id, by=by)
        now = self._authentication.now()
        if old.revoked_at is not None or (old.expires_at is not None and old.expires_at <= now):
            raise Conflict("The key has ended or was rotated already")
        await self._active(old.user_id)
        scopes = [Scope(scope) for scope in old.scopes]
        wish = KeyWish(name=old.name, scopes=scopes, community_id=old.community_id, expires_at=old.expires_at)
        _check_reach(wish, by, now)
        made = self._make(wish, old.user_id, now)
        until = now + min(overlap, MAX_OVERLAP)
        ended = models.access.end_key(self._db, old.id, at=until, rotated_to=made.row.id).expect(1)
        named = {"new_id": str(made.row.id), "new_prefix": made.row.prefix}
        entry = self._entry("rotate_api_key", old, by, **named)
        try:
            await self._db.batch(*also(made.row.id), self._insert(made), ended, self._audit.call(entry))
        except Stale:
            raise Conflict("The key has ended or was rotated already") from None
        say(entry)
        self._authentication.forget()
        return made, until

    async def _check_member(self, user_id: int, community_id: int | None) -> None:
        """A key for one community is for those who are of it."""
        user = await self._active(user_id)
        if community_id is None or user.is_admin:
            return
        roles = await models.access.roles_of(self._db, [user_id])
        if community_id not in {role.community_id for role in roles}:
            raise Denied(f"User {user_id} has no role in community {community_id}", community_id=community_id)

    async def _active(self, user_id: int) -> UserRow:
        """A user who can use a key."""
        user = await models.access.user(self._db, user_id)
        if user is None:
            raise NotFound(f"There is no user {user_id}")
        if not user.is_active:
            raise Conflict(f"User {user_id} is not active, so the key could not be used; activate them first")
        return user

    def _make(self, wish: KeyWish, user_id: int, now: datetime) -> ShownKey:
        new = keys.make(secrets.token_bytes(32), pepper=self._pepper)
        return ShownKey(_row(wish, user_id, new.prefix, now), new.text)

    def _insert(self, made: ShownKey) -> Call[int]:
        return insert_call(self._db, made.row, keys.digest(made.text, pepper=self._pepper))

    def _entry(self, action: str, row: KeyRow, by: Actor, **details: str) -> Entry:
        return Entry(
            category=Category.AUDIT,
            action=action,
            result=Result.SUCCESS,
            actor=by,
            community_id=row.community_id,
            resource=f"api_key:{row.id}",
            details={"prefix": row.prefix, "user_id": row.user_id, "scopes": list(row.scopes), **details},
        )


def insert_call(db: AsyncDAL, row: KeyRow, key_hash: str) -> Call[int]:
    """The statement that stores a key."""
    return models.access.insert_key(
        db,
        {
            "id": row.id,
            "user_id": row.user_id,
            "name": row.name,
            "prefix": row.prefix,
            "hash": key_hash,
            "scopes": list(row.scopes),
            "community_id": row.community_id,
            "created": row.created,
            "expires_at": row.expires_at,
        },
    )


def first_key(user_id: int, new: keys.NewKey, now: datetime) -> KeyRow:
    """The row of the key that comes with the first administrator."""
    return _row(KeyWish(name="first admin key"), user_id, new.prefix, now)


def _row(wish: KeyWish, user_id: int, prefix: str, now: datetime) -> KeyRow:
    return KeyRow(
        id=uuid7(),
        user_id=user_id,
        name=wish.name,
        prefix=prefix,
        scopes=[str(scope) for scope in wish.scopes],
        community_id=wish.community_id,
        created=now,
        expires_at=wish.expires_at,
        revoked_at=None,
        last_used_at=None,
        rotated_to=None,
    )


def _check_reach(wish: KeyWish, by: Actor, now: datetime) -> None:
    if wish.expires_at is not None and wish.expires_at <= now:
        message = "must lie in the future"
        raise Invalid(f"expires_at {message}", errors=[{"loc": ["expires_at"], "message": message, "type": "value"}])
    if not narrower(wish.scopes, by.scopes):
        raise Denied("A key cannot make one with more scopes than its own")
    if by.community_id is not None and wish.community_id != by.community_id:
        raise Denied(f"Your key is limited to community {by.community_id}; so must be the new one")
    if by.key_expires_at is not None and (wish.expires_at is None or wish.expires_at > by.key_expires_at):
        raise Denied("A key cannot make one that outlives it")
