"""uvicorn around the app: fast loop and parser, a graceful end, a second signal that ends at once."""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from controllers.envelope import JSON, Refusal, dumps, refusal_body

SWITCH_S = 0.02
"""How long a thread keeps the interpreter while another waits for it (Python's own: 0.005).

Each forced change costs two wake-ups, and the database's thread asks for the interpreter many times a commit: with four
times the patience the loop does what it has to do and then waits anyway, for a sixth less processor time.
"""
GC_THRESHOLDS = (20_000, 50, 100)
"""Objects of a request die young; what lives on was frozen at the start."""


MAX_HEAD_BYTES = 64 * 1024
"""Request line and headers; the parser itself would take any number."""


def _turned_away(status: bytes, code: str, message: str, *headers: bytes) -> bytes:
    """An answer in the shape of every error, to what never became a request; it ends the connection."""
    refusal = Refusal(status=int(status[:3]), code=code, message=message, details={}, request_id="-", instance="")
    body = dumps(refusal_body(refusal))
    fields = (b"content-type: " + JSON.encode(), b"connection: close", b"content-length: %d" % len(body), *headers)
    return b"\r\n".join((b"HTTP/1.1 " + status, *fields, b"", body))


TOO_MANY = _turned_away(b"503 Service Unavailable", "SERVICE_UNAVAILABLE", "Too many connections", b"retry-after: 1")
SPARE_FILES = 256
"""Descriptors for everything that is no client: databases, calls to others, logs."""


class Corked:
    """A transport that sends the head of an answer together with what follows it: one system call instead of two."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self._head = b""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def is_closing(self) -> bool:
        """Whether nothing can be sent any more."""
        closing: bool = self._transport.is_closing()
        return closing

    def write(self, data: bytes) -> None:
        """Send; a head that ends here is kept until the loop's next turn."""
        if self._head:
            data, self._head = self._head + data, b""
        elif data.startswith(b"HTTP/1.1 ") and data.endswith(b"\r\n\r\n"):
            self._head = data
            asyncio.get_running_loop().call_soon(self.flush)
            return
        self._transport.write(data)

    def flush(self) -> None:
        """Send what was kept."""
        if self._head:
            data, self._head = self._head, b""
            self._transport.write(data)

    def close(self) -> None:
        """Send what was kept, then close."""
        self.flush()
        self._transport.close()


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol, refusing a head that does not come to its end."""

    in_head = True
    head_bytes = 0
    most_connections = 2000

    def connection_made(self, transport: Any) -> None:
        """Somebody has connected. One too many is told to come back."""
        super().connection_made(Corked(transport))  # type: ignore[arg-type]  # as much of a transport as is used
        if len(self.connections) > self.most_connections:
            self.transport.write(TOO_MANY)
            self.transport.close()

    def on_message_begin(self) -> None:
        """A request begins."""
        self.in_head, self.head_bytes = True, 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The head is over."""
        self.in_head = False
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """What the parser cannot read, or will not."""
        self.transport.write(_turned_away(b"400 Bad Request", "BAD_REQUEST", msg))
        self.transport.close()

    def data_received(self, data: bytes) -> None:
        """Bytes of the client."""
        super().data_received(data)
        if self.in_head:
            self.head_bytes += len(data)
            if self.head_bytes > MAX_HEAD_BYTES:
                self.send_400_response("The request head is too large")


@dataclass(frozen=True, slots=True, kw_only=True)
class Listen:
    """Where to listen, how long open requests may take when the server ends, how many may be connected."""

    host: str
    port: int
    drain_s: int
    most_connections: int = 2000


def settle() -> None:
    """Let the garbage collector work from now on, and leave alone what is here already: it stays."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    gc.enable()


class Server(uvicorn.Server):
    """A server that says where it listens and hears every signal once."""

    def __init__(
        self, config: uvicorn.Config, *, on_started: Callable[[str], None], on_stop: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self._on_started = on_started
        self._on_stop = on_stop
        self._loop: asyncio.AbstractEventLoop | None = None

    async def startup(self, sockets: Any = None) -> None:
        """Start listening."""
        await super().startup(sockets)
        self._loop = asyncio.get_running_loop()
        if self.started:
            sys.setswitchinterval(SWITCH_S)
            settle()
            self._on_started(self.address)

    @property
    def address(self) -> str:
        """The URL under which the server listens, also when the port was chosen by the system."""
        host, port = self.servers[0].sockets[0].getsockname()[:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal lets work end, the second ends it."""
        del frame
        if self.should_exit:
            os._exit(128 + sig)
        self.should_exit = True
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._on_stop)


def connections_for(wanted: int) -> int:
    """Let this process open so many connections and what it needs besides; fewer when the system does not allow them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + SPARE_FILES
    if soft != resource.RLIM_INFINITY and soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return wanted if soft == resource.RLIM_INFINITY else max(16, min(wanted, soft - SPARE_FILES))


def serve(app: Any, listen: Listen, *, on_started: Callable[[str], None], on_stop: Callable[[], None]) -> None:
    """Serve until a signal comes. Raises `SystemExit` when the address is taken or the app cannot start."""
    most = connections_for(listen.most_connections)
    config = uvicorn.Config(
        app,
        host=listen.host,
        port=listen.port,
        loop="uvloop",
        http=type("Protocol", (BoundedProtocol,), {"most_connections": most}),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=listen.drain_s,
    )
    Server(config, on_started=on_started, on_stop=on_stop).run()
