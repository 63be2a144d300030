"""A collector of traces: an OTLP/HTTP server that decodes what it is sent and keeps it."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Condition, Thread
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)


@dataclass
class Received:
    """One span as it came over the wire; ids in hex."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    kind: int
    begun_ns: int
    ended_ns: int
    attributes: dict[str, Any]
    events: list[tuple[str, dict[str, Any]]]
    links: list[tuple[str, str]]
    error: str | None
    resource: dict[str, Any]


@dataclass
class Receiver:
    """What has arrived, at `/v1/traces` or elsewhere. `answers`: statuses of the next requests, then 200."""

    url: str = ""
    spans: list[Received] = field(default_factory=list)
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    news: Condition = field(default_factory=Condition)

    def of(self, execution_id: str) -> list[Received]:
        """The spans of one execution, the whole one last."""
        return [span for span in list(self.spans) if span.attributes.get("millrace.execution.id") == execution_id]

    def whole(self, execution_id: str) -> Received | None:
        """The span of the execution itself."""
        return next((span for span in self.of(execution_id) if "millrace.execution.status" in span.attributes), None)

    def wait_for(self, condition: Any, limit_s: float = 30.0) -> Any:
        """What the condition yields, once it is true."""
        with self.news:
            return self.news.wait_for(condition, timeout=limit_s)

    def take(self, path: str, headers: dict[str, str], body: bytes) -> int:
        """Keep a request, or refuse it."""
        with self.news:
            self.requests.append((path, headers))
            status = self.answers.pop(0) if self.answers else 200
            if status == 200 and path == "/v1/traces":
                self.spans += decoded(body)
            self.news.notify_all()
        return status


@contextmanager
def receiving() -> Iterator[Receiver]:
    """A collector on a free port."""
    made = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            status = made.take(self.path, {name.lower(): value for name, value in self.headers.items()}, body)
            answer = ExportTraceServiceResponse().SerializeToString()
            self.send_response(status)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    made.url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def decoded(body: bytes) -> list[Received]:
    """The spans of an ExportTraceServiceRequest."""
    request = ExportTraceServiceRequest.FromString(body)
    return [
        _received(span, _values(group.resource.attributes))
        for group in request.resource_spans
        for scope in group.scope_spans
        for span in scope.spans
    ]


def _received(span: Any, resource: dict[str, Any]) -> Received:
    return Received(
        name=span.name,
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        kind=span.kind,
        begun_ns=span.start_time_unix_nano,
        ended_ns=span.end_time_unix_nano,
        attributes=_values(span.attributes),
        events=[(event.name, _values(event.attributes)) for event in span.events],
        links=[(link.trace_id.hex(), link.span_id.hex()) for link in span.links],
        error=span.status.message if span.status.code == 2 else None,
        resource=resource,
    )


def _values(pairs: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}
