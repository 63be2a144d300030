"""`core.http`, and the requests that packs declare: a real call, bounded in time and size.

Redirects are followed here, one hop after the other: what was meant for one origin is not sent to another.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import orjson

from models.records import ErrorType
from services.actions.addresses import AddressRefused
from services.actions.http_body import ACCEPTED, decoded, read
from services.actions.outcome import ActionFailed, Call

if TYPE_CHECKING:
    import httpx  # imported when the first call is made: it takes a tenth of the server's start

CONNECT_DELAYS_S = (0.1, 0.5)
DEFAULT_TIMEOUT_S = 30.0
CONNECT_S = 10.0
MAX_REDIRECTS = 10
SENT_ANYWHERE = frozenset(
    [
        "accept",
        "accept-encoding",
        "accept-language",
        "content-type",
        "content-length",
        "host",
        "traceparent",
        "user-agent",
    ]
)
"""Headers that a redirect to another origin keeps; any other may be a secret."""
DEFAULT_PORTS = {"http": 80, "https": 443}


class HttpRunner:
    """Carries out HTTP calls with one pooled client, opened on first use. `max_bytes` bounds a response body."""

    def __init__(self, open_client: Callable[[], httpx.AsyncClient], *, max_bytes: int) -> None:
        self._open = open_client
        self._client: httpx.AsyncClient | None = None
        self._max_bytes = max_bytes

    async def perform(self, call: Call) -> dict[str, Any]:
        """Make the request that `call.input` describes; raises ActionFailed for refusals and unexpected answers."""
        import httpx

        given: Mapping[str, Any] = call.input
        limit_s = given.get("timeout_seconds") or call.timeout_s or DEFAULT_TIMEOUT_S
        try:
            async with asyncio.timeout(limit_s):
                answer = await self._exchange(call, given, limit_s)
        except AddressRefused as error:
            raise ActionFailed(str(error), kind=ErrorType.VALIDATION, details={"host": error.host}) from error
        except (httpx.TimeoutException, TimeoutError) as error:
            raise ActionFailed(f"no answer in time from {given.get('url')}", kind=ErrorType.TIMEOUT) from error
        except (httpx.InvalidURL, httpx.UnsupportedProtocol, httpx.LocalProtocolError, ValueError, TypeError) as error:
            raise ActionFailed(f"bad request: {error}", kind=ErrorType.VALIDATION) from error
        except httpx.HTTPError as error:
            raise ActionFailed(f"{given.get('url')}: {error}", kind=ErrorType.API_ERROR) from error
        return _judged(answer, given.get("expected_status"))

    async def close(self) -> None:
        """Close the pool."""
        if self._client is not None:
            await self._client.aclose()

    async def _exchange(self, call: Call, given: Mapping[str, Any], limit_s: float) -> dict[str, Any]:
        import httpx

        if self._client is None:
            self._client = self._open()
        client = self._client
        request = client.build_request(
            given.get("method", "GET"),
            given["url"],
            headers=_headers(call, given),
            params=given.get("params"),
            content=_content(given),
            data=given.get("form"),
            timeout=httpx.Timeout(limit_s, connect=CONNECT_S),
        )
        follow = given.get("follow_redirects", True)
        for _ in range(MAX_REDIRECTS + 1):
            answer = await _sent(client, request)
            shown = request.url.copy_with(userinfo=b"", query=None)
            call.log(f"{request.method} {shown} -> {answer.status_code}")
            if answer.next_request is None or not follow:
                return await self._taken(answer, given)
            await answer.aclose()
            request = _next(request, answer.next_request)
        raise ActionFailed(f"more than {MAX_REDIRECTS} redirects from {given['url']}", kind=ErrorType.API_ERROR)

    async def _taken(self, answer: httpx.Response, given: Mapping[str, Any]) -> dict[str, Any]:
        limit = min(given.get("max_response_bytes") or self._max_bytes, self._max_bytes)
        try:
            body = await read(answer, limit)
        finally:
            await answer.aclose()
        return {
            "status": answer.status_code,
            "headers": dict(answer.headers),
            "body": decoded(answer, body),
            "url": str(answer.url),
        }


async def _sent(client: httpx.AsyncClient, request: httpx.Request) -> httpx.Response:
    """Send one request. It is tried again only when no connection came about, so that it cannot arrive twice."""
    import httpx

    for delay in (*CONNECT_DELAYS_S, None):
        try:
            return await client.send(request, stream=True, follow_redirects=False)
        except httpx.ConnectError:
            if delay is None:
                raise
            await asyncio.sleep(delay)
    raise AssertionError("unreachable")


def _next(request: httpx.Request, following: httpx.Request) -> httpx.Request:
    """The request a redirect asks for, without anything another origin has no business with."""
    if _origin(request.url) == _origin(following.url) or _is_upgrade(request.url, following.url):
        return following
    if following.headers.get("content-length", "0") != "0":
        message = f"{request.url.host} redirects to {following.url.host}, where a body is not sent on to"
        raise ActionFailed(message, kind=ErrorType.API_ERROR)
    for name in following.headers.keys() - SENT_ANYWHERE:
        del following.headers[name]
    return following


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port or DEFAULT_PORTS.get(url.scheme)


def _is_upgrade(old: httpx.URL, new: httpx.URL) -> bool:
    """Whether the same host is only asked more safely."""
    return _origin(old) == ("http", new.host, 80) and _origin(new) == ("https", old.host, 443)


def _headers(call: Call, given: Mapping[str, Any]) -> dict[str, str]:
    headers = {str(k): str(v) for k, v in (given.get("headers") or {}).items()}
    known = {name.lower() for name in headers}
    if "accept-encoding" not in known:
        headers["Accept-Encoding"] = ACCEPTED
    if call.key and "idempotency-key" not in known:
        headers["Idempotency-Key"] = call.key
    if call.traceparent and "traceparent" not in known:
        headers["traceparent"] = call.traceparent
    if "json" in given and "content-type" not in known:
        headers["Content-Type"] = "application/json"
    return headers


def _content(given: Mapping[str, Any]) -> bytes | None:
    if "json" in given:
        return orjson.dumps(given["json"], option=orjson.OPT_SORT_KEYS)
    body = given.get("body")
    return body.encode("utf-8", "surrogatepass") if isinstance(body, str) else None


def _judged(answer: dict[str, Any], expected: Any) -> dict[str, Any]:
    status = answer["status"]
    fine = status in expected if expected else status < 400
    if not fine:
        raise ActionFailed(
            f"{answer['url']} answered {status}", kind=ErrorType.API_ERROR, details={"status": status}, output=answer
        )
    return answer
