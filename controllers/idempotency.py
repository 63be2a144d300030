"""The `Idempotency-Key` of a request."""

from __future__ import annotations

import re

from quart import Response, request

from controllers.context import actor
from services.errors import Invalid
from services.idempotency import Wanted

_KEY = re.compile(r"[\x21-\x7e][\x20-\x7e]{0,254}")


def wanted(body: bytes) -> Wanted | None:
    """What the client wants to happen once at most; None when it did not say.

    Raises `Invalid` for a key that is not 1 to 255 printable characters.
    """
    key = request.headers.get("Idempotency-Key")
    if key is None:
        return None
    if not _KEY.fullmatch(key):
        message = "an Idempotency-Key is 1 to 255 printable ASCII characters"
        raise Invalid(message, errors=[{"loc": ["header", "Idempotency-Key"], "message": message, "type": "header"}])
    return Wanted.of(body, user_id=actor().user_id, key=key, route=f"{request.method} {request.path}")


def replayed(response: Response) -> Response:
    """Mark an answer as given before."""
    response.headers["Idempotency-Replayed"] = "true"
    return response
