"""A small embedding server that speaks OpenAI's protocol, deterministic and without weights.

Its vectors are hashed words and character trigrams, with a small table of synonyms folded in, so that paraphrases of
the labelled test set are near. It stands in for a real model where the code around it is tested; it knows nothing of
meaning beyond its table, and figures measured with it say nothing about a real model.
"""

import hashlib
import json
import math
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SYNONYMS = {
    "crash": "fail", "crashed": "fail", "failure": "fail", "failed": "fail", "broke": "fail", "error": "fail",
    "slow": "latency", "sluggish": "latency", "delay": "latency", "delayed": "latency", "lag": "latency",
    "db": "database", "postgres": "database", "sql": "database", "store": "database",
    "customer": "user", "client": "user", "account": "user", "member": "user",
    "bill": "invoice", "payment": "invoice", "charge": "invoice", "charged": "invoice",
    "disk": "storage", "volume": "storage", "space": "storage",
    "cert": "certificate", "tls": "certificate", "ssl": "certificate",
    "rebooted": "restart", "restarted": "restart", "reboot": "restart",
    "mail": "email", "message": "email", "letter": "email",
}  # fmt: skip


def embed(text: str, dims: int = 384) -> list[float]:
    """The vector of a text: unit length unless the text is empty."""
    vector = [0.0] * dims
    for word in re.findall(r"[a-z0-9]+", text.lower()):
        word = SYNONYMS.get(word, word)
        _add(vector, "w:" + word, 1.0)
        for i in range(len(word) - 2):
            _add(vector, "t:" + word[i : i + 3], 0.2)
    length = math.sqrt(sum(x * x for x in vector))
    return [x / length for x in vector] if length else [1.0] + [0.0] * (dims - 1)


def _add(vector: list[float], feature: str, weight: float) -> None:
    digest = hashlib.blake2b(feature.encode(), digest_size=8).digest()
    vector[int.from_bytes(digest[:6], "big") % len(vector)] += weight if digest[7] & 1 else -weight


@dataclass
class EmbeddingServer:
    """What it was asked, and how it shall answer: `misbehave(texts)` may return (status, body, headers) instead."""

    url: str = ""
    dims: int = 384
    texts: list[str] = field(default_factory=list)
    misbehave: Callable[[list[str]], tuple[int, Any, dict[str, str]] | None] | None = None

    def answer(self, texts: list[str]) -> tuple[int, Any, dict[str, str]]:
        if self.misbehave and (answer := self.misbehave(texts)):
            return answer
        self.texts.extend(texts)
        data = [{"object": "embedding", "index": i, "embedding": embed(t, self.dims)} for i, t in enumerate(texts)]
        return (
            200,
            {"object": "list", "data": data, "model": "test", "usage": {"prompt_tokens": 0, "total_tokens": 0}},
            {},
        )


@contextmanager
def embedding_server() -> Iterator[EmbeddingServer]:
    """Serve on a free port of this machine until the block ends."""
    server = EmbeddingServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["input"]
            status, body, headers = server.answer([asked] if isinstance(asked, str) else asked)
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            for name, value in {"Content-Length": str(len(data)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    server.url = f"http://127.0.0.1:{http.server_port}/v1"
    thread = threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()
