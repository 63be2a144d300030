"""`local:` metrics: the server's own run history and this host, so that probes work with nothing else running.

`workflow_runs_total` and `workflow_failure_total` count per step (not since the beginning, as a Prometheus counter
does); `workflow_duration_seconds` is the mean of a step; steps without runs count 0 and have no duration.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, Protocol

from models import run_series
from models.run_facts import RunFilter, Visible
from services.access.actor import Actor
from services.errors import BadRequest
from services.insight import host
from services.insight.host import HostSampler
from services.insight.sources import Fetched, RawSeries, Selector, Wanted, parse_selector

RUN_METRICS = ("workflow_runs_total", "workflow_failure_total", "workflow_duration_seconds")
METRICS = (*RUN_METRICS, "active_workflows", *host.METRICS)
See = Callable[[Actor], Awaitable[Visible]]


class Named(Protocol):
    """A registered workflow."""

    @property
    def package_id(self) -> str:
        """The id its runs are listed under."""
        ...


class LocalMetrics:
    """Answers from the run history, the executions and the host's samples; only what the asker may see."""

    def __init__(
        self,
        db: Any,
        sampler: HostSampler,
        *,
        see: See,
        find: Callable[[str], Awaitable[Named | None]],
        has_prometheus: bool,
    ) -> None:
        """`see` says which runs a caller may see, `find` names the workflow of an identifier."""
        self._db, self._sampler = db, sampler
        self._see, self._find = see, find
        self._has_prometheus = has_prometheus

    async def fetch(self, wanted: Wanted) -> Fetched:
        """The series of a local metric; BadRequest when there is none of that name or no data."""
        known = ", ".join(METRICS)
        try:
            selector = parse_selector(wanted.query)
        except BadRequest as error:
            if self._has_prometheus:
                raise
            raise BadRequest(self._no_data(wanted.query, known)) from error
        if selector.metric not in METRICS:
            raise BadRequest(self._no_data(wanted.query, known))
        found = await self._read(selector, wanted)
        if not found:
            raise BadRequest(f"No data for {wanted.query!r} in this time")
        return Fetched(source="local", series=found)

    def _no_data(self, query: str, known: str) -> str:
        if self._has_prometheus:
            return f"No local metric {query!r}; local metrics are {known}"
        return f"No data for {query!r}: PROM_URL is not set; local metrics are {known}"

    async def _read(self, selector: Selector, wanted: Wanted) -> list[RawSeries]:
        if selector.metric in host.METRICS:
            await self._sampler.sample()
            window = {"start": wanted.start.timestamp(), "end": wanted.end.timestamp() + 1, "step_s": wanted.step_s}
            times, values = self._sampler.read(selector.metric, **window)  # type: ignore[arg-type] # step_s is the int
            return [RawSeries(selector.metric, {}, times, values)] if times else []
        runs = await self._runs(selector, wanted)
        if selector.metric == "active_workflows":
            return await self._active(runs, wanted)
        return await self._counted(selector.metric, runs, wanted)

    async def _runs(self, selector: Selector, wanted: Wanted) -> RunFilter:
        unknown = set(selector.labels) - {"workflow"}
        if unknown:
            raise BadRequest(f"Local metrics have the label workflow only, not {', '.join(sorted(unknown))}")
        name = selector.labels.get("workflow")
        workflow = await self._find(name) if name is not None else None
        return RunFilter(
            visible=await self._see(wanted.actor),
            wpk_id=workflow.package_id if workflow is not None else name,
            since=wanted.start,
            until=wanted.end + timedelta(microseconds=1),
        )

    async def _counted(self, metric: str, runs: RunFilter, wanted: Wanted) -> list[RawSeries]:
        by_workflow: dict[str, dict[int, Any]] = defaultdict(dict)
        for row in await run_series.counted(self._db, runs, step_s=wanted.step_s):
            by_workflow[row["wpk_id"]][int(row["step"])] = row
        last = int(wanted.end.timestamp()) // wanted.step_s  # the step that is still going on is left out
        found = []
        for name, rows in sorted(by_workflow.items()):
            steps = [step for step in range(min(rows), last) if metric != RUN_METRICS[2] or _timed(rows.get(step))]
            values = [_value(metric, rows.get(step)) for step in steps]
            times = [float((step + 1) * wanted.step_s) for step in steps]
            if times:
                found.append(RawSeries(metric, {"workflow": name}, times, values))
        return found

    async def _active(self, runs: RunFilter, wanted: Wanted) -> list[RawSeries]:
        spans = await run_series.spans(self._db, runs, start=wanted.start, end=wanted.end)
        changes: list[tuple[float, int]] = []
        for start, end in spans:
            changes.append((start.timestamp(), 1))
            if end is not None:
                changes.append((end.timestamp(), -1))
        changes.sort()
        times, values, active, at = [], [], 0, 0
        moment, stop = wanted.start.timestamp(), wanted.end.timestamp()
        while moment <= stop:
            while at < len(changes) and changes[at][0] <= moment:
                active += changes[at][1]
                at += 1
            times.append(moment)
            values.append(float(active))
            moment += wanted.step_s
        return [RawSeries("active_workflows", {}, times, values)]


def _timed(row: Any) -> bool:
    return row is not None and row["timed"] > 0


def _value(metric: str, row: Any) -> float:
    if row is None:
        return 0.0
    if metric == "workflow_runs_total":
        return float(row["runs"])
    if metric == "workflow_failure_total":
        return float(row["failures"])
    return float(row["duration_ms"]) / float(row["timed"]) / 1000
