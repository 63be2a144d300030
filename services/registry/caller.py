"""On whose behalf something is done."""

from __future__ import annotations

from msgspec import Struct

from services.access.actor import Actor
from services.idempotency import Wanted


class Caller(Struct, frozen=True, kw_only=True):
    """The actor, the request, and the community it named as its context."""

    actor: Actor
    request_id: str | None = None
    community_id: int | None = None
    once: Wanted | None = None
    """The request carried an `Idempotency-Key`: what it makes, it makes once."""
