"""What the engine asks the shell to do. Nothing is done before the decision's events are durable (see `Decision`)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from msgspec import Struct

from models.records import Effect
from services.engine.events import Event


class Perform(Struct, frozen=True, kw_only=True):
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


class Evaluate(Struct, frozen=True, kw_only=True):
    """Evaluate expressions in the worker and look up actions, then answer with `Evaluated(of=<the same input>)`.

    The decision that carries this has no events: nothing was decided yet, and nothing is to be appended.
    """

    requests: tuple[Mapping[str, Any], ...]
    """JSON objects for the expression worker, each with the `id` its answer is filed under."""
    actions: tuple[str, ...] = ()
    """Refs that a template produced and that `Begin.actions` did not know."""


class SetTimer(Struct, frozen=True, kw_only=True):
    """Send `TimerFired(id=…)` at or after `at`. Early, late and repeated firings are harmless."""

    id: str
    at: datetime


class ClearTimer(Struct, frozen=True, kw_only=True):
    """This timer is not waited for any more."""

    id: str


class OpenInquiry(Struct, frozen=True, kw_only=True):
    """Create the inquiry row in the same transaction; answer with `InquiryAnswered`. Its expiry is a timer of ours."""

    node: str
    run: int
    item: int | None
    input: Mapping[str, Any]
    """As rendered: `assignees`, `response_schema`, `prompt` …"""
    expires_at: datetime | None


class CloseInquiry(Struct, frozen=True, kw_only=True):
    """Close the inquiry row in the same transaction, if it is still open."""

    node: str
    run: int
    item: int | None
    reason: str
    """`expired` or `cancelled`."""


class StartChild(Struct, frozen=True, kw_only=True):
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


class InterruptAttempt(Struct, frozen=True, kw_only=True):
    """Stop this attempt as soon as possible; its end is still reported with `AttemptEnded` (usually CANCELLED)."""

    node: str
    run: int
    item: int | None
    attempt: int


class CancelChild(Struct, frozen=True, kw_only=True):
    """Request the cancellation of a child; its end is still reported with `ChildEnded`."""

    child_id: str


class PauseChild(Struct, frozen=True, kw_only=True):
    """Pass a pause on to a child."""

    child_id: str


class ResumeChild(Struct, frozen=True, kw_only=True):
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


class Decision(Struct, frozen=True):
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
