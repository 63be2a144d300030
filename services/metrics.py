"""The Prometheus metrics of the server, in one registry of its own; labels are bounded."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    gc_collector,
    generate_latest,
    platform_collector,
    process_collector,
)

_FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_SLOW = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0, 7200.0)


class Metrics:
    """Every counter, gauge and histogram the server keeps."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        process_collector.ProcessCollector(registry=self.registry)
        platform_collector.PlatformCollector(registry=self.registry)
        gc_collector.GCCollector(registry=self.registry)
        self._http()
        self._executions()
        self._others()

    def _http(self) -> None:
        self.requests = self._counter(
            "http_requests_total", "Requests by route and status.", "method", "route", "status"
        )
        self.request_seconds = self._histogram("http_request_seconds", "Time to answer.", _FAST, "route")
        self.verdicts = self._counter("access_verdicts_total", "Decisions about access.", "permission", "result")
        self._children: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}

    def _executions(self) -> None:
        self.executions = self._counter("workflow_executions_total", "Ended executions by status.", "status")
        self.execution_seconds = self._histogram(
            "workflow_duration_seconds", "Time from start to end.", _SLOW, "status"
        )
        self.queue_seconds = self._histogram("workflow_queue_wait_seconds", "Time from accepted to driven.", _FAST)
        self.active = self._gauge("active_workflows", "Executions driven by this process now.")
        self.attempts = self._counter("task_attempts_total", "Attempts of tasks by outcome.", "outcome")
        self.journal_batch = self._histogram(
            "journal_batch_rows", "Rows of one journal commit.", (1, 2, 4, 8, 16, 32, 64, 128, 256)
        )

    def _others(self) -> None:
        self.signals = self._counter("insight_signals_total", "Signals stored by method.", "method")
        self.runs = self._counter("runs_logged_total", "Runs logged by source and status.", "source", "status")
        self.outbox_backlog = self._gauge("outbox_backlog", "Outbox rows that wait.")
        self.outbox_failures = self._counter("outbox_failures_total", "Outbox attempts that failed, by kind.", "kind")
        self.database_seconds = self._histogram(
            "database_query_seconds", "Time of one statement or batch.", _FAST, "lane"
        )
        self.database_connections = self._gauge("database_connections_in_use", "Connections of the pool in use.")
        self._lanes: dict[str, Histogram] = {}
        self.restarts = self._counter(
            "background_restarts_total", "Background jobs started again after an error.", "job"
        )

    def observe_request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one answered request; `route` is the pattern, never the path."""
        key = (method, route, status)
        children = self._children.get(key)
        if children is None:
            children = (self.requests.labels(method, route, str(status)), self.request_seconds.labels(route))
            self._children[key] = children
        children[0].inc()
        children[1].observe(seconds)

    def observe_database(self, lane: str, seconds: float) -> None:
        """Time one statement or batch; `lane`: read or write."""
        child = self._lanes.get(lane)
        if child is None:
            child = self._lanes[lane] = self.database_seconds.labels(lane)
        child.observe(seconds)

    def watch_connections(self, in_use: Callable[[], int]) -> None:
        """Ask `in_use` whenever the metrics are read."""
        self.database_connections.set_function(in_use)

    def text(self) -> bytes:
        """Everything in the Prometheus text format."""
        return generate_latest(self.registry)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"millrace_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"millrace_{name}", text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(f"millrace_{name}", text, labels, registry=self.registry, buckets=buckets)
