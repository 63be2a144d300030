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
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
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
        self.requests_turned_away = self._counter(
            "http_requests_turned_away_total",
            "Requests refused before they were looked at, because the server was full.",
        )
        self.request_seconds = self._histogram("http_request_seconds", "Time to answer.", _FAST, "route")
        self.verdicts = self._counter(
            "access_verdicts_total",
            "Decisions about access: doors that were `passed`, and what was refused there or behind.",
            "permission",
            "result",
        )
        self._passed: dict[str, Counter] = {}
        self._answered: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}

    def _executions(self) -> None:
        self.executions = self._counter("workflow_executions_total", "Ended executions by status.", "status")
        self.execution_seconds = self._histogram(
            "workflow_duration_seconds", "Time from start to end.", _SLOW, "status"
        )
        self.queue_seconds = self._histogram("workflow_queue_wait_seconds", "Time from accepted to driven.", _FAST)
        self.active = self._gauge("active_workflows", "Executions driven by this process now.")
        self.attempts = self._counter("task_attempts_total", "Ended attempts of tasks by outcome.", "outcome")
        self.journal_batch = self._histogram(
            "journal_batch_rows", "Rows of one journal commit.", (1, 2, 4, 8, 16, 32, 64, 128, 256)
        )
        self._ended: dict[str, tuple[Counter, Histogram, Counter]] = {}
        self._attempted: dict[str, Counter] = {}

    def _others(self) -> None:
        self.signals = self._counter("insight_signals_total", "Signals stored by method.", "method")
        self.runs = self._counter("runs_logged_total", "Runs logged by source and status.", "source", "status")
        self.outbox_backlog = self._gauge("outbox_backlog", "Outbox rows that wait.")
        self.outbox_failures = self._counter("outbox_failures_total", "Outbox attempts that failed, by kind.", "kind")
        self.database_seconds = self._histogram(
            "database_query_seconds",
            "Time of one statement or batch (`read`, `write`), or of one grouped commit (`commit`).",
            _FAST,
            "lane",
        )
        self.database_connections = self._gauge(
            "database_connections_in_use", "Connections of the pool in use; on SQLite the threads that are at work."
        )
        self._lanes: dict[str, Histogram] = {}
        self._logged: dict[tuple[str, str], Counter] = {}
        self.trace_spans = self._counter("trace_spans_sent_total", "Spans that the collector of traces has taken.")
        self.trace_drops = self._counter(
            "trace_drops_total",
            "Spans (`refused`) and parts of traces (`queue_full`, `unreadable`) that were given up, by reason.",
            "reason",
        )
        self.restarts = self._counter(
            "background_restarts_total", "Background jobs started again after an error.", "job"
        )

    def observe_request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one answered request; `route` is the pattern, never the path."""
        key = (method if method in _METHODS else "other", route, status)
        children = self._answered.get(key)
        if children is None:
            children = (self.requests.labels(key[0], route, str(status)), self.request_seconds.labels(route))
            self._answered[key] = children
        children[0].inc()
        children[1].observe(seconds)

    def passed(self, permission: str) -> None:
        """Count one caller who was let in at a door; what is behind it may still be refused."""
        child = self._passed.get(permission)
        if child is None:
            child = self._passed[permission] = self.verdicts.labels(permission, "passed")
        child.inc()

    def execution_ended(self, status: str, seconds: float) -> None:
        """Count one execution that ended; it is a run of the history as well."""
        children = self._ended.get(status)
        if children is None:
            labels = self.executions.labels(status), self.execution_seconds.labels(status)
            children = self._ended[status] = (*labels, self.runs.labels("engine", status))
        children[0].inc()
        children[1].observe(seconds)
        children[2].inc()

    def attempt_ended(self, outcome: str) -> None:
        """Count one attempt of a task that ended."""
        child = self._attempted.get(outcome)
        if child is None:
            child = self._attempted[outcome] = self.attempts.labels(outcome)
        child.inc()

    def run_logged(self, source: str, status: str) -> None:
        """Count one run that another system logged."""
        child = self._logged.get((source, status))
        if child is None:
            child = self._logged[source, status] = self.runs.labels(source, status)
        child.inc()

    def observe_database(self, lane: str, seconds: float) -> None:
        """Time one statement or batch; `lane`: read, write or commit. Called from the writer's thread, too."""
        child = self._lanes.get(lane)
        if child is None:
            child = self._lanes[lane] = self.database_seconds.labels(lane)
        child.observe(seconds)

    def observe_commit(self, seconds: float) -> None:
        """Time one grouped commit."""
        self.observe_database("commit", seconds)

    def watch_connections(self, in_use: Callable[[], int]) -> None:
        """Ask `in_use` whenever the metrics are read."""
        self.database_connections.set_function(in_use)

    def watch_driving(self, driving: Callable[[], int]) -> None:
        """Ask `driving` whenever the metrics are read."""
        self.active.set_function(driving)

    def text(self) -> bytes:
        """Everything in the Prometheus text format."""
        return generate_latest(self.registry)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"millrace_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"millrace_{name}", text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(f"millrace_{name}", text, labels, registry=self.registry, buckets=buckets)
