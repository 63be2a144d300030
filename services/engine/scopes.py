"""What expressions see of an execution: names and functions over the state, looked up only when they are read."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from services.engine.contexts import Context
from services.engine.expressions_scope import Scope
from services.engine.graph import Failure
from services.engine.state import Run, State
from services.engine.statuses import NODE_STATUS, Outcome

_RUNNING = "running"
_NEVER = "null"
_NO_LOCALS: Mapping[str, Any] = {}


class Standpoint:
    """From where an expression looks: its branch, and what just ended there (in `next` and `retry`)."""

    __slots__ = ("context", "done", "error", "locals", "now", "number", "route", "run", "salt", "state")

    def __init__(self, state: State, context: Context, now: datetime) -> None:
        self.state = state
        self.context = context
        self.now = now
        self.route = ""
        self.run: Run | None = None
        self.done: Done | None = None
        self.error: Failure | None = None
        self.locals = _NO_LOCALS
        """Names that win over all others: the item and its parts, earlier outputs."""
        self.salt: tuple[Any, ...] = ()
        """Where the expression stands; makes `uuid()` differ from place to place."""
        self.number = 0

    def scope(self, answers: Mapping[str, Mapping[str, Any]]) -> Scope:
        """The scope to evaluate templates in; later changes of the standpoint show in it."""
        return Scope(Names(self), Functions(self), answers)

    def at(self, run: Run) -> Standpoint:
        """Look from a run."""
        self.run, self.route, self.error = run, run.route, run.failure or run.error
        self.salt = run.key
        return self

    def variables(self) -> Mapping[str, Any]:
        """Everything `ctx()` gives."""
        state, hidden = self.state, self.state.graph.profile.inputs_are_variables
        values: dict[str, Any] = {} if hidden else dict(state.parameters)
        values |= {name: variable.value for name, variable in self.context.variables.items() if name[:2] != "__"}
        return values if hidden else {**values, **self.locals}

    def variable(self, name: str) -> Any:
        """One of them; raises KeyError."""
        if name in self.locals:
            return self.locals[name]
        found = self.context.variables.get(name)
        if found is not None and name[:2] != "__":
            return found.value
        if self.state.graph.profile.inputs_are_variables:
            raise KeyError(name)
        return self.state.parameters[name]

    def find(self, node: str, route: str | None = None) -> Run | None:
        """The latest run of a task on this route, else on the routes it came from."""
        route = self.route if route is None else route
        while True:
            run = self.state.latest.get((node, route))
            if run is not None or not route:
                return run
            route = route.rpartition("/")[0]

    def word(self, run: Run) -> str:
        """The status of a run as this dialect calls it."""
        done = self.done
        if done is not None and run is self.run:
            outcome: Outcome | None = done.outcome
        else:
            outcome = run.outcome
        status = _RUNNING if outcome is None else str(NODE_STATUS[outcome])
        return self.state.graph.profile.status_words.get(status, status)

    def result_of(self, run: Run) -> Any:
        """The result of a run, including that of the one that just ended."""
        if self.done is not None and run is self.run:
            return self.done.output
        return run.output


class Done:
    """How the current task (or attempt, or item) has ended, before the state knows it."""

    __slots__ = ("failure", "kind", "outcome", "output")

    def __init__(self, outcome: Outcome, output: Any, failure: Failure | None, kind: str | None = None) -> None:
        self.outcome = outcome
        self.output = output
        self.failure = failure
        self.kind = kind
        """What the error log calls its failure, where that is not the usual word."""


class View(Mapping[str, Any]):
    """A read-only object over the state."""

    __slots__ = ("_at",)

    def __init__(self, at: Standpoint) -> None:
        self._at = at

    def __len__(self) -> int:
        return sum(1 for _ in self)


class Variables(View):
    """`vars`."""

    def __getitem__(self, name: str) -> Any:
        return self._at.context.variables[name].value

    def __iter__(self) -> Iterator[str]:
        return iter(self._at.context.variables)


class Workflow(Variables):
    """`workflow`: the variables, and `workflow.param` as an old name of the parameters."""

    def __getitem__(self, name: str) -> Any:
        if name == "param" and name not in self._at.context.variables:
            return self._at.state.parameters
        return super().__getitem__(name)


class Anything(View):
    """`variables`: variables, then parameters."""

    def __getitem__(self, name: str) -> Any:
        return self._at.variable(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._at.variables())


class Tasks(View):
    """`task`."""

    def __getitem__(self, name: str) -> Any:
        run = self._at.find(name)
        if run is None:
            raise KeyError(name)
        return Task(self._at, run)

    def __iter__(self) -> Iterator[str]:
        return (node for node in self._at.state.counts if self._at.find(node) is not None)


class Task(View):
    """`task.NAME`."""

    __slots__ = ("_run",)
    _NAMES = ("result", "output", "status", "error", "items")

    def __init__(self, at: Standpoint, run: Run) -> None:
        super().__init__(at)
        self._run = run

    def __getitem__(self, name: str) -> Any:
        run = self._run
        if name in ("result", "output"):
            return self._at.result_of(run)
        if name == "status":
            return self._at.word(run)
        if name == "error":
            return error_value(run.failure)
        if name == "items" and run.items is not None:
            return item_values(run)
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return (name for name in self._NAMES if name != "items" or self._run.items is not None)


def item_values(run: Run) -> list[dict[str, Any]]:
    """`task.NAME.items`: status, output and error of every item, in order."""
    assert run.items is not None
    values: list[dict[str, Any]] = []
    for index in range(len(run.items.values)):
        record = run.items.records.get(index)
        if record is None:
            values.append({"status": "pending", "output": None, "error": None})
        else:
            status = str(NODE_STATUS[record.outcome])
            values.append({"status": status, "output": record.output, "error": error_value(record.failure)})
    return values


def error_value(failure: Failure | None) -> dict[str, Any] | None:
    """A failure as expressions and answers show it."""
    if failure is None:
        return None
    return {
        "type": str(failure.type),
        "message": failure.message,
        "node": failure.node,
        "attempt": failure.attempt,
        "details": failure.details,
    }


def time_text(at: datetime) -> str:
    """RFC 3339 in UTC."""
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


class Names(Mapping[str, Any]):
    """Root names of expressions."""

    __slots__ = ("_at",)

    def __init__(self, at: Standpoint) -> None:
        self._at = at

    def __getitem__(self, name: str) -> Any:
        at = self._at
        if name in at.locals:
            return at.locals[name]
        if at.state.graph.profile.namespaces:
            reader = _NAMESPACES.get(name)
            if reader is not None:
                value = reader(at)
                if value is not None:
                    return value
        try:
            return at.variable(name)
        except KeyError:
            run = at.find(name) if at.state.graph.profile.namespaces else None
            if run is None:
                raise
            return Task(at, run)

    def __iter__(self) -> Iterator[str]:
        return iter({**self._at.variables(), **(_NAMESPACES if self._at.state.graph.profile.namespaces else {})})

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _system(at: Standpoint) -> dict[str, Any]:
    state = at.state
    started = state.started_at or at.now
    return {
        **state.workflow,
        "execution_id": state.execution_id,
        "workflow": dict(state.workflow),
        "started_at": time_text(started),
        "attempt": at.run.attempt if at.run is not None else 1,
    }


_NAMESPACES: Mapping[str, Callable[[Standpoint], Any]] = {
    "parameters": lambda at: at.state.parameters,
    "vars": Variables,
    "workflow": Workflow,
    "variables": Anything,
    "task": Tasks,
    "tasks": Tasks,
    "config": lambda at: at.state.config,
    "system": _system,
    "error": lambda at: error_value(at.error),
}


class Functions(Mapping[str, Callable[..., Any]]):
    """The functions of one standpoint."""

    __slots__ = ("_at",)

    def __init__(self, at: Standpoint) -> None:
        self._at = at

    def __getitem__(self, name: str) -> Callable[..., Any]:
        function = _ALWAYS.get(name)
        if function is None and self._at.done is not None:
            function = _AFTERWARDS.get(name)
        if function is None and name == "item" and "item" in self._at.locals:
            function = _item
        if function is None:
            raise KeyError(name)
        return lambda *args, **options: function(self._at, *args, **options)

    def __iter__(self) -> Iterator[str]:
        yield from _ALWAYS
        if self._at.done is not None:
            yield from _AFTERWARDS
        if "item" in self._at.locals:
            yield "item"

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _ctx(at: Standpoint, name: str | None = None) -> Any:
    if name is None:
        return at.variables()
    try:
        return at.variable(name)
    except KeyError:
        raise LookupError(f"there is no variable {name!r}") from None


def _uuid(at: Standpoint) -> str:
    at.number += 1
    namespace = uuid.uuid5(uuid.NAMESPACE_OID, at.state.execution_id)
    return str(uuid.uuid5(namespace, "/".join(map(str, (at.state.events, *at.salt, at.number)))))


def _routes(at: Standpoint) -> list[str]:
    """The routes in the order in which they came up; StackStorm numbers them so."""
    return list(dict.fromkeys(["", *(run.route for run in at.state.runs.values())]))


def _find(at: Standpoint, name: str, route: str | int | None) -> Run | None:
    """A task on the route of that name or number."""
    if isinstance(route, int):
        routes = _routes(at)
        return at.find(name, routes[route]) if 0 <= route < len(routes) else None
    return at.find(name, route)


def _task_status(at: Standpoint, name: str, route: str | int | None = None) -> str:
    run = _find(at, name, route)
    return _NEVER if run is None else at.word(run)


def _task(at: Standpoint, name: str | None = None, route: str | int | None = None) -> dict[str, Any]:
    run = at.run if name is None else _find(at, name, route)
    if run is None:
        raise LookupError(f"the task {name!r} has not started")
    result = at.result_of(run)
    if run.items is not None:
        words = at.state.graph.profile.status_words
        entries = [
            {"status": words.get(entry["status"], entry["status"]), "result": entry["output"]}
            for entry in item_values(run)
        ]
        result = {"items": entries}
    return {
        "task_name": run.node,
        "task_id": run.node,
        "route": _routes(at).index(run.route),
        "status": at.word(run),
        "result": result,
    }


def _item(at: Standpoint, key: Any = None) -> Any:
    item = at.locals["item"]
    return item if key is None else item[key]


def _done(at: Standpoint) -> Done:
    assert at.done is not None
    return at.done


def _failed(at: Standpoint) -> bool:
    outcome = _done(at).outcome
    if outcome is Outcome.TIMED_OUT:
        return at.state.graph.profile.failed_includes_timeout
    return outcome is Outcome.FAILED


_ALWAYS: Mapping[str, Callable[..., Any]] = {
    "ctx": _ctx,
    "error": lambda at: error_value(at.error),
    "now": lambda at: time_text(at.now),
    "uuid": _uuid,
    "task": _task,
    "task_status": _task_status,
}

_AFTERWARDS: Mapping[str, Callable[..., Any]] = {
    "result": lambda at: _done(at).output,
    "succeeded": lambda at: _done(at).outcome in (Outcome.COMPLETED, Outcome.SKIPPED),
    "failed": _failed,
    "timed_out": lambda at: _done(at).outcome is Outcome.TIMED_OUT,
    "cancelled": lambda at: _done(at).outcome is Outcome.CANCELLED,
    "completed": lambda _at: True,
}
