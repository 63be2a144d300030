"""The variables a run started from, worked out again from what its predecessors published.

Contexts change hands along a branch and are not kept; this is for the few who look back.
"""

from __future__ import annotations

from collections.abc import Iterable

from services.engine.contexts import Context, Histories
from services.engine.state import Run, State


def context_before(state: State, run: Run) -> Context:
    """The variables with which a run started; joined branches in the order in which they arrived."""
    known: dict[tuple[str, int], Context] = {}
    scratch = state.histories.scratch()
    for key in _ancestors_first(state, run):
        known[key] = _from_predecessors(state, state.runs[key], known, scratch)
    return known[run.key]


def _ancestors_first(state: State, run: Run) -> Iterable[tuple[str, int]]:
    """The run and everything it descends from. Runs are kept in the order in which they started."""
    wanted = {run.key}
    work = [run]
    while work:
        for key in work.pop().inbound:
            if key not in wanted:
                wanted.add(key)
                work.append(state.runs[key])
    return [key for key in state.runs if key in wanted]


def _from_predecessors(state: State, run: Run, known: dict[tuple[str, int], Context], scratch: Histories) -> Context:
    joined: Context | None = None
    seen: dict[tuple[str, int], int] = {}
    for key in run.inbound:
        before = state.runs[key]
        leading = [entry for entry in before.fired if leads_to(state, before, entry.transition, run.node)]
        number = seen.get(key, 0)
        seen[key] = number + 1
        entry = leading[min(number, len(leading) - 1)]
        base = known[key]
        after = Context(dict(base.variables), base.size)
        after = scratch.published(after, entry.delta, entry.merged)
        joined = after if joined is None else scratch.joined(joined, after)
    return state.root if joined is None else joined


def leads_to(state: State, run: Run, transition: int, node: str) -> bool:
    """Whether a transition of a run has an edge to a node."""
    return any(edge.target == node for edge in state.graph.nodes[run.node].next[transition].edges)
