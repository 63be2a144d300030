"""On whose behalf something is done."""

from __future__ import annotations

from dataclasses import dataclass

from services.access.actor import Actor
from services.idempotency import Wanted


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """The actor, the request, and the community it named as its context."""

    actor: Actor
    request_id: str | None = None
    community_id: int | None = None
    once: Wanted | None = None
    """The request carried an `Idempotency-Key`: what it makes, it makes once."""
