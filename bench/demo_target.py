"""A small server that plays the outside world for the example workflows: incidents, orders, a chat, targets."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ORDERS = [
    {"id": 1, "amount": 120.5, "customer": {"name": "Ada", "city": "Ulm"}},
    {"id": 2, "amount": 0, "customer": {"name": "Bob", "city": "Bonn"}},
    {"id": 3, "amount": 12.0, "customer": {"name": "Eve", "city": "Jena"}},
    {"id": 4, "amount": 7.25, "customer": {"name": "Max", "city": "Kiel"}},
]
Answer = tuple[int, Any]


@dataclass
class World:
    """What the target knows and was told. `flaky` answers 503 that many times before it recovers."""

    told: list[tuple[str, str, Any]] = field(default_factory=list)
    flaky: int = 1
    tokens: set[str] = field(default_factory=set)

    def answer(self, method: str, path: str, body: Any, token: str) -> Answer:
        """What a request is answered."""
        self.told.append((method, path, body))
        if token:
            self.tokens.add(token)
        routes: list[tuple[str, Callable[[str, Any], Answer]]] = [
            ("/incidents", lambda _, given: (201, {"id": "INC-42", **(given or {})})),
            ("/services/", self._service),
            ("/orders", lambda _, __: (200, {"orders": ORDERS})),
            ("/warehouse", lambda _, given: (201, {"stored": given})),
            ("/targets/", self._target),
            (
                "/chat.postMessage",
                lambda _, given: (200, {"ok": True, "channel": given["channel"], "ts": "1700000000.1"}),
            ),
        ]
        for prefix, route in routes:
            if path.startswith(prefix):
                return route(path, body)
        return 200, {"ok": True}

    def _service(self, path: str, _: Any) -> Answer:
        if path.endswith("/logs"):
            return 200, {"lines": ["connection refused", "timeout after 30 s"]}
        return 200, {"healthy": False}

    def _target(self, path: str, _: Any) -> Answer:
        if path.endswith("/silent"):
            return 503, {"error": "down"}
        if path.endswith("/flaky") and self.flaky > 0:
            self.flaky -= 1
            return 503, {"error": "try again"}
        return 200, {"ok": True}


@contextmanager
def serving(world: World) -> Iterator[str]:
    """Serve a world on a free port of this host; yields its URL."""

    class Handler(BaseHTTPRequestHandler):
        """Hands every request to the world."""

        def _answer(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            raw = self.rfile.read(length)
            body = json.loads(raw) if raw else None
            status, value = world.answer(self.command, self.path, body, self.headers.get("Authorization", ""))
            text = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = do_PUT = _answer  # noqa: N815 (the names the standard library calls)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (its name)
            """Stay quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
