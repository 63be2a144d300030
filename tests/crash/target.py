"""A small server that the workflows under test call: it remembers every call, takes its time and sometimes fails."""

from __future__ import annotations

import json
import threading
import time
import zlib
from collections import defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Target:
    """Remembers calls by idempotency key, in the order in which they came."""

    def __init__(self) -> None:
        self.calls: dict[str, list[str]] = defaultdict(list)
        self.total = 0
        self._lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                body = self.rfile.read(length).decode()
                if len(body) < length:  # the caller was killed in the middle of a sentence
                    self.close_connection = True
                    return
                status, answer = outer.answer(self.path, self.headers["Idempotency-Key"], body)
                data = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 256

            def handle_error(self, *_: Any) -> None:
                """A caller that was killed is no news."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def answer(self, path: str, key: str, body: str) -> tuple[int, Any]:
        """A serial number that is never given twice, so that a result that changed would show."""
        with self._lock:
            self.total += 1
            serial = self.total
            self.calls[key].append(body)
            first = len(self.calls[key]) == 1
        time.sleep(0.01 + (zlib.crc32(key.encode()) % 50) / 1000)
        if path == "/flaky" and first:
            return 503, {"busy": True}
        return 200, {"serial": serial}

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
