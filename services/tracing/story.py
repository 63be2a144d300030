"""The log of an execution as spans: the execution is one, and so is every attempt of a task. Pure.

Approvals, waits and sub-workflows are spans of the task that waits; timers, take-overs, pauses and troubles are events
of the span they fall into.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from models.records import Effect
from services.engine import events as e
from services.engine.events import Event
from services.engine.graph import Failure, Kind
from services.engine.statuses import PUBLIC
from services.execution.book import Facts
from services.tracing.context import Lineage, attempt_id, lineage, span_id
from services.tracing.span import Happening, Span

if TYPE_CHECKING:
    from services.execution.journal import EventRow

MOST_HAPPENINGS = 128
"""As many events of one span as OpenTelemetry keeps by default."""
MOST_TEXT = 1000
Key = tuple[str, int, int | None]


@dataclass(slots=True)
class _About:
    """What a node does, as far as its spans say so."""

    kind: Kind
    action: str | None
    effect: Effect
    child_id: str | None = None


@dataclass(slots=True)
class _Open:
    """A span that has begun."""

    begun: datetime
    attempt: int
    about: _About
    items: int | None = None
    happenings: list[Happening] = field(default_factory=list)


class Story:
    """Reads the rows of one execution and tells its spans."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self._line: Lineage = lineage(facts.execution_id, facts.traceparent)
        self._spans: list[tuple[int, Span]] = []
        self._about: dict[tuple[str, int], _About] = {}
        self._open: dict[Key, _Open] = {}
        self._lists: dict[tuple[str, int], _Open] = {}
        self._timers: dict[str, Key] = {}
        self._happenings: list[Happening] = []
        self._seq = 0
        self._worker: str | None = None

    def spans(self, rows: Sequence[EventRow], told: range) -> list[Span]:
        """The spans that end in the rows `told`."""
        for row in rows:
            self._seq, self._worker = row.seq, None if row.driver is None else str(row.driver)
            for event in row.events:
                tell = _TELLS.get(type(event))
                if tell is not None:
                    tell(self, event)
        return [span for seq, span in self._spans if seq in told]

    # ---- nodes and attempts ----------------------------------------------------------------------------------------

    def node_started(self, event: e.NodeStarted) -> None:
        """A task begins: its list, its delay or its first attempt."""
        about = _About(event.kind, event.action, event.effect, event.child_id)
        self._about[event.node, event.run] = about
        if event.items is not None:
            self._lists[event.node, event.run] = _Open(event.at, 1, about, items=len(event.items))
        elif not event.delay_s:
            self._open[event.node, event.run, None] = _Open(event.at, 1, about)

    def attempt_started(self, event: e.AttemptStarted) -> None:
        """An attempt begins, or an item."""
        known = self._about[event.node, event.run]
        about = _About(
            event.kind or known.kind,
            event.action or known.action,
            known.effect if event.effect is None else event.effect,
            event.child_id or (known.child_id if event.item is None else None),
        )
        self._about[event.node, event.run] = about
        self._open[event.node, event.run, event.item] = _Open(event.at, event.attempt, about)

    def attempt_ended(self, event: e.AttemptEnded) -> None:
        """An attempt ends and another may follow."""
        key = (event.node, event.run, event.item)
        if event.retry_s is not None:
            self._note(key, "retry", event.at, after_seconds=event.retry_s)
        self._end(key, event.at, event.outcome.value, event.failure)

    def node_ended(self, event: e.NodeEnded) -> None:
        """A task ends, with whatever of it was under way."""
        for key in [key for key in self._open if key[:2] == (event.node, event.run)]:
            outcome = event.outcome.value if key[2] is None else "cancelled"
            self._end(key, event.at, outcome, event.failure if key[2] is None else None)
        whole = self._lists.pop((event.node, event.run), None)
        if whole is not None:
            key = (event.node, event.run, None)
            self._add(key, whole, event.at, _Ended(event.outcome.value, event.failure))

    # ---- what happens meanwhile --------------------------------------------------------------------------------------

    def timer_set(self, event: e.TimerSet) -> None:
        """Something waits."""
        key = self._timers[event.id] = (event.node, event.run, event.item)
        self._note(key, "timer set", event.at, purpose=event.purpose, due=event.due.isoformat())

    def timer_fired(self, event: e.TimerFired) -> None:
        """The wait is over."""
        self._note(self._timers.pop(event.id, None), "timer fired", event.at)

    def inquiry_answered(self, event: e.InquiryAnswered) -> None:
        """A person decided."""
        self._note((event.node, event.run, event.item), "inquiry answered", event.at, by=event.by)

    def stop_requested(self, event: e.StopRequested) -> None:
        """Work was asked to stop."""
        self._note((event.node, event.run, event.item), "stop requested", event.at)

    def changed(self, event: e.Changed) -> None:
        """Paused, resumed, cancelled …"""
        self._note(None, f"execution {event.change.value}", event.at, by=event.by, reason=event.reason)

    def troubled(self, event: e.Troubled) -> None:
        """Something went wrong that the span of an attempt does not say."""
        if event.kind == "attempt_failed":
            return
        message, node = _short(event.failure.message), event.failure.node
        self._note(None, "trouble", event.at, kind=event.kind, message=message, node=node)

    def claimed(self, event: e.Claimed) -> None:
        """Another worker goes on; what was under way is done again."""
        for key in (None, *self._open):
            self._note(key, "taken over", event.at, worker=event.driver, epoch=event.epoch)

    # ---- the execution ---------------------------------------------------------------------------------------------

    def finished(self, event: e.Finished) -> None:
        """The end, also of what nobody ended."""
        for key in list(self._open):
            self._end(key, event.at, "cancelled", None)
        facts, line = self._facts, self._line
        status = PUBLIC[event.phase].value
        failure = event.failure if status == "failed" else None
        more = {
            "millrace.execution.status": status,
            "millrace.execution.parent_id": facts.parent_execution_id,
            "millrace.execution.rerun_of": facts.rerun_of,
            "millrace.execution.triggered_by": facts.triggered_by,
            "error.type": failure.type.value if failure else None,
        }
        span = Span(
            name=facts.workflow_ref,
            trace_id=line.trace_id,
            span_id=line.span_id,
            parent_id=line.parent,
            parent_is_remote=True,
            begun=facts.start_time,
            ended=event.at,
            attributes=self._common() | _present(more),
            happenings=tuple(self._happenings),
            links=_rerun_link(facts),
            error=_message(failure, status == "failed"),
        )
        self._spans.append((self._seq, span))

    # ---- making spans ----------------------------------------------------------------------------------------------

    def _end(self, key: Key, at: datetime, outcome: str, failure: Failure | None) -> None:
        begun = self._open.pop(key, None)
        if begun is not None:
            self._add(key, begun, at, _Ended(outcome, failure))

    def _add(self, key: Key, begun: _Open, at: datetime, ended: _Ended) -> None:
        about, failure = begun.about, ended.failure
        is_list = begun.items is not None
        more = {
            "millrace.node": key[0],
            "millrace.run": key[1],
            "millrace.item": key[2],
            "millrace.items": begun.items,
            "millrace.attempt": None if is_list else begun.attempt,
            "millrace.kind": about.kind.value,
            "millrace.action": about.action,
            "millrace.effect": about.effect.value,
            "millrace.outcome": ended.outcome,
            "millrace.worker": self._worker,
            "millrace.child.execution.id": about.child_id,
            "error.type": failure.type.value if failure else None,
        }
        span = Span(
            name=key[0],
            trace_id=self._line.trace_id,
            span_id=self._id(key, begun),
            parent_id=self._parent(key),
            calls=about.action == "core.http" and not is_list,
            begun=begun.begun,
            ended=max(at, begun.begun),
            attributes=self._common() | _present(more),
            happenings=tuple(begun.happenings),
            links=((self._line.trace_id, span_id(about.child_id)),) if about.child_id else (),
            error=_message(failure, ended.outcome in ("failed", "timed_out")),
        )
        self._spans.append((self._seq, span))

    def _id(self, key: Key, begun: _Open) -> int:
        if begun.items is not None:
            return span_id(self._facts.execution_id, key[0], key[1], "items")
        if begun.about.child_id is not None:
            return child_call_id(begun.about.child_id)
        return attempt_id(self._facts.execution_id, key, begun.attempt)

    def _parent(self, key: Key) -> int:
        if key[2] is None:
            return self._line.span_id
        return span_id(self._facts.execution_id, key[0], key[1], "items")

    def _common(self) -> dict[str, str | int | float | bool]:
        facts = self._facts
        return {
            "millrace.execution.id": facts.execution_id,
            "millrace.workflow.ref": facts.workflow_ref,
            "millrace.workflow.version": facts.workflow_version,
        }

    def _note(self, key: Key | None, name: str, at: datetime, **facts: str | float | None) -> None:
        """An event of the span of `key` while that is open, else of the execution's."""
        begun = None if key is None else self._open.get(key)
        where = self._happenings if begun is None else begun.happenings
        if len(where) < MOST_HAPPENINGS:
            about = {} if key is None or begun is not None else {"millrace.node": key[0]}
            named = {f"millrace.{name}": value for name, value in facts.items()}
            where.append(Happening(name, at, _present(about | named)))


@dataclass(frozen=True, slots=True)
class _Ended:
    """How a span ended."""

    outcome: str
    failure: Failure | None


def child_call_id(child_id: str) -> int:
    """The id of the span that waits for a sub-workflow; the child's own span is below it."""
    return span_id(child_id, "called")


def _rerun_link(facts: Facts) -> tuple[tuple[int, int], ...]:
    if facts.rerun_of is None:
        return ()
    before = lineage(facts.rerun_of, facts.traceparent)
    return ((before.trace_id, before.span_id),)


def _message(failure: Failure | None, failed: bool) -> str | None:
    if failure is not None:
        return _short(failure.message)
    return "failed" if failed else None


def _short(text: str) -> str:
    return text if len(text) <= MOST_TEXT else text[: MOST_TEXT - 1] + "…"


def _present(facts: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in facts.items() if value is not None}


_TELLS: dict[type[Event], Callable[[Story, Any], None]] = {
    e.NodeStarted: Story.node_started,
    e.AttemptStarted: Story.attempt_started,
    e.AttemptEnded: Story.attempt_ended,
    e.NodeEnded: Story.node_ended,
    e.TimerSet: Story.timer_set,
    e.TimerFired: Story.timer_fired,
    e.InquiryAnswered: Story.inquiry_answered,
    e.StopRequested: Story.stop_requested,
    e.Changed: Story.changed,
    e.Troubled: Story.troubled,
    e.Claimed: Story.claimed,
    e.Finished: Story.finished,
}
