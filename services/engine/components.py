"""Cycles of a directed graph of names: its strongly connected components, and facts gathered on all ways through it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence


class Components:
    """Strongly connected components by Tarjan's algorithm, without recursion, linear in nodes and edges."""

    def __init__(self, nodes: Iterable[str], after: Mapping[str, Sequence[str]]) -> None:
        self.found: list[list[str]] = []
        """Each component stands before all that lead to it: the reverse of the order of execution."""
        self._after = after
        self._order: dict[str, int] = {}
        self._low: dict[str, int] = {}
        self._open: list[str] = []
        self._is_open: set[str] = set()
        for node in nodes:
            if node not in self._order:
                self._explore(node)

    def cyclic(self) -> frozenset[str]:
        """Every node that can come back to itself."""
        return frozenset(
            node
            for component in self.found
            for node in component
            if len(component) > 1 or node in self._after.get(node, ())
        )

    def _explore(self, root: str) -> None:
        work = [(root, self._enter(root))]
        while work:
            node, targets = work[-1]
            target = self._next_unseen(node, targets)
            if target is not None:
                work.append((target, self._enter(target)))
                continue
            work.pop()
            self._leave(node)
            if work:
                self._lower(work[-1][0], self._low[node])

    def _enter(self, node: str) -> Iterator[str]:
        self._order[node] = self._low[node] = len(self._order)
        self._open.append(node)
        self._is_open.add(node)
        return iter(self._after.get(node, ()))

    def _next_unseen(self, node: str, targets: Iterator[str]) -> str | None:
        for target in targets:
            if target not in self._order:
                return target
            if target in self._is_open:
                self._lower(node, self._order[target])
        return None

    def _lower(self, node: str, order: int) -> None:
        self._low[node] = min(self._low[node], order)

    def _leave(self, node: str) -> None:
        if self._low[node] != self._order[node]:
            return
        component: list[str] = []
        while not component or component[-1] != node:
            component.append(self._open.pop())
        self._is_open.difference_update(component)
        self.found.append(component)


def gathered(
    found: Iterable[Sequence[str]], *, own: Mapping[str, int], edges: Mapping[str, Sequence[tuple[int, str]]]
) -> dict[str, int]:
    """For every node the union of the bits met on any way to it: its own, those of nodes above, those of edges passed.

    `found` are the components of the graph, `edges[node]` pairs of (bits, target). One pass, linear in the edges.
    """
    groups = [frozenset(members) for members in found]
    bits = {node: own.get(node, 0) for members in groups for node in members}
    for members in reversed(groups):
        whole = 0
        for node in members:
            whole |= bits[node]
            for passed, target in edges.get(node, ()):
                whole |= passed if target in members else 0
        for node in members:
            bits[node] = whole
        for node in members:
            for passed, target in edges.get(node, ()):
                if target not in members:
                    bits[target] |= whole | passed
    return bits
