"""The `Idempotency-Key` of a request."""

from __future__ import annotations

import re
from typing import Any

from quart import Response
from quart.globals import request_ctx

from controllers.context import actor
from controllers.guards import header
from services.errors import Invalid
from services.idempotency import Wanted

_KEY = re.compile(r"[\x21-\x7e][\x20-\x7e]{0,254}")


def wanted(body: bytes, asked: Any = None) -> Wanted | None:
    """What the client wants to happen once at most; None when it did not say. `asked`: default Quart's request.

    Raises `Invalid` for a key that is not 1 to 255 printable characters.
    """
    of = request_ctx.request if asked is None else asked
    key = header(of, b"idempotency-key")
    if key is None:
        return None
    if not _KEY.fullmatch(key):
        message = "an Idempotency-Key is 1 to 255 printable ASCII characters"
        raise Invalid(message, errors=[{"loc": ["header", "Idempotency-Key"], "message": message, "type": "header"}])
    return Wanted.of(body, user_id=actor().user_id, key=key, route=f"{of.method} {of.path}")


def replayed(response: Response) -> Response:
    """Mark an answer as given before."""
    response.headers["Idempotency-Replayed"] = "true"
    return response
