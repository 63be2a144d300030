"""From a presented key to an actor, with a cache short enough that a revoked key ends within two seconds."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol
from uuid import UUID

from services.access import keys
from services.access.actor import SYSTEM, Actor
from services.access.audit import Category, Entry, Result, say
from services.access.permissions import Scope
from services.errors import KeyEnded, Unauthenticated

CACHE_S = 1.5
CACHE_SIZE = 10_000
TOUCH_EVERY = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRecord:
    """A stored key with its user and the user's roles."""

    id: UUID
    user_id: int
    user_name: str
    hash: str
    scopes: frozenset[str]
    community_id: int | None
    is_admin: bool
    is_active: bool
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None
    roles: frozenset[tuple[int, str]]


class KeyStore(Protocol):
    """Where keys are kept."""

    async def find_key(self, key_hash: str, /) -> KeyRecord | None:
        """The key stored under this hash."""
        ...

    async def touch_key(self, key_id: UUID, now: datetime, /) -> None:
        """Note that the key is in use, unless that was noted lately."""
        ...


def utc_now() -> datetime:
    """The time of this machine, aware."""
    return datetime.fromtimestamp(time.time(), UTC)


class Authentication:
    """Knows the callers. Nothing it remembers is older than `CACHE_S` seconds."""

    def __init__(self, store: KeyStore, *, pepper: str | None = None, now: Callable[[], datetime] = utc_now) -> None:
        self._store = store
        self._pepper = pepper
        self.now = now
        self._cache: OrderedDict[str, tuple[float, Actor | None, datetime | None]] = OrderedDict()

    async def actor(self, key: str) -> Actor:
        """The caller behind a key.

        Raises `Unauthenticated` for a key that is unknown, `KeyEnded` for one that has expired or was revoked, or
        whose user is not active.
        """
        key_hash = keys.digest(key, pepper=self._pepper)
        found = self._cache.get(key_hash)
        read_at = time.monotonic()
        if found is None or read_at - found[0] > CACHE_S:
            found = (read_at, *await self._read(key_hash))
            self._remember(key_hash, found)
        _, actor, expires_at = found
        if actor is None:
            raise Unauthenticated()
        if expires_at is not None and expires_at <= self.now():
            raise KeyEnded(actor)
        return actor

    def forget(self) -> None:
        """Drop what is remembered: keys, roles or users changed in this process."""
        self._cache.clear()

    async def _read(self, key_hash: str) -> tuple[Actor | None, datetime | None]:
        record = await self._store.find_key(key_hash)
        now = self.now()
        if record is None or not keys.same(record.hash, key_hash):
            return None, None
        if not _usable(record, now):
            return _actor(record), now
        if record.last_used_at is None or now - record.last_used_at >= TOUCH_EVERY:
            await self._store.touch_key(record.id, now)
            say(Entry(category=Category.AUTH, action="authenticate", result=Result.SUCCESS, actor=_actor(record)))
        ends = [moment for moment in (record.expires_at, record.revoked_at) if moment is not None]
        return _actor(record), min(ends, default=None)

    def _remember(self, key_hash: str, found: tuple[float, Actor | None, datetime | None]) -> None:
        self._cache[key_hash] = found
        self._cache.move_to_end(key_hash)
        if len(self._cache) > CACHE_SIZE:
            self._cache.popitem(last=False)


class Operator(Authentication):
    """Takes every caller for the operator of this machine: for requests that never left the process."""

    async def actor(self, key: str) -> Actor:  # noqa: ARG002 - whatever is presented
        """The system itself."""
        return SYSTEM


def _usable(record: KeyRecord, now: datetime) -> bool:
    """`revoked_at` may lie ahead: a rotated key stays valid for its overlap."""
    ended = any(moment is not None and moment <= now for moment in (record.expires_at, record.revoked_at))
    return record.is_active and not ended


def _actor(record: KeyRecord) -> Actor:
    return Actor(
        user_id=record.user_id,
        key_id=record.id,
        is_admin=record.is_admin and (not record.scopes or Scope.ADMIN in record.scopes),
        scopes=record.scopes,
        community_id=record.community_id,
        roles=record.roles,
        name=record.user_name,
        key_expires_at=record.expires_at,
    )
