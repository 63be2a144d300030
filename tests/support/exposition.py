"""What `/metrics` says, read the way Prometheus reads it."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from services.metrics import Metrics

ELSEWHERE = {"millrace_http_requests_turned_away": "tests/http/test_gate.py"}
"""What only an exceptional state moves, and the test that brings it about."""


def declared() -> set[str]:
    """The names of every metric of ours, without suffix."""
    found = {value.describe()[0].name for value in vars(Metrics()).values() if hasattr(value, "describe")}
    return found - {""}


def moved(text: str) -> set[str]:
    """The metrics of ours that say something other than nothing."""
    return {
        family.name
        for family in text_string_to_metric_families(text)
        if family.name.startswith("millrace_")
        and any(sample.value for sample in family.samples if not sample.name.endswith("_created"))
    }


def value(text: str, name: str, **labels: str) -> float:
    """One sample; 0 where there is none yet."""
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == name and sample.labels == labels:
                return sample.value
    return 0.0
