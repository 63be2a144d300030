"""OpenTelemetry: spans become OTLP over HTTP. The libraries are imported when the first span is sent."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from services.tracing.span import Happening, Span
from services.tracing.tracer import Refused

SEND_S = 10.0
QUIET = ("opentelemetry", "urllib3")
"""Libraries that log every error which the tracer tells of anyway."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Collector:
    """Where spans go, and as whose. `url` is the whole address, with `/v1/traces`."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    service: str = "millrace"
    version: str = ""
    resource: Mapping[str, str] = field(default_factory=dict)


class OtlpExporter:
    """Sends spans to a collector, one batch at a time, in a thread of its own."""

    def __init__(self, collector: Collector) -> None:
        self._collector = collector
        self._exporter: Any = None
        self._spans: Callable[[Sequence[Span]], list[Any]]

    async def send(self, spans: Sequence[Span]) -> None:
        """Hand spans over. Raises Refused when the collector did not take them, retries included."""
        if not await asyncio.to_thread(self._sent, spans):
            raise Refused(f"{self._collector.url} did not take them")

    def _sent(self, spans: Sequence[Span]) -> bool:
        if self._exporter is None:
            self._open()
        from opentelemetry.sdk.trace.export import SpanExportResult

        return bool(self._exporter.export(self._spans(spans)) is SpanExportResult.SUCCESS)

    def _open(self) -> None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource

        for name in QUIET:
            logging.getLogger(name).setLevel(logging.CRITICAL)
        collector = self._collector
        resource = Resource.create(
            {**collector.resource, "service.name": collector.service, "service.version": collector.version}
        )
        self._exporter = OTLPSpanExporter(endpoint=collector.url, headers=dict(collector.headers), timeout=SEND_S)
        self._spans = _translator(resource, collector.version)

    async def close(self) -> None:
        """Send nothing more; what is being sent is given up."""
        if self._exporter is not None:
            self._exporter.shutdown()


def _translator(resource: Any, version: str) -> Callable[[Sequence[Span]], list[Any]]:
    """What turns our spans into those of the library."""
    from opentelemetry.sdk.trace import Event, ReadableSpan
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope
    from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

    scope = InstrumentationScope("millrace", version)
    sampled = TraceFlags(TraceFlags.SAMPLED)

    def context(trace: int, span: int, *, remote: bool = False) -> Any:
        return SpanContext(trace, span, is_remote=remote, trace_flags=sampled)

    def event(happening: Happening) -> Any:
        return Event(happening.name, dict(happening.attributes), _nanoseconds(happening.at))

    def one(span: Span) -> Any:
        parent = span.parent_id
        return ReadableSpan(
            name=span.name,
            context=context(span.trace_id, span.span_id),
            parent=None if parent is None else context(span.trace_id, parent, remote=span.parent_is_remote),
            resource=resource,
            attributes=dict(span.attributes),
            events=[event(happening) for happening in span.happenings],
            links=[Link(context(*link, remote=True)) for link in span.links],
            kind=SpanKind.CLIENT if span.calls else SpanKind.INTERNAL,
            status=Status(StatusCode.ERROR, span.error) if span.error is not None else Status(StatusCode.UNSET),
            start_time=_nanoseconds(span.begun),
            end_time=_nanoseconds(span.ended),
            instrumentation_scope=scope,
        )

    return lambda spans: [one(span) for span in spans]


def _nanoseconds(at: datetime) -> int:
    return (at - _EPOCH) // timedelta(microseconds=1) * 1000
