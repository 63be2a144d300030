"""The HTTP contract as a command speaks it: to a server, or to the app inside this process. The answers are the same."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

if TYPE_CHECKING:  # heavy, and `--help` needs none of it
    import httpx

FAILED, USAGE, UNREACHABLE = 1, 2, 3
PER_PAGE = 100
PATIENCE_S = 60.0
"""How long a server may take for one answer."""
LONG_S = 3600.0
"""The same for answers that read a whole table."""
MOST_REFUSALS = 10
"""How often "too many requests" is waited out."""


class CommandFailed(Exception):
    """What the user is told instead of an answer. `problems`: items with `loc` and `message`; `kind`: the error code."""

    def __init__(
        self, message: str, code: int = FAILED, problems: Sequence[Mapping[str, Any]] = (), kind: str | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.problems = problems
        self.kind = kind


class Api:
    """A server and the way to it. `where`: for messages; `is_inside`: this process answers, nobody else is needed."""

    def __init__(self, client: httpx.AsyncClient, where: str, *, is_inside: bool) -> None:
        self._client = client
        self.where = where
        self.is_inside = is_inside

    async def data(self, method: str, path: str, body: Any = None, **query: Any) -> Any:
        """`data` of the answer. Raises CommandFailed for everything that is not a success."""
        return (await self.call(method, path, body, **query))["data"]

    async def call(self, method: str, path: str, body: Any = None, **query: Any) -> dict[str, Any]:
        """The whole answer; `query` without a value is left out, `idempotency_key` goes into the head."""
        once = query.pop("idempotency_key", None)
        headers = {"Idempotency-Key": once} if once else {}
        given = {name: _text(value) for name, value in query.items() if value is not None}
        limit = LONG_S if path.endswith("/verify") else PATIENCE_S
        for _ in range(MOST_REFUSALS):
            answer = await self._sent(method, f"/api/v1{path}", json=body, params=given, headers=headers, timeout=limit)
            if answer.status_code != 429:
                break
            await asyncio.sleep(float(answer.headers.get("Retry-After", "1")))
        found = self._read(answer.content)
        if answer.is_success:
            return found
        raise self._refusal(answer.status_code, found)

    async def is_paused(self) -> bool:
        """Whether an operator has paused everything there."""
        answer = await self._sent("GET", "/health", timeout=PATIENCE_S)
        return answer.is_success and json.loads(answer.content).get("paused") is True

    async def rows(self, path: str, *, count: int, **query: Any) -> list[dict[str, Any]]:
        """The first rows of a list, over as many pages as they take."""
        rows: list[dict[str, Any]] = []
        cursor = None
        while len(rows) < count:
            page = await self.call("GET", path, per_page=min(PER_PAGE, count - len(rows)), cursor=cursor, **query)
            rows += page["data"]
            cursor = page["meta"]["pagination"]["next_cursor"]
            if cursor is None:
                break
        return rows

    async def lines(self, path: str, **query: Any) -> AsyncGenerator[bytes]:
        """The lines of an NDJSON answer as they come."""
        given = {name: _text(value) for name, value in query.items() if value is not None}
        async with self._stream(path, given) as answer:
            if not answer.is_success:
                raise self._refusal(answer.status_code, self._read(await answer.aread()))
            rest = b""
            async for part in answer.aiter_raw():
                *lines, rest = (rest + part).split(b"\n")
                for line in lines:
                    yield line
            if rest:
                raise CommandFailed(f"{self.where} ended its answer in the middle of a line", UNREACHABLE)

    @asynccontextmanager
    async def _stream(self, path: str, query: Mapping[str, str]) -> AsyncIterator[httpx.Response]:
        import httpx

        try:
            async with self._client.stream(
                "GET", f"/api/v1{path}", params=query, headers={"Accept": "application/x-ndjson"}, timeout=LONG_S
            ) as answer:
                yield answer
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self._unreachable(error) from error

    async def _sent(self, method: str, path: str, **given: Any) -> httpx.Response:
        import httpx

        try:
            return await self._client.request(method, path, **given)
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            raise self._unreachable(error) from error

    def _unreachable(self, error: Exception) -> CommandFailed:
        reason = str(error) or type(error).__name__
        return CommandFailed(
            f"No server answers at {self.where}: {reason}; start it, or say where it is with --url or MILLRACE_URL",
            UNREACHABLE,
        )

    def _read(self, content: bytes) -> dict[str, Any]:
        try:
            found = json.loads(content)
            if isinstance(found, dict) and isinstance(found.get("success"), bool):
                return found
        except ValueError:
            pass  # said below, as what is JSON and not ours is
        raise CommandFailed(f"What answers at {self.where} is not a Millrace server", UNREACHABLE)

    def _refusal(self, status: int, found: Mapping[str, Any]) -> CommandFailed:
        message = str(found.get("message"))
        problems = (found.get("details") or {}).get("errors", ())
        if status == 401:
            message = f"{message}: the server at {self.where} does not take this key (--key or MILLRACE_KEY)"
        code = UNREACHABLE if status == 503 else FAILED
        return CommandFailed(message, code, problems, found.get("error_code"))


def at(*parts: Any) -> str:
    """A path of these parts, each one whatever it contains."""
    return "".join(f"/{quote(str(part), safe='@')}" for part in parts)


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
