"""Executions as clients see them."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import AwareDatetime, ConfigDict, Field

from controllers.pages import PageQuery
from controllers.shapes import BaseModel, Community, CommunityQuery
from services.engine.state import State
from services.engine.statuses import PUBLIC

Status = Literal["pending", "running", "paused", "completed", "failed", "cancelled"]


class Execute(BaseModel):
    """What to start a workflow with."""

    model_config = ConfigDict(extra="forbid")

    community_id: Community | None = None
    variables: dict[str, Any] = Field(default_factory=dict, examples=[{"user_name": "john"}])
    metadata: dict[str, Any] | None = None


class ExecuteQuery(CommunityQuery):
    """Whether to wait for the end."""

    wait: float | None = Field(None, ge=0, le=60, description="Seconds to wait for the end before answering 202")


class StartedView(BaseModel):
    """An accepted execution: it is durable."""

    execution_id: UUID
    workflow_id: UUID
    workflow_version: str
    status: Status
    start_time: datetime
    execution_path: list[str]


class EndedView(StartedView):
    """An execution that ended while the caller waited."""

    end_time: datetime
    execution_time_seconds: float
    final_output: Any = None
    error_message: str | None = None
    error_node_id: str | None = None
    error_type: str | None = None


class Test(Execute):
    """What to try, and what simulated tasks give."""

    mocks: dict[str, Any] = Field(
        default_factory=dict,
        description='By task: an output, `{"error": …}`, or a list of these, per item or per attempt',
    )
    execute_reads: bool = Field(
        False, description="Perform actions of effect `read` for real instead of simulating them"
    )
    timeout_seconds: float = Field(30, gt=0, le=300)


class TraceView(BaseModel):
    """One run of a node in a test."""

    node_id: str
    status: str
    duration_seconds: float | None
    input: Any
    output: Any
    logs: list[Any]
    error: str | None
    error_type: str | None
    simulated: bool


class TestSummary(BaseModel):
    """A test in figures."""

    nodes_executed: int
    nodes_failed: int
    nodes_simulated: int
    total_duration: float
    passed: bool


class TestView(BaseModel):
    """What a test found."""

    execution_id: UUID
    workflow_id: UUID
    test_mode: Literal[True]
    status: Status
    execution_time_seconds: float
    trace: list[TraceView]
    final_variables: dict[str, Any]
    final_output: Any
    error_message: str | None
    summary: TestSummary


class ShowQuery(CommunityQuery):
    """What to include."""

    include_logs: bool = True
    include_metrics: bool = False
    include_io: bool = True


class Wait(BaseModel):
    """Something an execution waits for."""

    kind: str
    node_id: str | None
    since: datetime | None
    until: datetime | None


class NodeView(BaseModel, extra="allow"):
    """One run of a node."""

    node_id: str
    status: Literal["pending", "ready", "running", "completed", "failed", "skipped", "cancelled", "paused"]
    started_at: datetime | None
    completed_at: datetime | None
    input_data: Any
    output_data: Any
    retry_count: int
    logs: list[Any]
    error: str | None
    error_type: str | None
    metadata: dict[str, Any]


class MetricsView(BaseModel):
    """Figures of one execution."""

    execution_id: UUID
    workflow_id: UUID | None
    total_duration_seconds: float
    node_count: int
    nodes_executed: int
    nodes_skipped: int
    nodes_failed: int
    average_node_time_seconds: float
    slowest_node_id: str | None
    slowest_node_time_seconds: float
    variable_count: int
    memory_used_mb: float
    timestamp: datetime


class ExecutionView(BaseModel):
    """Everything about an execution."""

    execution_id: UUID
    workflow_id: UUID | None
    workflow_ref: str
    workflow_version: str
    status: Status
    start_time: datetime
    end_time: datetime | None
    execution_time_seconds: float | None
    execution_path: list[str]
    node_states: dict[str, NodeView]
    variables: dict[str, Any] | None
    final_variables: dict[str, Any] | None
    final_output: Any
    error_message: str | None
    error_node_id: str | None
    error_type: str | None
    waiting_for: list[Wait]
    parent_execution_id: UUID | None
    rerun_of: UUID | None
    triggered_by: int | None
    metadata: dict[str, Any] | None
    metrics: MetricsView | None = None


class ListQuery(PageQuery):
    """Which executions of a workflow."""

    status: Status | None = None
    sort_by: Literal["start_time", "status", "execution_time"] = "start_time"
    sort_order: Literal["asc", "desc"] = "desc"
    started_after: AwareDatetime | None = None
    started_before: AwareDatetime | None = None
    community_id: Community | None = None


class SummaryView(BaseModel):
    """An execution in a list."""

    execution_id: UUID
    workflow_id: UUID | None
    status: Status
    start_time: datetime
    end_time: datetime | None
    execution_time_seconds: float | None
    nodes_executed: int
    error: str | None
    success: bool | None


class CancelledView(BaseModel):
    """A request to cancel that won. `end_time` of the execution is set when running work has stopped."""

    execution_id: UUID
    status: Literal["cancelled"]
    cancelled_at: datetime


class ControlledView(BaseModel):
    """An execution after a request to pause or resume it."""

    execution_id: UUID
    status: Status


class Rerun(BaseModel):
    """What to run again; nothing named = what failed."""

    model_config = ConfigDict(extra="forbid")

    start: list[str] = Field(default_factory=list, alias="from", max_length=2_000)
    variables: dict[str, Any] = Field(default_factory=dict)
    version: str | None = Field(None, max_length=50)
    plan_only: bool = False


class PlanView(BaseModel):
    """What a re-run reuses, what it does again, and which of that changes the world."""

    workflow_id: UUID
    workflow_version: str
    reused: list[dict[str, Any]]
    again: list[dict[str, Any]]
    effects: list[dict[str, Any]]


class EventsQuery(CommunityQuery):
    """From where."""

    after: int = Field(-1, ge=-1, description="Continue behind this `seq`")


class EventRowView(BaseModel):
    """One append to the log: everything one decision said."""

    seq: int
    at: datetime
    driver: UUID | None
    epoch: int
    events: list[dict[str, Any]]


class EventsView(BaseModel):
    """The event log."""

    execution_id: UUID
    events: list[EventRowView]


class ExplanationView(BaseModel):
    """Why an execution is where it is."""

    execution_id: UUID
    status: Status
    driver: UUID | None
    explanation: str
    facts: list[dict[str, Any]]


class InquiriesQuery(PageQuery):
    """Which inquiries."""

    status: Literal["open", "answered", "expired", "cancelled"] = "open"


class Respond(BaseModel):
    """An answer; it has to fit `response_schema`."""

    model_config = ConfigDict(extra="forbid")

    response: Any = Field(examples=[{"approved": True}])


class InquiryView(BaseModel):
    """A question to people."""

    id: UUID
    execution_id: UUID
    node_id: str
    workflow_id: UUID | None
    workflow_ref: str
    community_id: int | None
    prompt: str | None
    assignees: Any
    response_schema: Any
    requester_id: int | None
    requester_may_respond: bool
    status: Literal["open", "answered", "expired", "cancelled"]
    opened_at: datetime
    expires_at: datetime | None
    default_outcome: Any
    response: Any
    responded_by: int | None
    responded_at: datetime | None


def started(facts: Any, *, status: str = "running", path: list[str] | None = None) -> dict[str, Any]:
    """A `StartedView`."""
    return {
        "execution_id": facts.execution_id,
        "workflow_id": facts.workflow_id,
        "workflow_version": facts.workflow_version,
        "status": status,
        "start_time": facts.start_time,
        "execution_path": path or [],
    }


def ended(facts: Any, state: State) -> dict[str, Any]:
    """An `EndedView`."""
    failure, end = state.failure, state.ended_at
    assert end is not None
    return {
        **started(facts, status=PUBLIC[state.phase], path=[run.node for run in state.runs.values()]),
        "end_time": end,
        "execution_time_seconds": (end - facts.start_time).total_seconds(),
        "final_output": state.output,
        "error_message": failure.message if failure is not None else None,
        "error_node_id": failure.node if failure is not None else None,
        "error_type": failure.type if failure is not None else None,
    }
