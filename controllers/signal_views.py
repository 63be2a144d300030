"""What insight takes and answers: bodies, queries and views."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AwareDatetime, ConfigDict, Field, StringConstraints

from controllers import pages
from controllers.shapes import BaseModel
from models.signals import SignalRow, WatchRow
from services.insight.own_runs import OwnInsight
from services.insight.probes import SHOWN_SERIES, Answer, Found
from services.insight.signals import COUNTED, Detail

Query = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=10_000)]
Method = Annotated[str, StringConstraints(max_length=40)]


class ProbeBody(BaseModel):
    """What to probe. Unknown fields are ignored."""

    query: Query = Field(examples=['rate(http_requests_total{job="api"}[5m])', "local:workflow_runs_total"])
    threshold: float = Field(2.0, ge=0, le=1000, allow_inf_nan=False)
    lookback_minutes: int = Field(60, ge=1, le=527_040)
    step_seconds: int = Field(60, ge=1, le=86_400)
    method: Method = Field("auto", description="auto, zscore or ewma")


class NotifyBody(BaseModel):
    """The workflow an incident starts; its variables get `signal` added."""

    model_config = ConfigDict(extra="forbid")
    workflow: str = Field(min_length=1, max_length=400)
    variables: dict[str, Any] = Field(default_factory=dict)


class WatchBody(BaseModel):
    """A probe that shall run by itself."""

    model_config = ConfigDict(extra="forbid")
    query: Query
    every_seconds: int = Field(60, ge=5, le=86_400)
    threshold: float = Field(2.0, ge=0, le=1000, allow_inf_nan=False)
    method: Method = "auto"
    step_seconds: int | None = Field(None, ge=1, le=86_400, description="default: every_seconds, at least 15")
    lookback_minutes: int | None = Field(None, ge=1, le=527_040, description="default: as far as the method can use")
    notify: NotifyBody | None = None


class FeedbackBody(BaseModel):
    """What you think of a signal."""

    model_config = ConfigDict(extra="forbid")
    verdict: Literal["useful", "noise", "expected"]
    note: str | None = Field(None, max_length=2000)


class SignalsQuery(BaseModel):
    """Which signals; everything given must hold."""

    limit: int = Field(50, ge=1, le=500)
    metric: str | None = Field(None, max_length=10_000)
    since: AwareDatetime | None = None
    until: AwareDatetime | None = None
    min_score: float | None = Field(None, allow_inf_nan=False)
    workflow_id: str | None = Field(None, max_length=400, description="id, ref or package id of a workflow")
    cursor: str | None = Field(None, max_length=2_000)


class ProbeSignalView(BaseModel):
    """One series over the threshold."""

    signal_id: str
    metric: str
    labels: dict[str, str]
    value: float
    score: float
    hint: str


class ProbeView(BaseModel):
    """The strongest series, and all over the threshold. `signal_id` is empty when nothing was stored."""

    signal_id: str
    score: float
    metric: str
    value: float
    hint: str
    anomaly: bool
    method: str
    source: str
    signals: list[ProbeSignalView]
    series: int


class SignalView(BaseModel):
    """A stored signal."""

    id: UUID
    metric: str
    value: float
    score: float
    hint: str | None
    created_at: datetime
    labels: dict[str, str] | None
    method: str | None
    source: str | None
    workflow_id: UUID | None
    watch_id: UUID | None
    verdict: str | None
    note: str | None


class SignalsView(BaseModel):
    """Signals, newest first."""

    signals: list[SignalView]
    total: int
    total_capped: bool | None = Field(None, description="There are at least `total`")
    next_cursor: str | None


class PointView(BaseModel):
    """One point of a window."""

    time: datetime
    value: float


class OverlappingRunView(BaseModel):
    """A run within the window of a signal."""

    run_id: str
    wpk_id: str
    status: str
    created_at: datetime
    duration_ms: int | None


class SignalDetailView(SignalView):
    """A signal with its evidence; `bar` is what verdicts added to the threshold of its series."""

    window: list[PointView]
    runs: list[OverlappingRunView]
    bar: float


class FeedbackView(BaseModel):
    """The bar of the series from now on."""

    id: UUID
    verdict: str
    bar: float


class WatchView(BaseModel):
    """A watch."""

    id: UUID
    query: str
    every_seconds: int
    threshold: float
    method: str
    step_seconds: int
    lookback_minutes: int
    notify: dict[str, Any] | None
    owner_id: int | None
    community_id: int | None
    enabled: bool
    next_at: datetime
    last_at: datetime | None
    last_error: str | None
    created: datetime


class InsightVersionView(BaseModel):
    """The version with which a change began."""

    version: str
    published_at: datetime | None
    published_by: str | None


class InsightView(BaseModel):
    """One unusual thing; `usual` and `now` are seconds for durations and silence, shares for rates."""

    kind: str
    node: str | None
    score: float
    since: datetime
    usual: float
    now: float
    hint: str
    version: InsightVersionView | None
    example_runs: list[str]


class InsightsView(BaseModel):
    """What is unusual about a workflow's own runs, the strongest first."""

    workflow_id: str
    as_of: datetime
    insights: list[InsightView]


def insight(found: OwnInsight) -> dict[str, Any]:
    """One unusual thing as the API shows it."""
    one, version = found.finding, found.version
    return {
        "kind": one.kind,
        "node": one.node,
        "score": round(one.score, 4),
        "since": _time(one.since),
        "usual": one.usual,
        "now": one.now,
        "hint": found.hint,
        "version": {name: getattr(version, name) for name in InsightVersionView.model_fields} if version else None,
        "example_runs": list(one.examples),
    }


def probe(answer: Answer) -> dict[str, Any]:
    """What a probe answers."""
    top = answer.strongest
    return {
        "signal_id": str(top.signal_id or ""),
        "score": top.judged.score,
        "metric": top.judged.metric,
        "value": top.judged.value,
        "hint": top.judged.hint,
        "anomaly": top.signal_id is not None,
        "method": answer.method,
        "source": answer.source,
        "signals": [_series(found) for found in answer.found if found.signal_id is not None][:SHOWN_SERIES],
        "series": len(answer.found),
    }


def _series(found: Found) -> dict[str, Any]:
    one = found.judged
    return {
        "signal_id": str(found.signal_id),
        "metric": one.metric,
        "labels": dict(one.labels),
        "value": one.value,
        "score": one.score,
        "hint": one.hint,
    }


def signal(row: SignalRow) -> dict[str, Any]:
    """A signal as the API shows it."""
    return {name: getattr(row, name) for name in SignalView.model_fields}


def detail(found: Detail) -> dict[str, Any]:
    """A signal with its evidence."""
    points = [{"time": _time(time), "value": value} for time, value in found.window if math.isfinite(value)]
    return {**signal(found.signal), "window": points, "runs": [dict(run) for run in found.runs], "bar": found.bar}


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def watch(row: WatchRow) -> dict[str, Any]:
    """A watch as the API shows it."""
    return {name: getattr(row, name) for name in WatchView.model_fields}


def page(rows: list[SignalRow], total: int, more: tuple[datetime, UUID] | None) -> dict[str, Any]:
    """A list of signals."""
    shown = {
        "signals": [signal(row) for row in rows],
        "total": min(total, COUNTED),
        "next_cursor": pages.cursor(*more) if more else None,
    }
    return {**shown, "total_capped": True} if total > COUNTED else shown
