"""The `Idempotency-Key` of a request."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any

from quart import Response
from quart.globals import request_ctx

from controllers import body as bodies
from controllers import envelope
from controllers.context import actor, services
from controllers.guards import header
from services.errors import Invalid
from services.idempotency import Also, Wanted

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


async def harmless(make: Callable[[], Awaitable[Response]]) -> Response:
    """The answer of `make`, which may be done twice without harm; word for word the first one when it was given before.

    Refusals are not kept, so the same request may succeed later.
    """
    if header(request_ctx.request, b"idempotency-key") is None:
        return await make()
    once = wanted(await bodies.raw(limit=services().rules.max_log_body_bytes))
    assert once is not None
    records = services().idempotency
    known = await records.find(once)
    if known is None:
        answer = await make()
        if await records.remember(once, f"{answer.status_code} {await answer.get_data(as_text=True)}"):
            return answer
        known = await records.find(once)  # the same request came twice at once, and all of them say the same
    status, _, text = str(known).partition(" ")
    return replayed(Response(text, status=int(status), content_type=envelope.JSON))


async def once(make: Callable[[Also], Awaitable[Response]], again: Callable[[str], Awaitable[Response]]) -> Response:
    """The answer of `make`; of `again`, marked, when the same request was answered before.

    Nobody in particular has no keys: the public would find each other's.
    """
    named = None if actor().is_anonymous else wanted(await bodies.raw())
    answer, before = await services().idempotency.once(named, make, again)
    return replayed(answer) if before else answer
