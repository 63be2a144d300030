"""What surrounds every request: its id, its clock, its counters, and the headers every answer carries."""

from __future__ import annotations

import re
import time
from contextvars import ContextVar
from typing import Any

from quart import Quart, Request, Response, request
from quart.sessions import NullSession, SessionInterface

from controllers.context import services
from controllers.guards import ALLOWANCE
from models.records import uuid7
from services.access.audit import REQUEST_ID
from services.errors import BadRequest

STARTED: ContextVar[float] = ContextVar("started")
_REQUEST_ID = re.compile(r"[\x21-\x7e][\x20-\x7e]{0,127}")
_HEADERS = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store"}


class EdgeRequest(Request):
    """A request whose body limit depends on its path, enforced while the body arrives."""

    large_bodies: dict[str, int] = {}  # noqa: RUF012 - filled once by `install`

    def __init__(self, method: str, scheme: str, path: str, *rest: Any, **named: Any) -> None:
        limit = self.large_bodies.get(path)
        if limit is not None:
            named["max_content_length"] = limit
        super().__init__(method, scheme, path, *rest, **named)


class NoSessions(SessionInterface):
    """There are no sessions; every request gets the same empty one."""

    nothing = NullSession()

    async def open_session(self, app: Quart, request: Any) -> NullSession:  # noqa: ARG002 - the framework's signature
        """Nothing to open."""
        return self.nothing


def install(app: Quart, *, max_body_bytes: int, large_bodies: dict[str, int]) -> None:
    """Put the edge around `app`. `large_bodies`: paths with a body limit of their own, in bytes."""
    app.config["MAX_CONTENT_LENGTH"] = max_body_bytes
    sized: type[Request] = type("SizedRequest", (EdgeRequest,), {"large_bodies": large_bodies})
    app.request_class = sized
    sessionless: Any = NoSessions()
    app.session_interface = sessionless
    app.before_request(before)
    app.after_request(after)


async def before() -> None:
    """Name the request and refuse what no database can keep."""
    STARTED.set(time.perf_counter())
    ALLOWANCE.set(None)
    given = request.headers.get("X-Request-ID", "")
    REQUEST_ID.set(given if _REQUEST_ID.fullmatch(given) else str(uuid7()))
    if "\x00" in request.path or b"%00" in request.query_string:
        raise BadRequest("The character NUL cannot be kept")


async def after(response: Response) -> Response:
    """Echo the id, say what is left of the allowance, count."""
    headers = response.headers
    headers["X-Request-ID"] = REQUEST_ID.get()
    for name, value in _HEADERS.items():
        headers.setdefault(name, value)
    allowance = ALLOWANCE.get()
    if allowance is not None:
        headers["RateLimit-Limit"] = str(allowance.limit)
        headers["RateLimit-Remaining"] = str(allowance.remaining)
        headers["RateLimit-Reset"] = str(round(allowance.reset_s))
    route = request.url_rule.rule if request.url_rule is not None else "unmatched"
    seconds = time.perf_counter() - STARTED.get()
    services().metrics.observe_request(request.method, route, response.status_code, seconds)
    return response
