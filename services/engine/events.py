"""What happened: the only thing that is stored, and all that `evolve` needs.

Everything an expression yielded is in here (rendered inputs, fired transitions, variables, delays, item lists), so
folding evaluates nothing. Events are plain facts about names; which edges a transition has is read from the graph.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from msgspec import Struct, field

from models.records import Effect
from services.engine.graph import ActionFacts, Failure, Kind
from services.engine.statuses import Change, Outcome, Phase

FORMAT = 1
"""Version of the stored form (column `v` of `execution_event`)."""


class Fired(Struct, frozen=True):
    """A transition that held, with the variables it published."""

    transition: int
    """Its index in the task's `next`."""
    delta: Mapping[str, Any] = field(default_factory=dict)
    merged: tuple[str, ...] = ()
    """Names of the delta whose objects are merged into what is there."""


class Started(Struct, frozen=True, kw_only=True):
    """Event 0: everything an execution starts from."""

    at: datetime
    execution_id: str
    engine: str
    """Version of the engine that started it; an older engine must not continue it."""
    graph: str
    """Hash of the graph."""
    parameters: Mapping[str, Any]
    variables: Mapping[str, Any]
    """The first variables: application context, inputs (where they are variables) and `vars`, evaluated."""
    workflow: Mapping[str, Any]
    config: Mapping[str, Any]
    limits: Mapping[str, Any]
    actions: Mapping[str, ActionFacts]
    depth: int = 1
    parent: str | None = None
    rerun_of: str | None = None
    reused: tuple[Reused, ...] = ()
    reused_items: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


class NodeStarted(Struct, frozen=True, kw_only=True):
    """A node was entered: its staged arrival is used up and its first attempt begins (or its delay, or its list)."""

    token: int | None
    """The staged arrival that this uses up; None for an undo run."""
    node: str
    run: int
    route: str
    at: datetime
    kind: Kind
    action: str | None = None
    input: Any = None
    effect: Effect = Effect.NONE
    timeout_s: float | None = None
    delay_s: float = 0.0
    secrets: tuple[Mapping[str, Any], ...] = ()
    """Places of secrets in the input (`expressions.insert_secrets`)."""
    undoes: tuple[str, int] | None = None
    """The run that this one undoes."""
    items: tuple[Any, ...] | None = None
    """The list of `with_items`."""
    concurrency: int | None = None
    child_id: str | None = None


class AttemptStarted(Struct, frozen=True, kw_only=True):
    """An item's first attempt, or a further attempt of a node or item, or the first one after a delay."""

    node: str
    run: int
    item: int | None
    attempt: int
    at: datetime
    action: str | None = None
    """None: as before. So are `input`, `kind` and the rest."""
    input: Any = None
    secrets: tuple[Mapping[str, Any], ...] = ()
    kind: Kind | None = None
    effect: Effect | None = None
    timeout_s: float | None = None
    child_id: str | None = None


class AttemptEnded(Struct, frozen=True, kw_only=True):
    """An attempt ended and the node goes on: an item, or an attempt that is repeated."""

    node: str
    run: int
    item: int | None
    attempt: int
    at: datetime
    outcome: Outcome
    output: Any = None
    failure: Failure | None = None
    retry_s: float | None = None
    """Seconds until the next attempt; None: this item has ended for good."""


class ListRestarted(Struct, frozen=True, kw_only=True):
    """A whole item list is repeated after `retry_s` seconds (Orquesta's retry of `with`)."""

    node: str
    run: int
    attempt: int
    at: datetime
    retry_s: float


class ListClosed(Struct, frozen=True, kw_only=True):
    """No further item of this list starts: one failed, and the policy says so."""

    node: str
    run: int
    at: datetime


class NodeEnded(Struct, frozen=True, kw_only=True):
    """A node ended, and this is what follows."""

    node: str
    run: int
    at: datetime
    outcome: Outcome
    output: Any = None
    failure: Failure | None = None
    fired: tuple[Fired, ...] = ()
    handled: bool = True
    """False: a failure that no transition took care of, or transitions that could not be evaluated."""


class Reused(Struct, frozen=True, kw_only=True):
    """A run of an earlier execution whose result is taken over."""

    node: str
    route: str
    run: int
    inbound: tuple[tuple[str, int], ...]
    outcome: Outcome
    at: datetime
    started_at: datetime
    kind: Kind = Kind.ACTION
    action: str | None = None
    effect: Effect = Effect.NONE
    input: Any = None
    output: Any = None
    failure: Failure | None = None
    fired: tuple[Fired, ...] = ()

    def started(self) -> NodeStarted:
        """The event that would have begun it here."""
        return NodeStarted(
            token=None,
            node=self.node,
            run=self.run,
            route=self.route,
            at=self.started_at,
            kind=self.kind,
            action=self.action,
            input=self.input,
            effect=self.effect,
        )

    def ended(self) -> NodeEnded:
        """The event that would have ended it here."""
        return NodeEnded(
            node=self.node,
            run=self.run,
            at=self.at,
            outcome=self.outcome,
            output=self.output,
            failure=self.failure,
            fired=self.fired,
        )


class TimerSet(Struct, frozen=True, kw_only=True):
    """Something waits for a time."""

    id: str
    at: datetime
    node: str
    run: int
    item: int | None
    purpose: str
    """`delay`, `wait`, `retry`, `timeout`."""
    due: datetime


class TimerFired(Struct, frozen=True, kw_only=True):
    """A timer fired; one that is not open changes nothing."""

    id: str
    at: datetime


class InquiryAnswered(Struct, frozen=True, kw_only=True):
    """Who answered; the end of the task follows."""

    node: str
    run: int
    item: int | None
    at: datetime
    by: str | None = None


class ChildPaused(Struct, frozen=True, kw_only=True):
    """A child was paused or resumed."""

    child_id: str
    at: datetime
    paused: bool


class Changed(Struct, frozen=True, kw_only=True):
    """The execution moved to another phase."""

    change: Change
    at: datetime
    by: str | None = None
    reason: str | None = None


class StopRequested(Struct, frozen=True, kw_only=True):
    """Running work was asked to stop."""

    node: str
    run: int
    item: int | None
    at: datetime


class Troubled(Struct, frozen=True, kw_only=True):
    """Something went wrong that is worth a line: kept in the log even when it was handled."""

    kind: str
    """`task_failed`, `fail_command`, `expression`, `value_type`, `unreachable_join`, `limit`, `output`, `undo_failed`; from
    outside the engine `quarantined` and `forced`."""
    at: datetime
    failure: Failure
    transition: int | None = None
    """Index of the transition that could not be evaluated, or that failed the execution."""
    fatal: bool = False
    """The execution fails because of this."""


class Logged(Struct, frozen=True, kw_only=True):
    """Lines an action wrote while it ran; kept for the reader of the log, means nothing to the engine."""

    node: str
    run: int
    item: int | None
    attempt: int
    at: datetime
    lines: tuple[Any, ...]


class Claimed(Struct, frozen=True, kw_only=True):
    """Another driver took over; written by the journal, means nothing to the engine."""

    driver: str
    epoch: int
    at: datetime


class Finished(Struct, frozen=True, kw_only=True):
    """The last event."""

    phase: Phase
    at: datetime
    output: Any = None
    failure: Failure | None = None


Event = (
    Started
    | NodeStarted
    | AttemptStarted
    | AttemptEnded
    | ListRestarted
    | ListClosed
    | NodeEnded
    | TimerSet
    | TimerFired
    | InquiryAnswered
    | ChildPaused
    | Changed
    | StopRequested
    | Troubled
    | Logged
    | Claimed
    | Finished
)
