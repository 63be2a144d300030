"""Quart with a shorter way from the socket to the route and back.

Quart starts two tasks a request and sends three messages an answer, so that a body may arrive in pieces and an
answer may stream. Most requests here arrive whole and are answered whole: they stay in one task and are sent in two
messages. A client that goes away is still noticed (after `PATIENCE_S`), streams and uploads go Quart's own way.
"""

from __future__ import annotations

import asyncio
import contextlib
from asyncio import sleep
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import lru_cache
from inspect import iscoroutinefunction
from typing import Any, Protocol

from quart import Quart, Request, Response
from quart.asgi import ASGIHTTPConnection
from quart.ctx import RequestContext
from quart.globals import _cv_request as current_request
from quart.wrappers.response import DataBody
from werkzeug.routing import MapAdapter

from controllers.direct import DirectRoute, Whole, find
from controllers.envelope import JSON
from controllers.gate import FULL, HOLDS_S, Gate

PATIENCE_S = 0.2
"""How long a request may run before somebody listens whether its client is still there."""

SMALL = 32 * 1024
"""Answers below this size never wait for a slow client: the server's buffer takes them."""

Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]


class Edge(Protocol):
    """What surrounds every request."""

    def begin(self, scope: Any) -> float:
        """Before the route is looked at."""
        ...

    def check(self, scope: Any) -> None:
        """Refuse a request whatever its route."""
        ...

    def end(self, request: Request, response: Response, started: float) -> None:
        """After the route has answered."""
        ...

    def count(self, method: str, rule: str, status: int, started: float) -> None:
        """After an answer that needed no request."""
        ...

    def headers(self, given: Iterable[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
        """The headers of an answer as they are sent."""
        ...


class App(Quart):
    """Quart, knowing that every function here is async, that no path redirects, and that the edge is the only hook."""

    edge: Edge
    gate: Gate
    direct: Sequence[DirectRoute] = ()

    def __init__(self, name: str) -> None:
        super().__init__(name, static_folder=None)
        self.url_map.strict_slashes = False
        self.url_map.redirect_defaults = False
        self.url_map.merge_slashes = False

    def ensure_async(self, func: Any) -> Any:
        """The function itself, when it is async; looked at once."""
        return func if _is_async(func) else super().ensure_async(func)

    def create_url_adapter(self, request: Any) -> MapAdapter | None:
        """Match by path and method alone: no hosts, no subdomains, so no names to decode."""
        if request is None:
            return super().create_url_adapter(request)
        return MapAdapter(self.url_map, "", "/", "", request.scheme, request.path, request.method)

    async def full_dispatch_request(self, request_context: RequestContext | None = None) -> Any:
        """Dispatch between the two halves of the edge; other hooks are not called, see `edge.install`."""
        context = request_context if request_context is not None else current_request.get()
        request = context.request
        mark = self.edge.begin(request.scope)
        result: Any
        try:
            self.edge.check(request.scope)
            result = await self.dispatch_request(context)
        except Exception as error:  # noqa: BLE001 - the HTTP edge: every error becomes an answer in one place
            result = await self.handle_user_exception(error)
        response: Any = result if isinstance(result, Response) else await self.make_response(result)
        self.edge.end(request, response, mark)
        return response


class Connection(ASGIHTTPConnection):
    """One request and its answer."""

    app: App
    gone = False

    async def __call__(self, receive: Receive, send: Send) -> None:
        """Let a request in, unless there are too many: then it costs nothing but this answer, late where all is."""
        gate = self.app.gate
        reason = gate.obstacle(self.scope)
        if reason is not None:
            await self._turn_away(reason, send)
            return
        gate.enter()
        try:
            await self._let_in(receive, send)
        finally:
            gate.inside -= 1

    async def _turn_away(self, reason: str, send: Send) -> None:
        if self.app.gate.is_late:
            await sleep(HOLDS_S)
        for message in self.app.gate.refusal(self.scope, reason):
            await send(message)

    async def _let_in(self, receive: Receive, send: Send) -> None:
        """Take the short way for a request that arrived whole."""
        first = await receive()
        if first["type"] != "http.request" or first.get("more_body", False):
            await self._in_pieces(_again(first, receive), send)
            return
        body = first.get("body", b"")
        found = find(self.app.direct, self.scope, body)
        if found is not None and not self.scope["query_string"]:  # a start that waits for nothing is soon over
            await self._answer_directly(*found, body, send)
            return
        watch = _Watch(self, receive)
        try:
            if found is not None:
                await self._answer_directly(*found, body, send)
            else:
                await self.handle_request(self._whole_request(body, send), send)
        except asyncio.CancelledError:
            if not self.gone:
                raise
        finally:
            watch.end()

    async def _in_pieces(self, receive: Receive, send: Send) -> None:
        """Quart's own way, while all the bodies that are on their way in together are not too large."""
        gate = self.app.gate
        size = gate.takes_body(self.scope)
        if size is None:
            await self._turn_away(FULL, send)
            return
        try:
            await super().__call__(receive, send)
        finally:
            gate.body_bytes -= size

    def _whole_request(self, body: bytes, send: Send) -> Any:
        request: Any = self._create_request_from_scope(send)
        request.body.set_result(body)
        request.arrived_whole = True
        return request

    async def _answer_directly(self, route: DirectRoute, name: str, body: bytes, send: Send) -> None:
        edge, scope = self.app.edge, self.scope
        mark = edge.begin(scope)
        try:
            answer = await route.view(Whole(scope, body), name)
        except Exception as error:  # noqa: BLE001 - the HTTP edge: every error becomes an answer in one place
            await self._refuse(error, mark, self._whole_request(body, send), send)
            return
        edge.count(route.method, route.rule, answer.status, mark)
        own = (("content-type", JSON), ("content-length", str(len(answer.body))), *answer.headers.items())
        await send({"type": "http.response.start", "status": answer.status, "headers": edge.headers(own)})
        await send({"type": "http.response.body", "body": answer.body, "more_body": False})

    async def _refuse(self, error: Exception, mark: float, request: Any, send: Send) -> None:
        """Answer an error where Quart's handlers find what they look at."""
        async with self.app.request_context(request):
            response: Any = await self.app.handle_user_exception(error)
            self.app.edge.end(request, response, mark)
        await self._send_response(send, response)

    async def handle_request(self, request: Any, send: Send) -> None:
        """Answer; a stream may take as long as its response says, everything else as long as Quart allows."""
        response: Any = await self.app.handle_request(request)
        limit = self.app.config["RESPONSE_TIMEOUT"] if response.timeout is Ellipsis else response.timeout
        if isinstance(response.response, DataBody) and len(response.response.data) < SMALL:
            await self._send_response(send, response)
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit):
                await self._send_response(send, response)

    async def _send_response(self, send: Send, response: Any) -> None:
        headers = self.app.edge.headers(response.headers)
        await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
        body = response.response
        if isinstance(body, DataBody):
            await send({"type": "http.response.body", "body": body.data[body.begin : body.end], "more_body": False})
            return
        async with body as chunks:
            async for chunk in chunks:
                data = chunk.encode() if isinstance(chunk, str) else chunk
                await send({"type": "http.response.body", "body": data, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


class _Watch:
    """Cancels a request whose client went away, once it has run for a while."""

    def __init__(self, connection: Connection, receive: Receive) -> None:
        self._connection = connection
        self._receive = receive
        self._request = asyncio.current_task()
        self._task: asyncio.Task[None] | None = None
        self._timer = asyncio.get_running_loop().call_later(PATIENCE_S, self._begin)

    def end(self) -> None:
        """The request has been answered."""
        self._timer.cancel()
        if self._task is not None:
            self._task.cancel()

    def _begin(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._listen())

    async def _listen(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        if self._request is not None:
            self._connection.gone = True
            self._request.cancel()


def _again(first: Any, receive: Receive) -> Receive:
    """`receive`, with the message that was taken already in front."""
    waiting = [first]

    async def taken() -> Any:
        return waiting.pop() if waiting else await receive()

    return taken


@lru_cache(maxsize=4096)
def _is_async(func: Any) -> bool:
    return iscoroutinefunction(func)
