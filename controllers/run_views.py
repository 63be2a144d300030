"""Runs as clients see them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AwareDatetime, Field, RootModel, StringConstraints

from controllers.pages import PageQuery
from controllers.shapes import BaseModel, Community, CommunityQuery
from models.runs import Payloads, RunSummary
from services.history.record import Duration, Identifier, Moment, ReportedStatus

Text = Annotated[str, StringConstraints(max_length=512)]
Status = Literal["running", "interrupted", "completed", "failed", "cancelled"]


class LogRun(BaseModel):
    """A run as its runner reports it; unknown fields are ignored. An array of up to 1,000 is a batch."""

    wpk_id: Identifier = Field(examples=["restart-unhealthy-1.0.0"])
    run_id: Identifier = Field(examples=["run-123"])
    status: ReportedStatus
    inputs: Any = None
    outputs: Any = None
    duration_ms: Duration | None = None
    node_logs: list[Any] | None = None
    created_at: Moment | None = None
    error: str | None = Field(None, max_length=100_000)
    community_id: Community | None = None


class LogRuns(RootModel[LogRun | list[LogRun]]):
    """One run, or an array of up to 1,000."""


class NotifyRun(BaseModel):
    """A run the registry is told of; unknown fields are ignored."""

    run_id: Identifier = Field(examples=["run-456"])
    status: ReportedStatus
    duration_ms: Duration | None = None
    created_at: Moment | None = None
    community_id: Community | None = None


class LoggedView(BaseModel):
    """A run that was logged."""

    run_id: str
    id: UUID
    status: Literal["logged", "updated"]


class LoggedItem(BaseModel):
    """What became of one run of a batch."""

    run_id: str | None
    status: Literal["logged", "updated", "rejected"]
    id: UUID | None = None
    error: str | None = None


class LoggedBatch(BaseModel):
    """What became of a batch, in its order."""

    results: list[LoggedItem]


class UpdatedOrBatch(RootModel[LoggedView | LoggedBatch]):
    """A run that was known already, or what became of a batch."""


class NotifiedView(BaseModel):
    """A notification that was taken."""

    message: str
    workflow_id: str
    run_id: str
    status: Literal["updated"]


class RunLine(BaseModel):
    """A run in the list of its workflow."""

    run_id: str
    status: str
    duration_ms: int | None
    created_at: datetime


class WorkflowRunsView(BaseModel):
    """The runs of one workflow, newest first; `next_cursor` continues."""

    workflow_id: str
    runs: list[RunLine]
    page: int
    limit: int
    total: int
    next_cursor: str | None = None
    total_capped: bool | None = None


class RunView(BaseModel):
    """A run in a list of all runs."""

    id: UUID
    wpk_id: str
    run_id: str
    status: str
    source: str
    duration_ms: int | None
    created_at: datetime
    updated_at: datetime
    community_id: int | None
    workflow_version: str | None
    reported_status: str | None
    error: str | None
    pinned: bool


class RunDetail(RunView):
    """A run with everything that was reported."""

    inputs: Any = None
    outputs: Any = None
    node_logs: Any = None


class FoundRun(RunView):
    """A run that fits a question."""

    score: float
    snippet: str


class Aftermath(BaseModel):
    """The success that came after a failure, and what was different then."""

    id: UUID
    run_id: str
    created_at: datetime
    changed: list[Literal["input", "version"]]


class SimilarRun(FoundRun):
    """A run like another one; for a failure, what came after it."""

    succeeded_after: Aftermath | None = None


class SearchView(BaseModel):
    """What was found, by meaning or by words; `degraded` says why not by meaning although it is configured."""

    mode: Literal["semantic", "keyword"]
    results: list[FoundRun]
    degraded: str | None = None


class SimilarView(BaseModel):
    """Runs like one run."""

    mode: Literal["semantic", "keyword"]
    results: list[SimilarRun]
    degraded: str | None = None


class Figures(BaseModel):
    """Percentiles of durations in milliseconds, exact to 2.5 %."""

    p50: int | None
    p95: int | None
    p99: int | None
    average: int | None


class DayStats(BaseModel):
    """One day, UTC."""

    day: str
    runs: int
    by_status: dict[str, int]
    success_rate: float | None
    duration_ms: Figures


class NodeFigures(BaseModel):
    """Percentiles of a node's durations in milliseconds."""

    p50: int
    p95: int
    average: int


class NodeStats(BaseModel):
    """One node, over the newest 50 runs that are kept."""

    node: str
    runs: int
    duration_ms: NodeFigures


class StatsView(BaseModel):
    """Figures of a workflow's runs; they outlive runs that were pruned."""

    workflow_id: str
    runs: int
    by_status: dict[str, int]
    success_rate: float | None
    duration_ms: Figures
    days: list[DayStats]
    nodes: list[NodeStats]


class WorkflowRunsQuery(CommunityQuery):
    """Which runs of a workflow."""

    limit: int = Field(20, ge=1, le=100)
    page: int = Field(1, ge=1, le=1_000_000)
    status: Status | None = None
    since: AwareDatetime | None = None
    until: AwareDatetime | None = Field(None, description="Exclusive")
    cursor: str | None = Field(None, max_length=2_000, description="`next_cursor` of the page before")


class FilterQuery(BaseModel):
    """Which runs; everything given must hold."""

    wpk_id: Text | None = None
    status: Status | None = None
    source: Literal["engine", "langgraph", "notify", "import"] | None = None
    since: AwareDatetime | None = None
    until: AwareDatetime | None = Field(None, description="Exclusive")
    min_duration_ms: int | None = Field(None, ge=0, le=2**53)


class RunsQuery(FilterQuery, PageQuery):
    """A page of all runs."""


class SearchQuery(FilterQuery):
    """A question to the run history."""

    q: Annotated[str, StringConstraints(min_length=1, max_length=2_000, pattern="^[^\x00]*$")]
    k: int = Field(10, ge=1, le=100)


class SimilarQuery(CommunityQuery):
    """How many similar runs, of which run."""

    k: int = Field(10, ge=1, le=100)
    wpk_id: Text | None = None


class OneRunQuery(CommunityQuery):
    """Which run, where several workflows use the same id."""

    wpk_id: Text | None = None


class StatsQuery(CommunityQuery):
    """How far back."""

    days: int = Field(30, ge=1, le=3_660)


def line(run: RunSummary) -> dict[str, Any]:
    """A run in the list of its workflow."""
    return {"run_id": run.run_id, "status": run.status, "duration_ms": run.duration_ms, "created_at": run.created_at}


def view(run: RunSummary) -> dict[str, Any]:
    """A run in a list of all runs."""
    return {name: getattr(run, name) for name in RunView.model_fields}


def detail(run: RunSummary, payloads: Payloads) -> dict[str, Any]:
    """A run with everything that was reported."""
    return {**view(run), "inputs": payloads.inputs, "outputs": payloads.outputs, "node_logs": payloads.node_logs}
