"""What an execution may do, or may have done, to the world behind a point of its log. Pure.

For whoever restores a backup: the log ends where the backup was made, the world went on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from models.records import Effect
from services.engine.commands import work_key
from services.engine.graph import Graph, Kind, Node
from services.engine.state import State
from services.engine.statuses import Stage

HARMFUL = (Effect.WRITE, Effect.IRREVERSIBLE)
UNDER_WAY = (Stage.RUNNING, Stage.STOPPING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """An effect that may have been done. `in_flight`: it had begun; else it was still ahead.

    `effect`: `write`, `irreversible`, `workflow` (whatever that sub-workflow does), or `unknown` where an expression
    chooses the action. `key`: the idempotency key, of the first time where `repeats` says that there may be more
    (items, loops).
    """

    node: str
    action: str | None
    effect: str
    key: str
    in_flight: bool
    repeats: bool = False


def outlook(state: State) -> list[Outlook]:
    """Everything that an execution which has not ended may have done behind this state, what was in flight first."""
    if state.ended:
        return []
    return [*_in_flight(state), *_ahead(state)]


def _in_flight(state: State) -> Iterator[Outlook]:
    for work in state.work.values():
        if work.kind is Kind.ACTION and work.effect in HARMFUL:
            yield Outlook(
                node=work.node,
                action=work.action,
                effect=work.effect.value,
                key=_key(state, work.node, work.run, work.item),
                in_flight=work.stage in UNDER_WAY,
            )


def _ahead(state: State) -> Iterator[Outlook]:
    for name in _reachable(state):
        node = state.graph.nodes[name]
        action, effect = _does(state, node)
        if effect is None:
            continue
        repeats = node.items is not None or name in state.graph.flow.cycles or state.graph.flow.routes
        number = state.counts.get(name, 0)
        item = 0 if node.items is not None else None
        key = _key(state, name, number, item)
        yield Outlook(node=name, action=action, effect=effect, key=key, in_flight=False, repeats=repeats)
    for (name, number), entry in state.lists.items():
        action, effect = _does(state, state.graph.nodes[name])
        if effect is not None and entry.next < len(entry.values):
            key = _key(state, name, number, entry.next)
            yield Outlook(node=name, action=action, effect=effect, key=key, in_flight=False, repeats=True)


def _reachable(state: State) -> list[str]:
    """Nodes that may still start: tokens, what they and the unfinished runs lead to, and what undoes any of it."""
    graph = state.graph
    undone = [target for node, _, _ in state.undoable for target in _undoing(graph, node)]
    starts = [token.node for token in state.staged.values()] + [node for node, _ in state.gatherings] + undone
    found = dict.fromkeys(starts)
    queue = [*starts, *(run.node for run in state.runs.values() if run.ended is None)]
    while queue:
        for target in _behind(graph, queue.pop()):
            if target not in found:
                found[target] = None
                queue.append(target)
    return [name for name in graph.nodes if name in found]


def _behind(graph: Graph, name: str) -> list[str]:
    targets = [edge.target for step in graph.nodes[name].next for edge in step.edges]
    return targets + _undoing(graph, name)


def _undoing(graph: Graph, name: str) -> list[str]:
    compensation = graph.nodes[name].compensation
    return [] if compensation is None else [compensation.node]


def _does(state: State, node: Node) -> tuple[str | None, str | None]:
    """The action of a node and its effect; no effect: nothing is done to the world."""
    if node.kind is Kind.WORKFLOW:
        return _text(node), "workflow"
    if node.kind is not Kind.ACTION:
        return None, None
    ref = _text(node)
    facts = state.actions.get(ref) if ref is not None else None
    if facts is None:
        return ref, "unknown"
    if facts.kind is Kind.WORKFLOW:
        return ref, "workflow"
    return ref, facts.effect.value if facts.kind is Kind.ACTION and facts.effect in HARMFUL else None


def _text(node: Node) -> str | None:
    return str(node.action.source) if node.action is not None else None


def _key(state: State, node: str, run: int, item: int | None) -> str:
    return f"{state.execution_id}/{work_key(node, run, item)}"
