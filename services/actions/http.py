"""`core.http`, and the requests that packs declare: a real call, bounded in time and size."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import orjson

from models.records import ErrorType
from services.actions.addresses import AddressRefused
from services.actions.outcome import ActionFailed, Call

if TYPE_CHECKING:
    import httpx  # imported when the first call is made: it takes a tenth of the server's start

CONNECT_DELAYS_S = (0.1, 0.5)
DEFAULT_TIMEOUT_S = 30.0


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
        try:
            answer = await self._send(call, given)
        except AddressRefused as error:
            raise ActionFailed(str(error), kind=ErrorType.VALIDATION, details={"host": error.host}) from error
        except httpx.TimeoutException as error:
            raise ActionFailed(f"no answer in time from {given.get('url')}", kind=ErrorType.TIMEOUT) from error
        except (httpx.InvalidURL, httpx.UnsupportedProtocol, ValueError, TypeError) as error:
            raise ActionFailed(f"bad request: {error}", kind=ErrorType.VALIDATION) from error
        except httpx.HTTPError as error:
            raise ActionFailed(f"{given.get('url')}: {error}", kind=ErrorType.API_ERROR) from error
        return _judged(answer, given.get("expected_status"))

    async def close(self) -> None:
        """Close the pool."""
        if self._client is not None:
            await self._client.aclose()

    async def _send(self, call: Call, given: Mapping[str, Any]) -> dict[str, Any]:
        import httpx

        if self._client is None:
            self._client = self._open()
        for delay in (*CONNECT_DELAYS_S, None):
            try:
                return await self._exchange(self._client, call, given)
            except httpx.ConnectError:
                if delay is None:
                    raise
                await asyncio.sleep(delay)
        raise AssertionError("unreachable")

    async def _exchange(self, client: httpx.AsyncClient, call: Call, given: Mapping[str, Any]) -> dict[str, Any]:
        import httpx

        request = client.build_request(
            given.get("method", "GET"),
            given["url"],
            headers=_headers(call, given),
            params=given.get("params"),
            content=_content(given),
            data=given.get("form"),
            timeout=httpx.Timeout(given.get("timeout_seconds") or call.timeout_s or DEFAULT_TIMEOUT_S, connect=10.0),
        )
        limit = min(given.get("max_response_bytes") or self._max_bytes, self._max_bytes)
        answer = await client.send(request, stream=True, follow_redirects=given.get("follow_redirects", True))
        try:
            body = await _read(answer, limit)
        finally:
            await answer.aclose()
        call.log(f"{request.method} {request.url.copy_with(query=None)} -> {answer.status_code}")
        return {
            "status": answer.status_code,
            "headers": dict(answer.headers),
            "body": _decoded(answer, body),
            "url": str(answer.url),
        }


def _headers(call: Call, given: Mapping[str, Any]) -> dict[str, str]:
    headers = {str(k): str(v) for k, v in (given.get("headers") or {}).items()}
    known = {name.lower() for name in headers}
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


async def _read(answer: httpx.Response, limit: int) -> bytes:
    parts, size = [], 0
    async for part in answer.aiter_bytes():
        size += len(part)
        if size > limit:
            raise ActionFailed(f"the response is larger than {limit:,} bytes", kind=ErrorType.LIMIT)
        parts.append(part)
    return b"".join(parts)


def _decoded(answer: httpx.Response, body: bytes) -> Any:
    kind = answer.headers.get("content-type", "")
    if "json" in kind and body:
        try:
            return orjson.loads(body)
        except orjson.JSONDecodeError:
            pass
    if not body:
        return None
    return body.decode(answer.charset_encoding or "utf-8", "replace")


def _judged(answer: dict[str, Any], expected: Any) -> dict[str, Any]:
    status = answer["status"]
    fine = status in expected if expected else status < 400
    if not fine:
        raise ActionFailed(
            f"{answer['url']} answered {status}", kind=ErrorType.API_ERROR, details={"status": status}, output=answer
        )
    return answer
