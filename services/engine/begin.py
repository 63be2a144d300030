"""Event 0: inputs, variables, limits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from models.records import ErrorType
from services.engine import events, inputs
from services.engine.contexts import Context
from services.engine.expressions_errors import ExpressionError
from services.engine.graph import Assignment, Failure, Graph, Limits
from services.engine.scopes import Standpoint
from services.engine.state import State
from services.engine.stopping import fail
from services.engine.transitions import overlaid
from services.engine.turn import Turn, Unanswered, invalid

ENGINE_VERSION = "1"
"""Raised when an older engine could not continue what this one started."""


def begin(turn: Turn, given: inputs.Begin) -> None:
    """Decide event 0; an error in an input or variable fails the execution before any task."""
    first = _Variables(turn, given)
    first.take(turn.graph.inputs, first.input)
    first.take(turn.graph.vars, first.variable)
    turn.ask()
    turn.emit(_started(turn.graph, given, turn, first))
    for failure in first.errors:
        fail(turn, failure, kind="expression")


class _Variables:
    """Evaluates inputs and `vars`, each seeing those before it."""

    def __init__(self, turn: Turn, given: inputs.Begin) -> None:
        self._turn = turn
        self._given = given
        self.parameters: dict[str, Any] = dict(given.parameters)
        self.values: dict[str, Any] = dict(given.context)
        self.errors: list[Failure] = []

    def take(self, entries: tuple[Assignment, ...], target: Any) -> None:
        """Evaluate entries in order; what cannot be evaluated is noted."""
        for entry in entries:
            try:
                target(entry)
            except ExpressionError as error:
                self.errors.append(invalid(error))
            except Unanswered:
                continue

    def input(self, entry: Assignment) -> None:
        """An input: the given value, else its default, else null."""
        name, space = entry.name, self.values if self._merges else self.parameters
        if name in self._given.parameters:
            space[name] = self._given.parameters[name]
        elif entry.value is not None:
            space[name] = self._evaluate(entry)
        elif entry.required:
            self.errors.append(Failure(type=ErrorType.VALIDATION, message=f"the input {name!r} is missing"))
        else:
            space[name] = None

    def variable(self, entry: Assignment) -> None:
        """A variable of the workflow."""
        self.values[entry.name] = self._evaluate(entry)

    @property
    def _merges(self) -> bool:
        return self._turn.graph.profile.inputs_are_variables

    def _evaluate(self, entry: Assignment) -> Any:
        assert entry.value is not None
        early = State(self._turn.graph)
        early.execution_id, early.parameters = self._given.execution_id, self.parameters
        early.workflow, early.config = self._given.workflow, self._given.config
        at = Standpoint(early, overlaid(Context(), self.values), self._turn.now)
        at.salt = ("vars", entry.name)
        return self._turn.evaluate(entry.value, at)


def _started(graph: Graph, given: inputs.Begin, turn: Turn, first: _Variables) -> events.Started:
    reuse = given.reuse
    return events.Started(
        at=turn.now,
        execution_id=given.execution_id,
        engine=ENGINE_VERSION,
        graph=graph.hash,
        parameters=first.parameters,
        variables=first.values,
        workflow=given.workflow,
        config=given.config,
        limits=_bounds(given.limits.lowered(graph.limits)),
        actions=given.actions,
        depth=given.depth,
        parent=given.parent,
        rerun_of=None if reuse is None else reuse.of,
        reused=() if reuse is None else reuse.runs,
        reused_items=_items(reuse),
    )


def _bounds(limits: Limits) -> dict[str, float]:
    return {name: getattr(limits, name) for name in Limits.__struct_fields__}


def _items(reuse: inputs.Reuse | None) -> Mapping[str, Mapping[str, Any]]:
    return {} if reuse is None else reuse.items
