"""Shapes of what operators ask for and get."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import ConfigDict, Field

from controllers.execution_views import Status, SummaryView
from controllers.pages import PageQuery
from controllers.shapes import BaseModel, Time, Uuid

Waiting = Literal["inquiry", "timer", "delay", "retry", "child", "pause"]
REASON = Field(default=None, max_length=1_000, description="For people; it is shown and recorded")
IDLE_S = 300
STRICT = ConfigDict(extra="forbid")
"""A misspelt word must not make a deed larger."""


class Wanted(BaseModel):
    """Which executions of any workflow; everything that is given has to be true of them."""

    model_config = STRICT

    status: Status | None = None
    unfinished: bool = Field(False, description="Only those that have not ended")
    stuck: bool = Field(
        False,
        description="Only those whose driver is dead, and those driven or due that have written nothing for"
        " `idle_seconds`; what waits for a person, a time or a child is not stuck",
    )
    idle_seconds: int = Field(IDLE_S, ge=1, le=31_536_000, description="What counts as no progress with `stuck`")
    quarantined: bool = Field(False, description="Only those that were given up because their drivers died with them")
    waiting_for: Waiting | None = Field(None, description="Only those that wait, driven by nobody, for this")
    workflow: str | None = Field(None, max_length=512, description="Id, ref or package id")
    key_id: Uuid | None = Field(None, description="The API key they were started with")
    started_after: Time | None = None
    started_before: Time | None = None


class WantedQuery(Wanted, PageQuery):
    """Which executions of any workflow, and which page of them."""


class CancelMany(BaseModel):
    """What to cancel. A filter that says nothing is refused unless `everything` is said."""

    model_config = STRICT

    filter: Wanted | None = Field(None, description="Which; nothing: refused unless `everything` is said")
    everything: bool = False
    plan_only: bool = Field(False, description="Only count")
    limit: int = Field(500, ge=1, le=1_000, description="At most so many now; ask again for the rest")
    reason: str | None = REASON


class PauseWish(BaseModel):
    """Why everything is paused."""

    model_config = STRICT

    reason: str | None = REASON


class FailWish(BaseModel):
    """Why an execution is failed by force."""

    model_config = STRICT

    reason: str | None = REASON


class PauseView(BaseModel):
    """Whether everything is paused, since when, by whom and why."""

    paused: bool
    reason: str | None
    changed_at: datetime | None = Field(description="Null: nobody ever paused this database")
    changed_by: str | None


class OperatorSummaryView(SummaryView):
    """An execution as an operator sees it."""

    workflow_ref: str
    workflow_version: str
    error_type: str | None
    driver: UUID | None = Field(description="The worker that holds it")
    takeovers: int = Field(description="Drivers in a row that ended without getting further")
    wake_at: datetime | None
    waiting_for: list[dict[str, Any]] | None
    parent_execution_id: UUID | None
    triggered_by: int | None
    key_id: UUID | None


class FailedView(BaseModel):
    """An execution that was failed by force; one that was being cancelled has ended as cancelled."""

    execution_id: UUID
    status: Literal["failed", "cancelled"]
    failed_at: datetime


class RefusedView(BaseModel):
    """One that could not be cancelled."""

    execution_id: UUID
    reason: str


class CancelledManyView(BaseModel):
    """What was done. `matched` are those that had not ended before, counted up to 10,000."""

    plan_only: bool
    matched: int
    matched_capped: bool
    cancelled: int
    refused: int
    remaining: int
    refusals: list[RefusedView] = Field(description="The first twenty that could not be cancelled")


class WorkerView(BaseModel):
    """A process that drives executions."""

    id: UUID
    name: str = Field(description="Host and process")
    version: str
    engine_version: int
    started_at: datetime
    heartbeat_at: datetime
    heartbeat_age_seconds: float
    alive: bool = Field(description="False: what it held is being taken over")
    stopping: bool
    driving: int = Field(description="Executions it holds")
    this: bool = Field(description="Whether it is the process that answers")
