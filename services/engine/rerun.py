"""Re-run as a pure plan: what a new execution takes over from an ended one, and what happens again.

The plan is a list of runs to take over, in the order in which they ended. Folding event 0 of the new execution replays
them: each uses up its token and lets its transitions arrive again, so that exactly what is not taken over is staged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import asdict

from models.records import Effect
from services.engine import events
from services.engine.events import Reused
from services.engine.evolve import ReuseMismatch, evolve, item_key
from services.engine.graph import Command, Graph, Kind
from services.engine.inputs import Reuse
from services.engine.state import Run, State
from services.engine.statuses import SUCCESS, Outcome

Key = tuple[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class From:
    """A task to run again, with everything behind it."""

    node: str
    route: str | None = None
    """Only this instance; None: the latest run on every route."""
    reset_items: bool = False
    """Run completed items again as well."""


@dataclass(frozen=True, slots=True)
class Refused:
    """Why there is no plan."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a re-run would do. `reuse` goes into `Begin.reuse`."""

    reuse: Reuse
    reused: tuple[Mapping[str, Any], ...]
    """`{node, run, route, output}` of every run that is taken over."""
    again: tuple[Mapping[str, Any], ...] = field(default=())
    """`{node, run, route, status, action, effect}` of every past run that is repeated."""

    @property
    def effects(self) -> tuple[Mapping[str, Any], ...]:
        """What would happen to the world a second time."""
        return tuple(entry for entry in self.again if entry["effect"] in (Effect.WRITE, Effect.IRREVERSIBLE))


def plan(state: State, graph: Graph, start: Sequence[From] = (), *, only: bool = False) -> Plan | Refused:
    """Plan a re-run of an ended execution onto a graph (its own or another revision's).

    Whatever did not end well is repeated: failures nobody handled, what was cancelled or undone, what led to `fail`.
    `start` names further tasks; `only`: nothing but those and what is behind them, other failures stay as they are.
    """
    if not state.ended:
        return Refused("the execution has not ended")
    named = _named(state, start)
    if isinstance(named, Refused):
        return named
    dropped = _dropped(state, named, only=only and bool(start))
    if not dropped and not state.staged:
        return Refused("nothing failed; name the tasks to run again")
    kept = sorted(
        (run for run in state.runs.values() if run.key not in dropped and not run.undo), key=lambda run: run.ended_event
    )
    changed = [run.node for run in kept if not _fits(run, state.graph, graph)]
    if changed:
        return Refused(f"these tasks are reused but changed what follows them: {', '.join(dict.fromkeys(changed))}")
    resets = {entry.node for entry in start if entry.reset_items}
    reuse = Reuse(of=state.execution_id, runs=_reused(kept), items=_items(state, dropped, kept, resets))
    try:
        evolve(State(graph), _rehearsed(state, graph, reuse))
    except ReuseMismatch as mismatch:
        return Refused(str(mismatch))
    again = [state.runs[key] for key in state.runs if key in dropped]
    return Plan(reuse=reuse, reused=tuple(map(_reused_line, kept)), again=tuple(map(_again_line, again)))


def _named(state: State, start: Sequence[From]) -> set[Key] | Refused:
    """The latest runs of the named tasks."""
    found: set[Key] = set()
    for entry in start:
        runs = [
            run
            for (node, route), run in state.latest.items()
            if node == entry.node and entry.route in (None, route) and not run.undo
        ]
        if not runs:
            where = "" if entry.route is None else f" on route {entry.route!r}"
            return Refused(f"the task {entry.node!r} never ran{where}")
        found.update(run.key for run in runs)
    return found


def _dropped(state: State, named: set[Key], *, only: bool) -> set[Key]:
    """Runs that are repeated: those named, those that ended badly (or not at all), and everything behind them."""
    dropped = set(named)
    for run in state.runs.values():
        if run.undoes is not None:
            dropped.add(run.undoes)
    for run in state.runs.values():
        badly = run.outcome is None if only else _ended_badly(run, state.graph)
        if not run.undo and (badly or any(key in dropped for key in run.inbound)):
            dropped.add(run.key)
    return dropped


def _ended_badly(run: Run, graph: Graph) -> bool:
    if run.outcome is None or run.outcome is Outcome.CANCELLED or not run.handled:
        return True
    steps = graph.nodes[run.node].next
    return any(Command.FAIL in steps[entry.transition].do for entry in run.fired)


def _fits(run: Run, old: Graph, new: Graph) -> bool:
    """Whether what a run led to is still there."""
    node = new.nodes.get(run.node)
    if node is None:
        return False
    before = old.nodes[run.node].next
    return all(
        entry.transition < len(node.next) and node.next[entry.transition].do == before[entry.transition].do
        for entry in run.fired
    )


def _reused(kept: Sequence[Run]) -> tuple[Reused, ...]:
    """The runs under the numbers they get in the new execution."""
    numbers: dict[Key, Key] = {}
    counts: dict[str, int] = {}
    for run in kept:
        number = counts.get(run.node, 0)
        counts[run.node] = number + 1
        numbers[run.key] = (run.node, number)
    return tuple(
        Reused(
            node=run.node,
            route=run.route,
            run=numbers[run.key][1],
            inbound=tuple(numbers[key] for key in run.inbound),
            outcome=run.outcome or Outcome.COMPLETED,
            at=run.ended_at or run.started_at,
            started_at=run.started_at,
            kind=run.kind,
            action=run.action,
            effect=run.effect,
            input=run.input,
            output=run.output,
            failure=run.failure,
            fired=run.fired,
        )
        for run in kept
    )


def _items(state: State, dropped: set[Key], kept: Sequence[Run], resets: set[str]) -> dict[str, dict[str, Any]]:
    """Items of repeated lists that need not be computed again."""
    rounds: dict[tuple[str, str], int] = {}
    for run in kept:
        rounds[run.node, run.route] = rounds.get((run.node, run.route), 0) + 1
    found: dict[str, dict[str, Any]] = {}
    for key in dropped:
        run = state.runs[key]
        first = not any(before in dropped for before in run.inbound)
        if run.items is None or run.node in resets or not first:
            continue
        done = {index: entry.output for index, entry in run.items.records.items() if entry.outcome in SUCCESS}
        if done and len(done) < len(run.items.values):
            name = item_key(run.node, run.route, rounds.get((run.node, run.route), 0) + 1)
            found[name] = {str(index): output for index, output in sorted(done.items())}
    return found


def _rehearsed(state: State, graph: Graph, reuse: Reuse) -> events.Started:
    """Event 0 as far as the flow of tokens is concerned."""
    assert state.started_at is not None
    return events.Started(
        at=state.started_at,
        execution_id=state.execution_id,
        engine="",
        graph=graph.hash,
        parameters={},
        variables={},
        workflow={},
        config={},
        limits=asdict(state.limits),
        actions={},
        reused=reuse.runs,
    )


def _reused_line(run: Run) -> dict[str, Any]:
    return {"node": run.node, "run": run.number, "route": run.route or None, "output": run.output}


def _again_line(run: Run) -> dict[str, Any]:
    return {
        "node": run.node,
        "run": run.number,
        "route": run.route or None,
        "status": run.outcome,
        "action": run.action,
        "effect": Effect.WRITE if run.kind is Kind.WORKFLOW else run.effect,
    }
