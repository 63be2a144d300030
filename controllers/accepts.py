"""Which form of an answer a client asks for."""

from __future__ import annotations

from werkzeug.datastructures import MIMEAccept
from werkzeug.http import parse_accept_header

JSON = "application/json"


def asks_for(kind: str, header: str) -> bool:
    """Whether an `Accept` header names this media type itself, and JSON not before it (RFC 9110 section 12.5.1)."""
    if kind not in header.lower():
        return False
    named = {name.lower(): quality for name, quality in parse_accept_header(header, MIMEAccept)}
    return named.get(kind, 0) > 0 and named[kind] >= named.get(JSON, 0)
