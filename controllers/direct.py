"""Routes that are answered before Quart makes a request of them: the hot ones, in their usual form.

Whoever starts executions sends the same small request thousands of times a second. When it arrives whole and as plain
JSON, it needs no request object, no context and no URL map; its guards, limits, headers and counters are the same
functions as everywhere. What is unusual in any way goes Quart's own way, and so does the answer to what is refused.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from msgspec import Struct

from controllers.envelope import Answer

JSON_TYPE = (b"content-type", b"application/json")
LONGEST_QUERY = 64


class Whole(Struct, frozen=True):
    """A request that arrived whole."""

    scope: Any
    body: bytes

    @property
    def path(self) -> str:
        """The path, decoded."""
        path: str = self.scope["path"]
        return path

    @property
    def method(self) -> str:
        """The method."""
        method: str = self.scope["method"]
        return method


View = Callable[[Whole, str], Awaitable[Answer]]


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectRoute:
    """A route whose path is `before`, one name, `after`. `rule`: how Quart calls the same route."""

    method: str
    before: str
    after: str
    rule: str
    view: View
    max_body_bytes: int

    def name(self, scope: Any, body: bytes) -> str | None:
        """The name in the path, when this request is one for us."""
        path: str = scope["path"]
        if scope["method"] != self.method or not path.endswith(self.after) or not path.startswith(self.before):
            return None
        name = path[len(self.before) : -len(self.after)]
        plain = name and "/" not in name and "\x00" not in name and len(scope["query_string"]) <= LONGEST_QUERY
        whole = body[:1] == b"{" and len(body) <= self.max_body_bytes and JSON_TYPE in scope["headers"]
        return name if plain and whole and b"%00" not in scope["query_string"] else None


def find(routes: Sequence[DirectRoute], scope: Any, body: bytes) -> tuple[DirectRoute, str] | None:
    """The direct route of a request and the name in its path."""
    for route in routes:
        name = route.name(scope, body)
        if name is not None:
            return route, name
    return None
