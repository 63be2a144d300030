"""What a world has come to, in the words of the scenario format."""

from collections.abc import Iterator, Mapping
from typing import Any

from services.engine.events import Troubled
from services.engine.graph import Command, Graph
from services.engine.state import Run, State
from services.engine.statuses import Outcome, Phase, Stage
from tests.scenarios.world import World

PHASES: Mapping[Phase, str] = {
    Phase.PENDING: "requested",
    Phase.RUNNING: "running",
    Phase.PAUSING: "pausing",
    Phase.PAUSED: "paused",
    Phase.CANCELLING: "canceling",
    Phase.FAILING: "failed",
    Phase.COMPLETED: "succeeded",
    Phase.FAILED: "failed",
    Phase.CANCELLED: "canceled",
}
OUTCOMES: Mapping[Outcome | None, str] = {
    None: "running",
    Outcome.COMPLETED: "succeeded",
    Outcome.FAILED: "failed",
    Outcome.TIMED_OUT: "failed",
    Outcome.CANCELLED: "canceled",
    Outcome.SKIPPED: "skipped",
}
STAGES: Mapping[Stage, str] = {Stage.WAITING: "pending", Stage.RETRYING: "retrying", Stage.DELAYED: "delayed"}
"""What the format calls a task that has not ended; the others are running."""
COMMANDS = {Command.END: "continue", Command.NOOP: "noop", Command.FAIL: "fail"}
KINDS: Mapping[str, str | None] = {
    "attempt_failed": "task_failed",
    "task_timed_out": None,
    "unhandled": None,
    "output": "expression",
    "output_rejected": None,
}
"""What the format calls a trouble; None: it does not list it."""
LOGGED = {None, "failed"}
"""Endings of an action that the format logs as `task_failed`; a timeout and a lost worker are not."""


def checkpoint(world: World) -> dict[str, Any]:
    """Status, held actions in flight and open inquiries."""
    return {
        "status": PHASES[world.state.phase],
        "running": [work.label for work in world.in_flight],
        "waiting": [world.label(one.node, one.run, one.item) for one in world.waiting],
    }


def outcome(world: World) -> dict[str, Any]:
    """Everything a scenario may expect at its end."""
    return {
        "status": PHASES[world.state.phase],
        "output": world.state.output or None,
        "tasks": [task for state in world.states for task in tasks(state)],
        "transitions": list(transitions(world)),
        "engine_commands": [pair for state in world.states for pair in engine_commands(world.graph, state)],
        "actions": world.actions,
        "errors": errors(world),
        "refused": world.refused,
        "left_open": [world.label(one.node, one.run, one.item) for one in world.waiting],
    }


def own_runs(state: State) -> list[Run]:
    """The runs of this execution, without those it took over."""
    return [run for run in state.runs.values() if not run.reused]


def tasks(state: State) -> Iterator[dict[str, Any]]:
    """One entry for each run of a task."""
    for run in own_runs(state):
        work = state.work.get((run.node, run.number, None))
        status = OUTCOMES[run.outcome] if work is None else STAGES.get(work.stage, "running")
        yield {"task": run.node, "route": run.route or None, "status": status}


def transitions(world: World) -> Iterator[str]:
    """`a -> b` for each edge because of which, also, a run started.

    What a re-run takes over has led to a task once; it counts again only for the tasks that the re-run began with.
    """
    counted: set[tuple[str, str, str]] = set()
    for state, repeated in zip(world.states, world.repeated, strict=True):
        links = [
            (node, run.node, run.route)
            for run in own_runs(state)
            for node, number in run.inbound
            if run.node in repeated or not state.runs[node, number].reused or (node, run.node, run.route) not in counted
        ]
        counted.update(links)
        yield from (f"{source} -> {target}" for source, target, _ in links)
        for run in own_runs(state):
            yield from (f"{node} -> {run.node}" for node in sorted(kept_links(world.graph, state, run)))


def kept_links(graph: Graph, state: State, run: Run) -> set[str]:
    """A list task that leads to itself keeps the links of its rounds before: the format was measured so."""
    links: set[str] = set()
    before = run
    while graph.nodes[run.node].items is not None and before is not None:
        before = next((state.runs[key] for key in before.inbound if key[0] == run.node), None)
        links |= {node for node, _ in before.inbound} if before is not None else set()
    return links - {node for node, _ in run.inbound}


def engine_commands(graph: Graph, state: State) -> Iterator[str]:
    """`a -> noop / continue / fail` for each transition that fired into one."""
    for run in own_runs(state):
        for fired in run.fired:
            for target in targets(graph, run.node, fired.transition):
                if target in COMMANDS.values():
                    yield f"{run.node} -> {target}"


def targets(graph: Graph, node: str, transition: int) -> list[str]:
    """Where a transition leads, commands by their name in the format."""
    edges = graph.nodes[node].next[transition].edges
    return [COMMANDS.get(edge.target, edge.target) for edge in edges]


def errors(world: World) -> list[dict[str, Any]]:
    """What went wrong; a re-run forgets the errors of the tasks that it began with."""
    found: list[tuple[str | None, dict[str, Any]]] = []
    for state, repeated in zip(world.states, world.repeated, strict=True):
        found = [entry for entry in found if entry[0] not in repeated]
        found += [
            (trouble.failure.node, entry) for trouble in state.troubles for entry in entries(world.graph, trouble)
        ]
    return [entry for _, entry in found]


def entries(graph: Graph, trouble: Troubled) -> Iterator[dict[str, Any]]:
    """One trouble, once for each target of the transition that it is about."""
    kind = KINDS.get(trouble.kind, trouble.kind)
    if kind is None or (kind == "task_failed" and (trouble.failure.details or {}).get("status") not in LOGGED):
        return
    node = None if kind == "fail_command" else trouble.failure.node
    if kind != "expression" or node is None or trouble.transition is None:
        yield {"kind": kind, "task": node}
        return
    for target in targets(graph, node, trouble.transition):
        yield {"kind": kind, "task": node, "transition_to": target}
