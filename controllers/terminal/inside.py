"""Requests that never leave this process: an httpx transport that calls the app, and hands its answer on as it comes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from types import TracebackType
from typing import Any

import httpx

App = Callable[[Any, Callable[[], Awaitable[Any]], Callable[[Any], Awaitable[None]]], Awaitable[Any]]
AHEAD = 16
"""How many pieces of an answer may wait for their reader."""


class Inside(httpx.AsyncBaseTransport):
    """Calls an ASGI app. Used as a context, which owns the calls."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._calls = asyncio.TaskGroup()

    async def __aenter__(self) -> Inside:
        await self._calls.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        await self._calls.__aexit__(kind, error, trace)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Start the call and come back with the head of its answer."""
        call = _Call(await request.aread())
        task = self._calls.create_task(call.run(self._app, _scope(request)))
        head = await call.sent.get()
        return httpx.Response(
            head["status"], headers=head["headers"], stream=_Body(call, task), extensions={"http_version": b"HTTP/1.1"}
        )


class _Call:
    """One call of the app: what it receives and what it sent."""

    def __init__(self, body: bytes) -> None:
        self._body: bytes | None = body
        self.sent: asyncio.Queue[Any] = asyncio.Queue(AHEAD)

    async def run(self, app: App, scope: dict[str, Any]) -> None:
        await app(scope, self._receive, self.sent.put)

    async def _receive(self) -> dict[str, Any]:
        if self._body is None:
            await asyncio.Event().wait()  # the caller stays until it is answered, or cancels the call
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}


class _Body(httpx.AsyncByteStream):
    def __init__(self, call: _Call, task: asyncio.Task[None]) -> None:
        self._call = call
        self._task = task

    async def __aiter__(self) -> AsyncIterator[bytes]:
        more = True
        while more:
            part = await self._call.sent.get()
            more = part.get("more_body", False)
            if part["body"]:
                yield part["body"]

    async def aclose(self) -> None:
        self._task.cancel()


def _scope(request: httpx.Request) -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": request.method,
        "scheme": request.url.scheme,
        "path": request.url.path,
        "raw_path": request.url.raw_path.split(b"?")[0],
        "query_string": request.url.query,
        "root_path": "",
        "headers": [(name.lower(), value) for name, value in request.headers.raw],
        "client": None,
        "server": None,
        "extensions": {},
    }
