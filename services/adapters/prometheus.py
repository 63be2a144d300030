"""Range queries to a Prometheus server."""

from __future__ import annotations

import asyncio

import httpx
import orjson

from services.errors import BadRequest, Unavailable
from services.insight.sources import Fetched, Wanted

TIMEOUT_S = 30.0
MAX_BYTES = 64 * 1024 * 1024
_NOT_UNDERSTOOD = frozenset({400, 422})


class Prometheus:
    """One server. `authorization` is sent as the Authorization header; user and password may be in the URL."""

    def __init__(self, url: str, *, authorization: str | None = None, timeout_s: float = TIMEOUT_S) -> None:
        self._url = httpx.URL(url.rstrip("/") + "/api/v1/query_range")
        self._headers = {"Authorization": authorization} if authorization else {}
        self._timeout_s = timeout_s
        self._client: httpx.AsyncClient | None = None

    async def fetch(self, wanted: Wanted) -> Fetched:
        """The answer's bytes; BadRequest with Prometheus' own words, Unavailable when it does not answer."""
        form = {
            "query": wanted.query,
            "start": f"{wanted.start.timestamp():.3f}",
            "end": f"{wanted.end.timestamp():.3f}",
            "step": str(wanted.step_s),
            "timeout": f"{int(self._timeout_s * 900)}ms",
        }
        try:
            async with asyncio.timeout(self._timeout_s):
                status, body = await self._ask(form)
        except (httpx.HTTPError, TimeoutError) as error:
            raise Unavailable(f"Prometheus cannot be reached: {type(error).__name__}", retry_after_s=5) from error
        if status != httpx.codes.OK:
            raise _refusal(status, body)
        return Fetched(source="prometheus", prometheus=body)

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    async def _ask(self, form: dict[str, str]) -> tuple[int, bytes]:
        if self._client is None:
            self._client = httpx.AsyncClient(headers=self._headers, timeout=self._timeout_s, follow_redirects=True)
        body = bytearray()
        async with self._client.stream("POST", self._url, data=form) as answer:
            async for chunk in answer.aiter_bytes():
                body += chunk
                if len(body) > MAX_BYTES:
                    raise BadRequest(f"Prometheus answers with more than {MAX_BYTES // 2**20} MiB: narrow the query")
            return answer.status_code, bytes(body)


def _refusal(status: int, body: bytes) -> BadRequest | Unavailable:
    """What an answer other than 200 means."""
    try:
        said = orjson.loads(body)
        words = str(said.get("error") or "") if isinstance(said, dict) else ""
    except orjson.JSONDecodeError:
        words = ""
    if status in _NOT_UNDERSTOOD and words:
        return BadRequest(words)
    reason = f": {words}" if words else ""
    return Unavailable(f"Prometheus answered {status}{reason}", retry_after_s=5)
