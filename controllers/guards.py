"""Who is calling, and may they use this door? Every route names exactly one `Permission`; none means refused.

`@requires(Permission.X)` authenticates, counts against the rate limit and checks the scopes of the key.
Whether the caller may touch the *thing* behind the door is asked of the permission service, with the thing in hand.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from functools import wraps
from typing import Any, Protocol, TypeVar, cast

from quart.globals import request_ctx

from controllers.address import client_address
from controllers.context import ACTOR, Services, request_id, services
from models.records import uuid_text
from services.access import audit
from services.access.actor import ANONYMOUS, Actor
from services.access.audit import Category, Entry, Result
from services.access.permissions import Permission, may_pass
from services.access.ratelimit import Allowance
from services.errors import Denied, KeyEnded, RateLimited, Unauthenticated

__all__ = ["ALLOWANCE", "Permission", "is_public_read", "permission_of", "public", "requires"]

V = TypeVar("V", bound=Callable[..., Awaitable[Any]])
ALLOWANCE: ContextVar[Allowance | None] = ContextVar("allowance", default=None)
_MARK = "__millrace_permission__"
_PUBLIC_READ = "__millrace_public_read__"


class Asked(Protocol):
    """As much of a request as its guards look at."""

    @property
    def scope(self) -> Any:
        """The ASGI scope."""
        ...

    @property
    def path(self) -> str:
        """The path, decoded."""
        ...


def requires(permission: Permission, *, public_read: bool = False) -> Callable[[V], V]:
    """Guard a route; `public_read` also admits the actor `anonymous` where `PUBLIC_READS` opens it."""

    def decorate(view: V) -> V:
        @wraps(view)
        async def guarded(**arguments: Any) -> Any:
            await admit(request_ctx.request, permission, public_read=public_read)
            return await view(**arguments)

        setattr(guarded, _MARK, permission)
        setattr(guarded, _PUBLIC_READ, public_read)
        return cast("V", guarded)

    return decorate


async def admit(of: Asked, permission: Permission, *, public_read: bool = False) -> Actor:
    """Let a caller through the door, or raise why not; from then on it is the `actor()` of the request."""
    here = services()
    caller = await _authenticate(here, of, public_read=public_read)
    ACTOR.set(caller)
    _count(here, of, caller)
    await _check(here, of, caller, permission)
    here.metrics.passed(permission.label)
    return caller


def public(view: V) -> V:
    """A route for everybody; said aloud, because a route that says nothing is refused."""
    setattr(view, _MARK, Permission.PUBLIC)
    return view


def permission_of(view: Callable[..., Any]) -> Permission | None:
    """What a route asks for; None = nobody thought of it."""
    return cast("Permission | None", getattr(view, _MARK, None))


def is_public_read(view: Callable[..., Any]) -> bool:
    """Whether a route may be read without a key where `PUBLIC_READS` opens it."""
    return bool(getattr(view, _PUBLIC_READ, False))


def presented_key(of: Asked) -> str | None:
    """The API key of a request: `X-API-Key`, or `Authorization: Bearer`. Never from the query string."""
    key = bearer = None
    for name, value in of.scope["headers"]:
        if name == b"x-api-key":
            key = value.decode("latin-1").strip()
        elif name == b"authorization" and value[:7].lower() == b"bearer ":
            bearer = value[7:].decode("latin-1").strip()
    return key or bearer or None


def header(of: Asked, name: bytes) -> str | None:
    """A header by its lower-case name, read where the server put it; several of that name are joined by commas."""
    found = [value for key, value in of.scope["headers"] if key == name]
    return b",".join(found).decode("latin-1") if found else None


def address(of: Asked, here: Services) -> str:
    """The client's address, seen through trusted proxies."""
    client = of.scope.get("client")
    peer = client[0] if client else "local"
    return client_address(peer, header(of, b"x-forwarded-for"), here.rules.trusted_proxies)


async def _authenticate(here: Services, of: Asked, *, public_read: bool) -> Actor:
    key = presented_key(of)
    if key is None:
        if public_read and _open_to_public(here, of):
            return ANONYMOUS
        audit.say(_refusal(here, of, "no key"))
        raise Unauthenticated()
    try:
        return await here.authentication.actor(key)
    except KeyEnded as ended:
        _count(here, of, ended.actor)
        await here.audit.write(_refusal(here, of, "expired or revoked key", ended.actor))
        raise
    except Unauthenticated:
        audit.say(_refusal(here, of, "unknown key"))
        raise


def _refusal(here: Services, of: Asked, reason: str, whose: Actor | None = None) -> Entry:
    """Nobody we know stays a line, because a stranger could fill the record; a key that has ended becomes a row."""
    return Entry(
        category=Category.AUTH,
        action="authenticate",
        result=Result.FAILURE,
        actor=whose,
        reason=reason,
        resource=address(of, here),
        request_id=request_id(),
    )


def _open_to_public(here: Services, of: Asked) -> bool:
    """`local`: only callers that come without a proxy, because a proxy makes the world look local."""
    mode = here.rules.public_reads
    forwarded = any(name in (b"forwarded", b"x-forwarded-for") for name, _ in of.scope["headers"])
    return mode == "on" or (mode == "local" and not forwarded)


def _count(here: Services, of: Asked, caller: Actor) -> None:
    anonymous = caller.is_anonymous
    name = address(of, here) if anonymous or caller.key_id is None else uuid_text(caller.key_id)
    allowance = here.limiter.take(name, now_s=time.monotonic(), anonymous=anonymous)
    ALLOWANCE.set(allowance)
    if allowance is not None and allowance.wait_s > 0:
        raise RateLimited(f"More than {allowance.limit} requests a minute", retry_after_s=allowance.wait_s)


async def _check(here: Services, of: Asked, caller: Actor, permission: Permission) -> None:
    if caller.is_anonymous:
        return
    verdict = may_pass(permission, is_admin=caller.is_admin, scopes=caller.scopes, community_id=caller.community_id)
    if verdict:
        return
    await here.audit.write(
        Entry(
            category=Category.AUTHZ,
            action=permission.label,
            result=Result.DENIED,
            actor=caller,
            resource=of.path,
            reason=verdict.reason,
            request_id=request_id(),
        )
    )
    raise Denied(verdict.reason[:1].upper() + verdict.reason[1:])
