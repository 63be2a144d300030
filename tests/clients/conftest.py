"""A tiny HTTP server that keeps what it is sent and answers as told: the far end of the client, for real."""

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest


@dataclass
class FarEnd:
    """Answers are taken from `script` in turn, as (status, body, headers); the last one repeats."""

    url: str = ""
    script: list[tuple[int, Any, dict[str, str]]] = field(default_factory=list)
    seen: list[tuple[str, str, dict[str, str], Any]] = field(default_factory=list)
    server: ThreadingHTTPServer | None = None

    def next_answer(self, body: Any) -> tuple[int, Any, dict[str, str]]:
        status, answer, headers = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        return status, answer(body) if callable(answer) else answer, headers


@pytest.fixture
def far_end() -> Iterator[FarEnd]:
    far = FarEnd()

    class Handler(BaseHTTPRequestHandler):
        def do(self) -> None:
            raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            body = json.loads(raw) if raw else None
            far.seen.append((self.command, self.path, dict(self.headers), body))
            status, answer, headers = far.next_answer(body)
            data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(status)
            for name, value in {"Content-Length": str(len(data)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do

        def log_message(self, *_: Any) -> None:
            pass

    far.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    far.url = f"http://127.0.0.1:{far.server.server_port}"
    thread = threading.Thread(target=far.server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield far
    far.server.shutdown()
    far.server.server_close()
    thread.join()
