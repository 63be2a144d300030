"""Traces by OpenTelemetry, where a collector is set and the extra is installed."""

from __future__ import annotations

from composition.base import features
from config import VERSION, Settings
from services.adapters.otlp import Collector, OtlpExporter
from services.background import Background, Job
from services.metrics import Metrics
from services.tracing.context import Sampler
from services.tracing.tracer import Tracer


def build_tracer(settings: Settings, background: Background, metrics: Metrics) -> Tracer | None:
    """What tells of executions; None when nobody wants to know, or nothing can be sent."""
    url = settings.traces_url
    if url is None or any(feature.missing for feature in features(settings) if feature.name == "tracing"):
        return None
    collector = Collector(
        url=url,
        headers=dict(settings.otel_headers),
        service=settings.otel_service_name,
        version=VERSION,
        resource=dict(settings.otel_resource_attributes),
    )
    tracer = Tracer(OtlpExporter(collector), metrics, _sampler(settings))
    background.add(Job(name="send-traces", work=tracer.flush, every_s=0.5))
    background.on_stop("traces", tracer.close)
    return tracer


def _sampler(settings: Settings) -> Sampler:
    kind = settings.otel_traces_sampler.removeprefix("parentbased_")
    shares = {"always_on": 1.0, "always_off": 0.0, "traceidratio": settings.otel_traces_sampler_arg}
    return Sampler(shares[kind], heeds_caller=kind != settings.otel_traces_sampler)
