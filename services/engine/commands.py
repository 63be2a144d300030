"""What the engine asks the shell to do. Nothing is done before the decision's events are durable (see `Decision`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from models.records import Effect
from services.engine.events import Event


@dataclass(frozen=True, slots=True, kw_only=True)
class Perform:
    """Run one attempt of an action and answer with `AttemptEnded` of the same node, run, item and attempt.

    The shell enforces `timeout_s` (answering `Outcome.TIMED_OUT`), and before it begins an `irreversible` action it
    checks its lease. At most `Limits.max_parallel_nodes` of these are in flight at any time; the engine queues the rest.
    """

    node: str
    run: int
    """The nth run of this node, from 0."""
    item: int | None
    attempt: int
    """From 1."""
    action: str
    input: Mapping[str, Any]
    """Rendered; `secrets` says where the shell puts secrets in (`expressions.insert_secrets`)."""
    secrets: tuple[Mapping[str, Any], ...]
    timeout_s: float | None
    effect: Effect
    delay_s: float = 0.0
    """The delay that the task asked for; it is over already (a timer was set for it) and is here for the record."""

    @property
    def key(self) -> str:
        """The outbound idempotency key below the execution's id: `node/run` or `node/run/item`."""
        return work_key(self.node, self.run, self.item)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluate:
    """Evaluate expressions in the worker and look up actions, then answer with `Evaluated(of=<the same input>)`.

    The decision that carries this has no events: nothing was decided yet, and nothing is to be appended.
    """

    requests: tuple[Mapping[str, Any], ...]
    """JSON objects for the expression worker, each with the `id` its answer is filed under."""
    actions: tuple[str, ...] = ()
    """Refs that a template produced and that `Begin.actions` did not know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SetTimer:
    """Send `TimerFired(id=…)` at or after `at`. Early, late and repeated firings are harmless."""

    id: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ClearTimer:
    """This timer is not waited for any more."""

    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenInquiry:
    """Create the inquiry row in the same transaction; answer with `InquiryAnswered`. Its expiry is a timer of ours."""

    node: str
    run: int
    item: int | None
    input: Mapping[str, Any]
    """As rendered: `assignees`, `response_schema`, `prompt` …"""
    expires_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseInquiry:
    """Close the inquiry row in the same transaction, if it is still open."""

    node: str
    run: int
    item: int | None
    reason: str
    """`expired` or `cancelled`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StartChild:
    """Create the child execution (row, event 0, wake-up) in the same transaction, if it does not exist yet.

    Answer with `ChildEnded`. A ref that cannot be started is answered with `ChildEnded(outcome=FAILED)`.
    """

    child_id: str
    """uuid5 of the parent's id and `node/run/item`, so a repeated command names the same child."""
    node: str
    run: int
    item: int | None
    workflow: str
    inputs: Mapping[str, Any]
    depth: int
    """For the child's `Begin.depth`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InterruptAttempt:
    """Stop this attempt as soon as possible; its end is still reported with `AttemptEnded` (usually CANCELLED)."""

    node: str
    run: int
    item: int | None
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelChild:
    """Request the cancellation of a child; its end is still reported with `ChildEnded`."""

    child_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PauseChild:
    """Pass a pause on to a child."""

    child_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ResumeChild:
    """Pass a resume on to a child."""

    child_id: str


EngineCommand = (
    Perform
    | Evaluate
    | SetTimer
    | ClearTimer
    | OpenInquiry
    | CloseInquiry
    | StartChild
    | InterruptAttempt
    | CancelChild
    | PauseChild
    | ResumeChild
)


@dataclass(frozen=True, slots=True)
class Decision:
    """What one input leads to.

    The shell, in this order: if `refused` is set, tells the caller and stops; if the only command is `Evaluate`, does
    it and decides again; else appends `events` as ONE row, folds them with `evolve`, and carries out `commands`. Rows
    that belong to commands (inquiry, child, timer) are written in the transaction of the append. No events and no
    commands: the input changed nothing (a repetition, or too late).
    """

    events: tuple[Event, ...] = ()
    commands: tuple[EngineCommand, ...] = ()
    refused: str | None = None
    """Why the request cannot be granted, in words for the caller."""

    @property
    def deferrable(self) -> bool:
        """Whether the append may wait for the next one: every command is an action without any effect."""
        return bool(self.commands) and all(
            isinstance(command, Perform) and command.effect is Effect.NONE for command in self.commands
        )


def work_key(node: str, run: int, item: int | None) -> str:
    """The name of one piece of work inside its execution: `node/run` or `node/run/item`."""
    return f"{node}/{run}" if item is None else f"{node}/{run}/{item}"
