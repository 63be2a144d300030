"""From nodes to a graph: edges, entries, joins, cycles and ancestor sets.

Front ends call `build` with nodes whose transitions name their targets; every target must exist (a front end reports
unknown ones itself, before).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from services.engine.graph import (
    Assignment,
    Command,
    Edge,
    Entry,
    Flow,
    Graph,
    Join,
    Need,
    Node,
    Profile,
    Transition,
)
from services.engine.graph_json import graph_hash
from services.engine.shape import ancestor_sets, cycles_of, dominates, dominators

_COMMANDS = frozenset(str(command) for command in Command)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Everything of a graph that is not its nodes."""

    dialect: str
    profile: Profile = field(default_factory=Profile)
    inputs: tuple[Assignment, ...] = ()
    vars: tuple[Assignment, ...] = ()
    output: tuple[Assignment, ...] = ()
    limits: Mapping[str, float] | None = None
    out_schema: Mapping[str, Any] | None = None


def build(nodes: Iterable[Node], parts: Parts) -> Graph:
    """The graph of these nodes. Ids of transitions and edges, entries and joins are filled in."""
    by_id = {node.id: node for node in nodes}
    edges = _edges(by_id.values())
    inbound = _inbound(by_id, edges)
    following = {node: [edge.target for edge in edges.get(node, ()) if edge.target in by_id] for node in by_id}
    cycles = cycles_of(following)
    starts = tuple(node.id for node in by_id.values() if not inbound[node.id] and not node.undo)
    joins = _joins(by_id, inbound, _Loops(following, starts, parts.profile))
    entries = {
        edge.id: _entry(edge, by_id[target], _Arrivals(len(arriving), joins.get(target), cycles), parts.profile)
        for target, arriving in inbound.items()
        for edge in arriving
    }
    finished = {node.id: _with_edges(node, edges.get(node.id, ()), entries) for node in by_id.values()}
    all_edges = {edge.id: edge for node in finished.values() for step in node.next for edge in step.edges}
    flow = Flow(
        starts=starts,
        joins=joins,
        edges=all_edges,
        index={node: position for position, node in enumerate(by_id)},
        ancestors=ancestor_sets(following) if joins else {},
        cycles=cycles,
        counts_rounds=any(not join.all and node in cycles for node, join in joins.items()),
        routes=any(entry is Entry.SPLIT for entry in entries.values()),
    )
    graph = Graph(
        dialect=parts.dialect,
        nodes=finished,
        flow=flow,
        inputs=parts.inputs,
        vars=parts.vars,
        output=parts.output,
        profile=parts.profile,
        limits=dict(parts.limits or {}),
        out_schema=parts.out_schema,
    )
    return replace(graph, hash=graph_hash(graph))


def _edges(nodes: Iterable[Node]) -> dict[str, list[Edge]]:
    """Edges by source; ids and labels are final, entries are not known yet."""
    made: dict[str, list[Edge]] = {}
    for node in nodes:
        between: dict[str, int] = {}
        for index, step in enumerate(node.next):
            for target in step.do or (Command.END,):
                number = between.get(target, 0)
                between[target] = number + 1
                label = f"{node.id}#{number}" if number else node.id
                edge = Edge(id=f"{node.id}:{index}:{target}", source=node.id, target=str(target), label=label)
                made.setdefault(node.id, []).append(edge)
    return made


def _inbound(nodes: Mapping[str, Node], edges: Mapping[str, list[Edge]]) -> dict[str, list[Edge]]:
    arriving: dict[str, list[Edge]] = {node: [] for node in nodes}
    for leaving in edges.values():
        for edge in leaving:
            if edge.target not in _COMMANDS:
                arriving[edge.target].append(edge)
    return arriving


class _Loops:
    """Which edges lead back to a join from what only the join can start; worked out when first asked."""

    def __init__(self, following: Mapping[str, list[str]], starts: tuple[str, ...], profile: Profile) -> None:
        self._following = following
        self._starts = starts
        self._wanted = profile.loop_edge_starts_join
        self._parents: dict[str, str] | None = None

    def back(self, source: str, join: str) -> bool:
        """Whether every way to `source` leads through `join`."""
        if not self._wanted:
            return False
        if self._parents is None:
            self._parents = dominators(self._following, self._starts)
        return dominates(self._parents, join, source)


def _joins(nodes: Mapping[str, Node], inbound: Mapping[str, list[Edge]], loops: _Loops) -> dict[str, Join]:
    joins: dict[str, Join] = {}
    for node in nodes.values():
        if node.join is None or node.join is Need.EACH or not inbound[node.id]:
            continue
        distinct = dict.fromkeys(edge.source for edge in inbound[node.id])
        sources = tuple(source for source in distinct if not loops.back(source, node.id))
        everything = node.join is Need.ALL
        need = len(sources) if everything else max(int(node.join), 1)
        joins[node.id] = Join(need=need, sources=sources, all=need == len(sources))
    return joins


@dataclass(frozen=True, slots=True)
class _Arrivals:
    count: int
    join: Join | None
    cycles: Mapping[str, int]


def _entry(edge: Edge, target: Node, arrivals: _Arrivals, profile: Profile) -> Entry:
    """What this edge does at its target."""
    if arrivals.join is not None:
        return Entry.JOIN if edge.source in arrivals.join.sources else Entry.START
    if arrivals.count == 1:
        return Entry.START
    cycles = arrivals.cycles
    if profile.split_by_default and edge.target in cycles:
        return Entry.START
    if edge.target in cycles and cycles[edge.target] == cycles.get(edge.source):
        return Entry.START
    if target.join is Need.EACH or (profile.split_by_default and target.join is None):
        return Entry.SPLIT
    return Entry.ONCE


def _with_edges(node: Node, edges: Iterable[Edge], entries: Mapping[str, Entry]) -> Node:
    """The node with the edges of its transitions filled in."""
    by_transition: dict[int, list[Edge]] = {}
    for edge in edges:
        index = int(edge.id[len(node.id) + 1 :].split(":", 1)[0])
        by_transition.setdefault(index, []).append(replace(edge, entry=entries.get(edge.id)))
    steps: list[Transition] = [
        replace(step, id=f"{node.id}:{index}", edges=tuple(by_transition[index]), fails=Command.FAIL in step.do)
        for index, step in enumerate(node.next)
    ]
    return replace(node, next=tuple(steps))
