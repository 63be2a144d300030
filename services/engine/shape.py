"""Facts about the shape of a directed graph: cycles, ancestor sets, dominators. No recursion, so depth is no matter."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

Following = Mapping[str, Sequence[str]]
"""Node -> the nodes its edges lead to (repetitions allowed)."""


def components(following: Following) -> list[list[str]]:
    """Strongly connected components, each after every component it leads to (Tarjan)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    open_nodes: dict[str, None] = {}
    found: list[list[str]] = []
    for root in following:
        work = [] if root in index else [(root, 0)]
        while work:
            node, position = work.pop()
            if node not in index:
                index[node] = low[node] = len(index)
                open_nodes[node] = None
            targets = following[node]
            while position < len(targets) and targets[position] in index:
                if targets[position] in open_nodes:
                    low[node] = min(low[node], low[targets[position]])
                position += 1
            if position < len(targets):
                work += [(node, position), (targets[position], 0)]
            elif low[node] == index[node]:
                found.append(_take_until(open_nodes, node))
    return found


def _take_until(open_nodes: dict[str, None], last: str) -> list[str]:
    taken: list[str] = []
    while not taken or taken[-1] != last:
        taken.append(open_nodes.popitem()[0])
    return taken


def cycles_of(following: Following) -> dict[str, int]:
    """Node -> number of the cycle it is part of; nodes outside any cycle are left out."""
    numbers: dict[str, int] = {}
    for number, members in enumerate(components(following)):
        if len(members) > 1 or members[0] in following[members[0]]:
            numbers.update(dict.fromkeys(members, number))
    return numbers


def ancestor_sets(following: Following) -> dict[str, int]:
    """Node -> bit set of the nodes from which it can be reached, itself included; bits by order of `following`."""
    bit = {node: 1 << position for position, node in enumerate(following)}
    sets: dict[str, int] = dict.fromkeys(following, 0)
    for members in reversed(components(following)):
        whole = 0
        for node in members:
            whole |= sets[node] | bit[node]
        for node in members:
            sets[node] = whole
            for target in following[node]:
                sets[target] |= whole
    return sets


def reachable(following: Following, starts: Iterable[str]) -> set[str]:
    """Everything that can be reached from the starts, the starts included."""
    seen: set[str] = set()
    work = list(starts)
    while work:
        node = work.pop()
        if node not in seen:
            seen.add(node)
            work.extend(following[node])
    return seen


_ROOT = ""


def dominators(following: Following, starts: Sequence[str]) -> dict[str, str]:
    """Node -> its immediate dominator (Cooper, Harvey, Kennedy); '' above the starts; unreachable nodes are left out."""
    order = _reverse_postorder(following, starts)
    rank = {node: position for position, node in enumerate(order)}
    before: dict[str, list[str]] = {node: [] for node in order}
    for start in starts:
        before[start].append(_ROOT)
    for node in order[1:]:
        for target in following[node]:
            before[target].append(node)
    parent = {_ROOT: _ROOT}
    changed = True
    while changed:
        changed = False
        for node in order[1:]:
            known = [other for other in before[node] if other in parent]
            new = known[0]
            for other in known[1:]:
                new = _meet(parent, rank, (new, other))
            changed = changed or parent.get(node) != new
            parent[node] = new
    return parent


def _reverse_postorder(following: Following, starts: Sequence[str]) -> list[str]:
    done: list[str] = []
    seen: set[str] = {_ROOT}
    work: list[tuple[str, int]] = [(_ROOT, 0)]
    while work:
        node, position = work.pop()
        targets = starts if node == _ROOT else following[node]
        while position < len(targets) and targets[position] in seen:
            position += 1
        if position < len(targets):
            seen.add(targets[position])
            work += [(node, position + 1), (targets[position], 0)]
        else:
            done.append(node)
    return done[::-1]


def _meet(parent: Mapping[str, str], rank: Mapping[str, int], pair: tuple[str, str]) -> str:
    left, right = pair
    while left != right:
        while rank[left] > rank[right]:
            left = parent[left]
        while rank[right] > rank[left]:
            right = parent[right]
    return left


def dominates(parent: Mapping[str, str], above: str, below: str) -> bool:
    """Whether every way to `below` leads through `above` (a node dominates itself)."""
    node = below if below in parent else _ROOT
    while node not in (above, _ROOT):
        node = parent[node]
    return node == above
