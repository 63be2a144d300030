"""What the shell tells the engine. Every input carries `now`, the only clock the engine has.

Any input may come twice, late, or in a surprising order: what no longer applies decides to nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct, field

from services.engine.events import Reused
from services.engine.graph import ActionFacts, Failure, Limits
from services.engine.statuses import Outcome


class Reuse(Struct, frozen=True, kw_only=True):
    """What a re-run takes over from an earlier execution; made by `rerun.plan`."""

    of: str
    """Id of the execution that is re-run."""
    runs: tuple[Reused, ...] = ()
    """Runs whose results are taken over, in the order in which they ended."""
    items: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """`node@route#n` (nth run there, from 1) -> item index as text -> output that is not computed again."""


class Begin(Struct, frozen=True, kw_only=True):
    """Start a new execution; decides to event 0 and the first tasks.

    `parameters` were validated by the shell, defaults of `param_schema` filled in. `actions` gives the facts of every
    action ref that is literal in the graph (`literal_actions(graph)`); others are asked for with `Evaluate`.
    """

    now: datetime
    execution_id: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    workflow: Mapping[str, Any] = field(default_factory=dict)
    """`id`, `ref`, `version` and whatever else `system` should show."""
    context: Mapping[str, Any] = field(default_factory=dict)
    """Values the application adds to the variables (Orquesta's `st2` context)."""
    config: Mapping[str, Any] = field(default_factory=dict)
    """The pack's configuration."""
    limits: Limits = field(default_factory=Limits)
    """The server's; the graph's lower ones are applied here."""
    actions: Mapping[str, ActionFacts] = field(default_factory=dict)
    depth: int = 1
    """1 for an execution started from outside, one more for each parent above."""
    parent: str | None = None
    reuse: Reuse | None = None


class AttemptEnded(Struct, frozen=True, kw_only=True):
    """An attempt that `Perform` asked for has ended. One that is not in flight (any more) changes nothing.

    `output` is JSON (what `to_journal` let through). A `failure` of type `limit` fails the execution, one of type
    `interrupted` is never retried.
    """

    now: datetime
    node: str
    run: int
    item: int | None = None
    attempt: int = 1
    outcome: Outcome = Outcome.COMPLETED
    output: Any = None
    failure: Failure | None = None


class TimerFired(Struct, frozen=True, kw_only=True):
    """A timer is due."""

    now: datetime
    id: str


class InquiryAnswered(Struct, frozen=True, kw_only=True):
    """Somebody answered; the shell validated the response and closed the row in the append's transaction."""

    now: datetime
    node: str
    run: int
    item: int | None = None
    response: Any = None
    by: str | None = None


class InquiryExpired(Struct, frozen=True, kw_only=True):
    """Nobody answered in time, as seen from outside. (The inquiry's own timer does the same.)"""

    now: datetime
    node: str
    run: int
    item: int | None = None


class ChildEnded(Struct, frozen=True, kw_only=True):
    """A child execution has ended; `output` is its final output."""

    now: datetime
    child_id: str
    outcome: Outcome
    output: Any = None
    failure: Failure | None = None


class ChildPaused(Struct, frozen=True, kw_only=True):
    """A child execution was paused (`paused`) or resumed."""

    now: datetime
    child_id: str
    paused: bool = True


class CancelRequested(Struct, frozen=True, kw_only=True):
    """Cancel: nothing starts any more, what waits ends, what runs is interrupted. Refused when already ended."""

    now: datetime
    by: str | None = None
    reason: str | None = None


class PauseRequested(Struct, frozen=True, kw_only=True):
    """Pause: no new task starts, running ones finish. Refused unless running."""

    now: datetime
    by: str | None = None


class ResumeRequested(Struct, frozen=True, kw_only=True):
    """Resume a paused execution. Refused unless paused."""

    now: datetime
    by: str | None = None


class LimitPassed(Struct, frozen=True, kw_only=True):
    """A limit that only the shell can measure was passed: fails the execution with `error_type: limit`."""

    now: datetime
    limit: str
    """Its name: `WORKFLOW_TIMEOUT_SECONDS`."""
    message: str = ""


class Recovered(Struct, frozen=True, kw_only=True):
    """The shell took this execution over and knows nothing of what was in flight.

    Decides to the commands for everything in flight: attempts of effect none, read and write are performed again (same
    attempt number, key and input), timers set, inquiries and children ensured. An irreversible attempt in flight ends
    as failed with `error_type: interrupted`. Also right after a restart; repeating it is harmless.
    """

    now: datetime


class Released(Struct, frozen=True, kw_only=True):
    """Whoever was told to hold back (`decide(…, hold=True)`) need not any more: what may start now starts.

    Also when somebody who held back has written into the log. Where nothing was held back, nothing happens.
    """

    now: datetime


class Evaluated(Struct, frozen=True, kw_only=True):
    """The answers to an `Evaluate` command, together with the input that needed them (itself perhaps an `Evaluated`)."""

    of: Input
    answers: Mapping[str, Mapping[str, Any]]
    """Request id -> `{"value": …}` or `{"error": "…"}`."""
    actions: Mapping[str, ActionFacts | None] = field(default_factory=dict)
    """Facts of the refs that were asked for; None: there is no such action, and its task fails."""


Input = (
    Begin
    | AttemptEnded
    | TimerFired
    | InquiryAnswered
    | InquiryExpired
    | ChildEnded
    | ChildPaused
    | CancelRequested
    | PauseRequested
    | ResumeRequested
    | LimitPassed
    | Recovered
    | Released
    | Evaluated
)

Answers = Mapping[str, Mapping[str, Any]]
Refs = Sequence[str]
