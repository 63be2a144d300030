"""What surrounds every request: its id, its clock, its counters, and the headers every answer carries."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from typing import Any

from quart import Quart, Request, Response
from quart.sessions import NullSession, SessionInterface
from werkzeug.routing import IntegerConverter, Map

from controllers.connection import App, Connection
from controllers.context import ACTOR, HERE, Services
from controllers.guards import ALLOWANCE
from models.records import uuid7_text
from services.access.actor import ANONYMOUS
from services.access.audit import DENIAL_NOTED, REQUEST_ID
from services.errors import BadRequest

_REQUEST_ID = re.compile(r"[\x21-\x7e][\x20-\x7e]{0,127}")
_DEFAULTS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
)
Header = tuple[bytes, bytes]


class EdgeRequest(Request):
    """A request whose body limit depends on its path, enforced while the body arrives."""

    large_bodies: dict[str, int] = {}  # noqa: RUF012 - filled once by `install`
    arrived_whole = False

    def __init__(self, method: str, scheme: str, path: str, *rest: Any, **named: Any) -> None:
        limit = self.large_bodies.get(path)
        if limit is not None:
            named["max_content_length"] = limit
        super().__init__(method, scheme, path, *rest, **named)


class Id(IntegerConverter):
    """The number of a user or a community in a path: `<id:user_id>`.

    A pattern, because a limit is checked so late that a number beyond it is answered with 405.
    """

    regex = "[1-9][0-9]{0,15}"

    def __init__(self, in_map: Map) -> None:
        super().__init__(in_map, min=1)


class NoSessions(SessionInterface):
    """There are no sessions; every request gets the same empty one."""

    nothing = NullSession()

    async def open_session(self, app: Quart, request: Any) -> NullSession:  # noqa: ARG002 - the framework's signature
        """Nothing to open."""
        return self.nothing


class Edge:
    """Both halves of what happens around a route."""

    def __init__(self, here: Services) -> None:
        self._here = here

    def begin(self, scope: Any) -> float:
        """Name the request and start its clock; yields the time for `end`."""
        HERE.set(self._here)
        ALLOWANCE.set(None)
        ACTOR.set(ANONYMOUS)
        DENIAL_NOTED.set(False)
        given = raw_header(scope, b"x-request-id")
        REQUEST_ID.set(given if given and _REQUEST_ID.fullmatch(given) else uuid7_text())
        return time.perf_counter()

    def check(self, scope: Any) -> None:
        """Refuse what no database can keep."""
        if "\x00" in scope["path"] or b"%00" in scope["query_string"]:
            raise BadRequest("The character NUL cannot be kept")

    def end(self, request: Request, response: Response, started: float) -> None:
        """Count the answer."""
        rule = request.url_rule.rule if request.url_rule is not None else "unmatched"
        self.count(request.method, rule, response.status_code, started)

    def count(self, method: str, rule: str, status: int, started: float) -> None:
        """Count an answer by its route."""
        self._here.metrics.observe_request(method, rule, status, time.perf_counter() - started)

    def headers(self, given: Iterable[tuple[str, str]]) -> list[Header]:
        """The headers of an answer as they are sent: its own, the id, the allowance, and safe defaults."""
        headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in given]
        own = {name for name, _ in headers}
        headers.extend(default for default in _DEFAULTS if default[0] not in own)
        headers.append((b"x-request-id", REQUEST_ID.get().encode("latin-1")))
        allowance = ALLOWANCE.get()
        if allowance is not None:
            headers.append((b"ratelimit-limit", b"%d" % allowance.limit))
            headers.append((b"ratelimit-remaining", b"%d" % allowance.remaining))
            headers.append((b"ratelimit-reset", b"%d" % round(allowance.reset_s)))
        return headers


def raw_header(scope: Any, name: bytes) -> str | None:
    """A header by its lower-case name, read where the server put it; ten times quicker than a miss in `headers`."""
    for key, value in scope["headers"]:
        if key == name:
            return bytes(value).decode("latin-1")
    return None


def install(app: App, here: Services, *, max_body_bytes: int, large_bodies: dict[str, int]) -> None:
    """Put the edge around `app`. `large_bodies`: paths with a body limit of their own, in bytes.

    `before_request` and `after_request` of Quart are not called: what surrounds every request is here, what
    concerns a route is a decorator of that route.
    """
    app.config["MAX_CONTENT_LENGTH"] = max_body_bytes
    app.url_map.converters["id"] = Id
    sized: type[Request] = type("SizedRequest", (EdgeRequest,), {"large_bodies": large_bodies})
    app.request_class = sized
    sessionless: Any = NoSessions()
    app.session_interface = sessionless
    app.asgi_http_class = Connection
    app.edge = Edge(here)
    app.gate = here.gate
