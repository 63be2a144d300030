"""Joins that can no longer be completed."""

from __future__ import annotations

from models.records import ErrorType
from services.engine.events import Fired
from services.engine.graph import Entry, Failure, Graph, Join
from services.engine.state import Gathering, Place, Run, State


def lost_joins(state: State, run: Run, fired: tuple[Fired, ...]) -> list[Failure]:
    """Open joins for which this end was the last hope. Looked at only where a branch went another way."""
    missed = _missed(state.graph, run, fired)
    ancestors = state.graph.flow.ancestors
    return [
        unreachable(state, place, gathering)
        for place, gathering in list(state.gatherings.items())
        if ancestors[place[0]] & missed and not can_complete(state, place, gathering)
    ]


def _missed(graph: Graph, run: Run, fired: tuple[Fired, ...]) -> int:
    """Bit set of the nodes that this end might have led to and perhaps did not."""
    index = graph.flow.index
    taken = {entry.transition for entry in fired}
    bits = 0
    for number, step in enumerate(graph.nodes[run.node].next):
        for edge in step.edges:
            if edge.target in index and (number not in taken or edge.entry in (Entry.ONCE, Entry.JOIN)):
                bits |= 1 << index[edge.target]
    return bits


def can_complete(state: State, place: Place, gathering: Gathering) -> bool:
    """Whether enough sources have arrived or can still arrive."""
    join = state.graph.flow.joins[place[0]]
    return len(gathering.arrived) + len(_hopeful(state, place, join, gathering)) >= join.need


def _hopeful(state: State, place: Place, join: Join, gathering: Gathering) -> list[str]:
    """Missing sources that something alive can still reach on this route."""
    flow = state.graph.flow
    standing = 0
    for node, route in state.live:
        if not route or place[1] == route or place[1].startswith(f"{route}/"):
            standing |= 1 << flow.index[node]
    return [source for source in join.sources if source not in gathering.arrived and flow.ancestors[source] & standing]


def unreachable(state: State, place: Place, gathering: Gathering) -> Failure:
    """The failure that names the missing branches."""
    join = state.graph.flow.joins[place[0]]
    hopeful = _hopeful(state, place, join, gathering)
    missing = [source for source in join.sources if source not in gathering.arrived and source not in hopeful]
    message = (
        f"the join {place[0]!r} needs {join.need} of {len(join.sources)} branches, has {len(gathering.arrived)} "
        f"and can no longer get {', '.join(missing) or 'more'}"
    )
    details = {"join": place[0], "route": place[1], "arrived": list(gathering.arrived), "missing": missing}
    return Failure(type=ErrorType.EXECUTION, message=message, details=details, node=place[0])
