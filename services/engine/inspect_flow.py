"""The shape of a graph: nothing to start with, tasks nothing leads to, joins that cannot be completed, endless loops."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping

from services.engine.components import Components, gathered
from services.engine.graph import Entry, Graph
from services.engine.problems import Findings
from services.engine.shape import reachable

Following = Mapping[str, list[str]]


def check_flow(graph: Graph, findings: Findings, place: Callable[[str], str]) -> None:
    """Report what can never start, never be completed or never end."""
    following = following_of(graph)
    if graph.nodes and not graph.flow.starts:
        message = "Every task has an inbound edge: there is nothing to start with."
        findings.error("no_start_task", message, path="tasks", hint="Add a task that leads into the loop.")
        return
    seen = reachable(following, graph.flow.starts)
    for name, node in graph.nodes.items():
        if name not in seen and not node.undo:
            findings.warning("unreachable_task", f"Nothing leads to {name!r}.", path=place(name), task=name)
    check_joins(graph, following, findings, place)
    check_loops(graph, following, findings, place)


def following_of(graph: Graph) -> Following:
    """Node -> the nodes its transitions lead to."""
    after: dict[str, list[str]] = {name: [] for name in graph.nodes}
    for edge in graph.flow.edges.values():
        if edge.target in after:
            after[edge.source].append(edge.target)
    return after


def check_joins(graph: Graph, following: Following, findings: Findings, place: Callable[[str], str]) -> None:
    """A join meets only branches that went through the same splits, and needs no more than there are."""
    for name, node in graph.nodes.items():
        join = graph.flow.joins.get(name)
        if join is not None and isinstance(node.join, int) and node.join > len(join.sources):
            message = f"The join needs {node.join} tasks, but only {len(join.sources)} lead to it."
            findings.error("unreachable_join", message, path=place(name), task=name)
    if not graph.flow.routes:
        return
    above = splits_above(graph, following)
    for name, join in graph.flow.joins.items():
        strangers = [source for source in join.sources if above[source] != above[name]]
        if strangers:
            message = f"The join cannot be completed: {', '.join(strangers)} and the others lie in different splits."
            findings.error("unreachable_join", message, path=place(name), task=name)


def splits_above(graph: Graph, following: Following) -> dict[str, int]:
    """For every node the splitting nodes on any way to it, itself included, one bit each."""
    edges = graph.flow.edges.values()
    splits = sorted({edge.target for edge in edges if edge.entry is Entry.SPLIT})
    own = {name: 1 << number for number, name in enumerate(splits)}
    passed: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for edge in edges:
        if edge.target in graph.nodes:
            passed[edge.source].append((0, edge.target))
    return gathered(Components(following, following).found, own=own, edges=passed)


def check_loops(graph: Graph, following: Following, findings: Findings, place: Callable[[str], str]) -> None:
    """Warn of cycles that nothing leaves and no limit of their own bounds."""
    for members in Components(following, following).found:
        group = frozenset(members)
        if len(group) == 1 and members[0] not in following[members[0]]:
            continue
        if not any(graph.nodes[name].max_runs for name in group) and not has_exit(graph, group):
            first = min(group)
            message = f"Nothing ends the loop of {', '.join(sorted(group))}; MAX_LOOP_ITERATIONS will."
            findings.warning("endless_loop", message, path=place(first), task=first)


def has_exit(graph: Graph, group: frozenset[str]) -> bool:
    """Whether some edge inside the cycle has a condition, so that a round may be the last."""
    return any(
        transition.when is not None and any(edge.target in group for edge in transition.edges)
        for name in group
        for transition in graph.nodes[name].next
    )
