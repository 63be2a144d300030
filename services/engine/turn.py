"""One decision in the making: the events and commands so far, and the evaluation of templates."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from models.records import ErrorType
from services.engine.commands import EngineCommand, Evaluate, SetTimer, work_key
from services.engine.contexts import Context
from services.engine.events import Event, TimerSet
from services.engine.evolve import evolve
from services.engine.expressions_errors import ExpressionError, NeedsWorker
from services.engine.graph import ActionFacts, Failure, Graph, Template
from services.engine.scopes import Done, Standpoint
from services.engine.state import Key, Run, State

_NO_ANSWERS: Mapping[str, Mapping[str, Any]] = {}


class Unanswered(Exception):
    """Something has to be asked first; what it is stands in `Turn.requests` and `Turn.refs`."""


class BadValue(Exception):
    """A rendered value has the wrong type."""


class LimitReached(Exception):
    """Starting something would pass a limit."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class Turn:
    """Rehearses events on the state and collects commands."""

    __slots__ = (
        "_from",
        "_scope",
        "answers",
        "commands",
        "events",
        "facts",
        "graph",
        "now",
        "refs",
        "requests",
        "state",
    )

    def __init__(self, graph: Graph, state: State, now: datetime) -> None:
        self.graph = graph
        self.state = state
        self.now = now if state.last_at is None or now >= state.last_at else state.last_at
        """Never before the last event."""
        self.events: list[Event] = []
        self.commands: list[EngineCommand] = []
        self.answers = _NO_ANSWERS
        self.facts: Mapping[str, ActionFacts | None] = {}
        """Of refs that were asked for; None: there is no such action."""
        self.requests: list[Mapping[str, Any]] = []
        self.refs: dict[str, None] = {}
        self._from: Standpoint | None = None
        """The standpoint of the latest evaluation; a scope is made once for all that look from it."""
        self._scope: Any = None

    def emit(self, event: Event) -> None:
        """Add an event; the state shows it from now on."""
        evolve(self.state, event)
        self.events.append(event)

    def standpoint(self, context: Context) -> Standpoint:
        """Where expressions about the whole execution look from."""
        return Standpoint(self.state, context, self.now)

    def before(self, run: Run, context: Context | None = None) -> Standpoint:
        """Where expressions of a run look from while it has not ended."""
        context = context or run.context
        assert context is not None
        return Standpoint(self.state, context, self.now).at(run)

    def after(self, run: Run, done: Done) -> Standpoint:
        """Where `next` and `retry` of a run look from: `result()` and its like are known."""
        at = self.before(run)
        at.done = done
        at.error = done.failure or run.error
        return at

    def evaluate(self, template: Template, at: Standpoint) -> Any:
        """The value of a template; raises ExpressionError, or Unanswered when the worker has to be asked."""
        try:
            if at is not self._from:
                self._from, self._scope = at, at.scope(self.answers)
            return template.evaluate(self._scope)
        except NeedsWorker as need:
            self.requests.extend(need.requests)
            raise Unanswered from need

    def action_facts(self, ref: str, *, literal: bool) -> ActionFacts:
        """What is known of an action; a rendered ref that nobody has heard of has to be asked for."""
        known = self.state.actions.get(ref)
        if known is not None:
            return known
        if literal:
            return ActionFacts()
        if ref not in self.facts:
            self.refs[ref] = None
            raise Unanswered
        facts = self.facts[ref]
        if facts is None:
            raise BadValue(f"there is no action {ref!r}")
        return facts

    def ask(self) -> None:
        """Give up this decision if there are open questions. Callers go on after `Unanswered` first, to ask all at once."""
        if self.requests or self.refs:
            raise Unanswered

    def set_timer(self, purpose: str, key: Key, due: datetime) -> None:
        """Wait for a time; what it is for is part of its name."""
        name = f"{purpose}/{work_key(*key)}"
        node, run, item = key
        self.emit(TimerSet(id=name, at=self.now, node=node, run=run, item=item, purpose=purpose, due=due))
        self.commands.append(SetTimer(id=name, at=due))

    def question(self) -> Evaluate:
        """The open questions as a command."""
        return Evaluate(requests=tuple(self.requests), actions=tuple(self.refs))


def invalid(error: ExpressionError | BadValue | ValueError, node: str | None = None) -> Failure:
    """The failure of something that could not be rendered."""
    details: dict[str, Any] | None = None
    if isinstance(error, ExpressionError) and error.expression:
        details = {"expression": error.expression, "position": error.position}
    return Failure(type=ErrorType.VALIDATION, message=str(error), details=details, node=node)
