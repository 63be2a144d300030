"""Why an execution is where it is, in words, with the facts behind them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from services.engine.expressions import ExpressionError, NeedsWorker, Template
from services.engine.graph import Transition, When
from services.engine.rebuild import context_before
from services.engine.scopes import Done, Names, Standpoint, error_value, time_text
from services.engine.state import Run, State
from services.engine.statuses import ENDED, Phase
from services.engine.view import waiting_for

Fact = dict[str, Any]
_MAX_RUNS = 50
_WORDS = {
    "inquiry": "waits for an answer",
    "child": "waits for its sub-workflow",
    "timer": "waits for a time",
    "delay": "waits before it starts",
    "retry": "waits before its next attempt",
}


def explain(state: State, now: datetime) -> list[Fact]:
    """Facts, each `{kind, text, …}`: the status, what is waited for, what runs, open joins, conditions that were false."""
    return [
        _status(state, now),
        *_waits(state),
        *_running(state),
        *_held(state),
        *_joins(state),
        *_dead_ends(state, now),
    ]


def _status(state: State, now: datetime) -> Fact:
    failure = state.failure or state.fatal
    if failure is not None:
        text = f"the execution is {state.phase}: {failure.message}"
        return {"kind": "status", "text": text, "error": error_value(failure)}
    since = state.ended_at or state.started_at or now
    return {"kind": "status", "text": f"the execution is {state.phase}", "since": time_text(since)}


def _waits(state: State) -> Iterator[Fact]:
    for wait in waiting_for(state):
        until = f" until {wait['until']}" if wait["until"] else ""
        yield {**wait, "text": f"{wait['node_id']} {_WORDS[wait['kind']]} since {wait['since']}{until}"}


def _running(state: State) -> Iterator[Fact]:
    for work in state.work.values():
        if work.in_slot and not state.ended:
            since = time_text(work.since)
            text = f"{work.node} performs {work.action}, attempt {work.attempt}, since {since}"
            yield {"kind": "running", "node_id": work.node, "item_index": work.item, "since": since, "text": text}


def _held(state: State) -> Iterator[Fact]:
    """Tasks that may start and do not."""
    if state.phase in ENDED:
        return
    for _, token in sorted(state.staged.items()):
        why = f"the execution is {state.phase}"
        if state.phase is Phase.RUNNING and state.slots < state.limits.max_parallel_nodes:
            why = "nobody drives the execution now"
        elif state.phase is Phase.RUNNING:
            why = f"{state.slots} actions are in flight and MAX_PARALLEL_NODES is {state.limits.max_parallel_nodes}"
        yield {"kind": "ready", "node_id": token.node, "text": f"{token.node} may start, but {why}"}


def _joins(state: State) -> Iterator[Fact]:
    for (node, route), gathering in state.gatherings.items():
        join = state.graph.flow.joins[node]
        missing = [source for source in join.sources if source not in gathering.arrived]
        arrived = list(gathering.arrived)
        text = f"{node} waits for {join.need - len(arrived)} of {', '.join(missing)}; {', '.join(arrived)} arrived"
        yield {
            "kind": "join",
            "node_id": node,
            "route": route or None,
            "arrived": arrived,
            "missing": missing,
            "text": text,
        }


def _dead_ends(state: State, now: datetime) -> Iterator[Fact]:
    """Conditions that were false where a branch ended, with the values they looked at; the latest runs only."""
    followed = {key for run in state.runs.values() for key in run.inbound}
    ends = [run for run in state.runs.values() if run.outcome is not None and run.key not in followed]
    for run in ends[-_MAX_RUNS:]:
        taken = {entry.transition for entry in run.fired}
        for index, step in enumerate(state.graph.nodes[run.node].next):
            if index not in taken and not run.undo:
                yield _false(state, run, step, now)


def _false(state: State, run: Run, step: Transition, now: datetime) -> Fact:
    leads_to = [edge.target for edge in step.edges]
    values = _values(state, run, step.when, now) if isinstance(step.when, Template) else {}
    seen = "".join(f", {name} is {value!r}" for name, value in values.items())
    text = f"{run.node} did not go on to {', '.join(leads_to)}: {_condition(step.when)} was not true{seen}"
    return {
        "kind": "condition",
        "node_id": run.node,
        "to": leads_to,
        "when": _condition(step.when),
        "values": values,
        "text": text,
    }


def _condition(when: When) -> str:
    if when is None:
        return "another choice"
    return " or ".join(sorted(when)) if isinstance(when, frozenset) else str(when.source)


def _values(state: State, run: Run, when: Template, now: datetime) -> dict[str, Any]:
    """The values of the names that a condition reads, where they can still be told."""
    assert run.outcome is not None
    at = Standpoint(state, context_before(state, run), now).at(run)
    at.done = Done(run.outcome, run.output, run.failure)
    found: dict[str, Any] = {"result()": run.output} if "result" in when.functions else {}
    for path in sorted(when.free_names, key=str):
        try:
            found[".".join(map(str, path))] = _read(at, path)
        except (LookupError, TypeError, ExpressionError, NeedsWorker):
            continue
    return found


def _read(at: Standpoint, path: tuple[Any, ...]) -> Any:
    value: Any = at.variable(path[1]) if path[0] == "ctx" and len(path) > 1 else Names(at)[path[0]]
    for key in path[2:] if path[0] == "ctx" else path[1:]:
        value = value[key]
    return value if not hasattr(value, "_at") else dict(value)
