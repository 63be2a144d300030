"""The same request twice makes one thing: primitives for services that create something.

`once(…)` does all of it. Its parts, for services with transactions of their own: ask `find` first: a resource id means
that the request was answered before, so render that resource again. Otherwise put `call(…)` into the transaction that
creates the resource. `Stale` there means that the same request is being answered by somebody else at this moment: ask
`find` again. Only what was created is remembered, never an error.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar

import models.idempotency
from models.dal import AsyncDAL, Call, Stale
from services.errors import Conflict, IdempotencyMismatch

KEPT = timedelta(hours=24)
T = TypeVar("T")
Also = Callable[[object], Sequence[Call[Any]]]
"""Statements for the transaction that makes a thing, given the thing's id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A request that named an `Idempotency-Key`. `route`: method and path."""

    user_id: int
    key: str
    route: str
    body_hash: str

    @classmethod
    def of(cls, body: bytes, *, user_id: int, key: str, route: str) -> Wanted:
        """From the bytes of the body."""
        return cls(user_id=user_id, key=key, route=route, body_hash=hashlib.sha256(body).hexdigest())


class Idempotency:
    """What was made for which key."""

    def __init__(self, db: AsyncDAL, *, now: Callable[[], datetime]) -> None:
        self._db = db
        self._now = now

    async def once(
        self, wanted: Wanted | None, make: Callable[[Also], Awaitable[T]], again: Callable[[str], Awaitable[T]]
    ) -> tuple[T, bool]:
        """What `make` makes, or `again` of what this request made before; and whether it was before.

        `make` puts the statements it is given into its transaction. Of the same request at the same time, one makes
        the thing and the others answer it. Raises `IdempotencyMismatch`, and what `make` raises.
        """
        if wanted is None:
            return await make(nothing), False
        known = await self.find(wanted)
        if known is None:
            try:
                return await make(self.with_resource(wanted)), False
            except (Stale, Conflict):
                known = await self.find(wanted)
                if known is None:
                    raise
        return await again(known), True

    async def remember(self, wanted: Wanted, answer: str) -> bool:
        """Keep an answer, for what is harmless to do twice; False when another one is kept already."""
        return bool(await models.idempotency.insert(self._db, self.values(wanted, answer)))

    async def find(self, wanted: Wanted) -> str | None:
        """The id of the resource this request made before.

        Raises `IdempotencyMismatch` when the key was used for another request in the last 24 hours.
        """
        row = await models.idempotency.find(self._db, wanted.user_id, wanted.key)
        if row is None:
            return None
        expired_before = self._now() - KEPT
        if row.created < expired_before:
            await models.idempotency.drop(self._db, wanted.user_id, wanted.key, before=expired_before)
            return None
        if (row.route, row.body_hash) != (wanted.route, wanted.body_hash):
            raise IdempotencyMismatch(key=wanted.key)
        return str(row.resource_id)

    def call(self, wanted: Wanted, resource_id: object) -> Call[int]:
        """The record, for the transaction of the resource; undoes it with `Stale` when somebody was faster."""
        return models.idempotency.insert(self._db, self.values(wanted, resource_id)).expect(1)

    def with_resource(self, wanted: Wanted) -> Also:
        """For services that take the statements of their transaction as a function of the new id."""
        return lambda resource_id: [self.call(wanted, resource_id)]

    def values(self, wanted: Wanted, resource_id: object) -> dict[str, Any]:
        """The row, for callers that write it in a grouped commit of their own."""
        return {
            "user_id": wanted.user_id,
            "key": wanted.key,
            "route": wanted.route,
            "body_hash": wanted.body_hash,
            "resource_id": str(resource_id),
            "created": self._now(),
        }

    async def prune(self) -> int:
        """Forget what is older than 24 hours; how many records went."""
        return await models.idempotency.prune(self._db, before=self._now() - KEPT)


def nothing(_: object) -> Sequence[Call[Any]]:
    """No statements: the request named no key."""
    return ()
