"""`ETag` and `If-Match`: nobody overwrites what they have not read."""

from __future__ import annotations

from quart import request

from services.errors import PreconditionFailed


def etag(*parts: object) -> str:
    """A strong tag made of what changes with the thing, such as its id and revision."""
    return '"' + "-".join(str(part) for part in parts) + '"'


def check_if_match(current: str) -> None:
    """Compare `If-Match`, when the client sent one.

    Raises `PreconditionFailed` when it names another state.
    """
    given = request.headers.get("If-Match")
    if given is None or given.strip() == "*":
        return
    if current not in (part.strip() for part in given.split(",")):
        raise PreconditionFailed(current=current)


def expected() -> frozenset[str] | None:
    """The states `If-Match` names, for services that compare in the transaction; None = any state will do."""
    given = request.headers.get("If-Match")
    if given is None or given.strip() == "*":
        return None
    return frozenset(tag[1:-1] for part in given.split(",") if (tag := part.strip()).startswith('"') and len(tag) > 1)


def is_fresh(current: str) -> bool:
    """Whether `If-None-Match` names the current state, so that 304 says enough."""
    given = request.headers.get("If-None-Match")
    return given is not None and (
        given.strip() == "*" or current in (part.strip().removeprefix("W/") for part in given.split(","))
    )
