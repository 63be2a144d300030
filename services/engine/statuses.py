"""Statuses and the tables that lead from one to the next.

A missing pair raises `IllegalTransition`, naming both sides; the diagrams of the documentation come from these tables.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, TypeVar

from models.records import ExecutionStatus, NodeStatus


class Phase(StrEnum):
    """Where an execution stands inside the engine; `PUBLIC` says what the API calls it."""

    PENDING = "pending"
    RUNNING = "running"
    PAUSING = "pausing"
    PAUSED = "paused"
    CANCELLING = "cancelling"
    FAILING = "failing"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Change(StrEnum):
    """What moves an execution from one phase to the next."""

    BEGIN = "begin"
    PAUSE = "pause"
    QUIET = "quiet"
    RESUME = "resume"
    CANCEL = "cancel"
    FAIL = "fail"
    COMPLETE = "complete"
    END_FAILED = "end_failed"
    END_CANCELLED = "end_cancelled"


class Outcome(StrEnum):
    """How an attempt, an item or a node ended."""

    COMPLETED = "completed"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"


class Stage(StrEnum):
    """Where one piece of work (a node, or an item of it) stands while it has not ended."""

    DELAYED = "delayed"
    RUNNING = "running"
    WAITING = "waiting"
    RETRYING = "retrying"
    STOPPING = "stopping"


class Step(StrEnum):
    """What moves one piece of work on."""

    START = "start"
    WAIT = "wait"
    RETRY = "retry"
    STOP = "stop"


SUCCESS = frozenset({Outcome.COMPLETED, Outcome.SKIPPED})
FAILURE = frozenset({Outcome.FAILED, Outcome.TIMED_OUT})
ANY_END = frozenset(Outcome)
"""The conditions `succeeded`, `failed` (where a timeout is a failure) and `completed` (ended in any way)."""

ENDED = frozenset({Phase.COMPLETED, Phase.FAILED, Phase.CANCELLED})

EXECUTION_TRANSITIONS: Mapping[tuple[Phase, Change], Phase] = {
    (Phase.PENDING, Change.BEGIN): Phase.RUNNING,
    (Phase.RUNNING, Change.PAUSE): Phase.PAUSING,
    (Phase.RUNNING, Change.CANCEL): Phase.CANCELLING,
    (Phase.RUNNING, Change.FAIL): Phase.FAILING,
    (Phase.RUNNING, Change.COMPLETE): Phase.COMPLETED,
    (Phase.PAUSING, Change.QUIET): Phase.PAUSED,
    (Phase.PAUSING, Change.RESUME): Phase.RUNNING,
    (Phase.PAUSING, Change.CANCEL): Phase.CANCELLING,
    (Phase.PAUSING, Change.FAIL): Phase.FAILING,
    (Phase.PAUSED, Change.RESUME): Phase.RUNNING,
    (Phase.PAUSED, Change.CANCEL): Phase.CANCELLING,
    (Phase.PAUSED, Change.FAIL): Phase.FAILING,
    (Phase.CANCELLING, Change.END_CANCELLED): Phase.CANCELLED,
    (Phase.FAILING, Change.CANCEL): Phase.CANCELLING,
    (Phase.FAILING, Change.END_FAILED): Phase.FAILED,
}

WORK_TRANSITIONS: Mapping[tuple[Stage, Step], Stage] = {
    (Stage.DELAYED, Step.START): Stage.RUNNING,
    (Stage.DELAYED, Step.WAIT): Stage.WAITING,
    (Stage.RUNNING, Step.RETRY): Stage.RETRYING,
    (Stage.RUNNING, Step.STOP): Stage.STOPPING,
    (Stage.WAITING, Step.RETRY): Stage.RETRYING,
    (Stage.WAITING, Step.STOP): Stage.STOPPING,
    (Stage.RETRYING, Step.START): Stage.RUNNING,
    (Stage.RETRYING, Step.WAIT): Stage.WAITING,
}

PUBLIC: Mapping[Phase, ExecutionStatus] = {
    Phase.PENDING: ExecutionStatus.PENDING,
    Phase.RUNNING: ExecutionStatus.RUNNING,
    Phase.PAUSING: ExecutionStatus.PAUSED,
    Phase.PAUSED: ExecutionStatus.PAUSED,
    Phase.CANCELLING: ExecutionStatus.CANCELLED,
    Phase.FAILING: ExecutionStatus.RUNNING,
    Phase.COMPLETED: ExecutionStatus.COMPLETED,
    Phase.FAILED: ExecutionStatus.FAILED,
    Phase.CANCELLED: ExecutionStatus.CANCELLED,
}
"""A request to pause or cancel shows from its commit on; a failure shows when the execution has really ended."""

NODE_STATUS: Mapping[Outcome, NodeStatus] = {
    Outcome.COMPLETED: NodeStatus.COMPLETED,
    Outcome.FAILED: NodeStatus.FAILED,
    Outcome.TIMED_OUT: NodeStatus.FAILED,
    Outcome.CANCELLED: NodeStatus.CANCELLED,
    Outcome.SKIPPED: NodeStatus.SKIPPED,
}


class IllegalTransition(Exception):
    """A status was asked to change in a way that its table does not know."""

    def __init__(self, status: StrEnum, change: StrEnum) -> None:
        super().__init__(f"{status!r} does not know {change!r}")
        self.status = status
        self.change = change


S = TypeVar("S", bound=StrEnum)
C = TypeVar("C", bound=StrEnum)


def advance(table: Mapping[tuple[S, C], S], status: S, change: C) -> S:
    """The status after a change."""
    try:
        return table[status, change]
    except KeyError:
        raise IllegalTransition(status, change) from None


def diagram(table: Mapping[tuple[Any, Any], Any]) -> str:
    """A table as a Mermaid state diagram."""
    arrows = [f"    {status} --> {after}: {change}" for (status, change), after in table.items()]
    return "\n".join(["stateDiagram-v2", *arrows])
