"""The shape of a node graph: where it starts, what its loops repeat, which paths meet and which exclude each other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from services.engine.dialects.nodes_document import BODY_PORTS, ERROR_PORTS, DocumentText, Link, NodeText
from services.engine.problems import Findings
from services.engine.shape import cycles_of

MAX_MEETING = 16
"""Paths that meet in one node are compared with each other up to this number; beyond it a merge waits for all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loop:
    """One loop node: what it repeats and where it goes on."""

    node: str
    body: frozenset[str]
    body_links: tuple[Link, ...]
    exit_links: tuple[Link, ...]


@dataclass(slots=True)
class FlowText:
    """Nodes that can be reached, and how."""

    text: DocumentText
    starts: list[str] = field(default_factory=list)
    reachable: set[str] = field(default_factory=set)
    loops: dict[str, Loop] = field(default_factory=dict)

    def links_from(self, node: str) -> list[Link]:
        """Connections between reachable nodes that leave this one."""
        return [link for link in self.text.from_node(node) if link.target in self.reachable]

    def loop_of(self, node: str) -> Loop | None:
        """The innermost loop whose body has the node."""
        around = [loop for loop in self.loops.values() if node in loop.body]
        return min(around, key=lambda loop: len(loop.body), default=None)


def flow_of(text: DocumentText, findings: Findings) -> FlowText:
    """Work out the flow; problems of shape go to the findings."""
    flow = FlowText(text=text)
    triggers = [node for node in text.nodes.values() if node.is_trigger]
    flow.starts = _starts(text, triggers, findings)
    flow.reachable = reach(text.links, flow.starts)
    for node in text.nodes.values():
        if node.id not in flow.reachable and not node.is_trigger:
            message = f"Nothing leads to the node {node.id!r}; it never runs."
            findings.warning("unreachable_task", message, path=node.path, task=node.id)
    for node in text.nodes.values():
        if node.is_loop and node.id in flow.reachable:
            flow.loops[node.id] = _loop(flow, node)
    _check_cycles(flow, findings)
    _check_breaks(flow, findings)
    _check_bodies(flow, findings)
    return flow


def reach(links: Iterable[Link], starts: Iterable[str], without: str | None = None) -> set[str]:
    """Everything that can be reached, the starts included, without passing through one node."""
    following: dict[str, list[str]] = {}
    for link in links:
        following.setdefault(link.source, []).append(link.target)
    seen = {start for start in starts if start != without}
    waiting = list(seen)
    while waiting:
        for target in following.get(waiting.pop(), ()):
            if target not in seen and target != without:
                seen.add(target)
                waiting.append(target)
    return seen


def meeting(flow: FlowText, node: str) -> int:
    """How many of the paths into a node can be taken in the same execution (1: they exclude each other)."""
    inbound = [link for link in flow.text.links if link.target == node and link.source in flow.reachable]
    loop = flow.loops.get(node)
    sources = list(dict.fromkeys(link.source for link in inbound if loop is None or link.source not in loop.body))
    if len(sources) < 2 or len(sources) > MAX_MEETING:
        return len(sources)
    together = _together(flow, node, sources)
    return max(_clique([index], index + 1, len(sources), together) for index in range(len(sources)))


def _starts(text: DocumentText, triggers: list[NodeText], findings: Findings) -> list[str]:
    if triggers:
        for trigger in triggers:
            message = (
                f"The trigger {trigger.id!r} is kept, but nothing fires it yet; start the workflow through the API."
            )
            findings.warning("TRIGGER_NOT_RUN", message, path=trigger.path, task=trigger.id)
        found = [link.target for trigger in triggers for link in text.from_node(trigger.id)]
    else:
        targets = {link.target for link in text.links}
        found = [node for node in text.nodes if node not in targets]
        if text.nodes:
            findings.warning("no_trigger", "There is no trigger; the workflow starts at the nodes nothing leads to.")
    if text.nodes and not found and not findings.errors:
        findings.error("no_start_task", "No node can start the workflow.", path="nodes")
    return list(dict.fromkeys(found))


def _loop(flow: FlowText, node: NodeText) -> Loop:
    links = flow.links_from(node.id)
    body_links = tuple(link for link in links if link.port in BODY_PORTS)
    exit_links = tuple(link for link in links if link.port not in BODY_PORTS)
    after = reach(flow.text.links, (link.target for link in exit_links), without=node.id)
    body = reach(flow.text.links, (link.target for link in body_links), without=node.id)
    return Loop(node=node.id, body=frozenset(body - after), body_links=body_links, exit_links=exit_links)


def _check_cycles(flow: FlowText, findings: Findings) -> None:
    following = {
        node: [link.target for link in flow.links_from(node) if link.target not in flow.loops]
        for node in flow.reachable
        if node not in flow.loops
    }
    cycles = cycles_of(following)
    for number in sorted(set(cycles.values())):
        members = sorted(node for node, cycle in cycles.items() if cycle == number)
        message = f"{', '.join(members)} lead to each other; only loop nodes may repeat."
        findings.error("cycle", message, path="connections", task=members[0])


def _check_breaks(flow: FlowText, findings: Findings) -> None:
    for node in flow.text.nodes.values():
        if node.type == "loop_break" and node.id in flow.reachable and flow.loop_of(node.id) is None:
            findings.error("break_outside_loop", "There is no loop to break.", path=node.path, task=node.id)


def _check_bodies(flow: FlowText, findings: Findings) -> None:
    """Branches that run side by side in a body have to meet before the next round."""
    for loop in flow.loops.values():
        inner = [link for link in flow.text.links if link.source in loop.body or link.source == loop.node]
        for node in (loop.node, *sorted(loop.body)):
            for group in _side_by_side(flow, node, [link for link in inner if link.source == node]):
                if not _meet(flow, loop, inner, group):
                    message = (
                        "Branches that run side by side inside a loop have to meet in a flow_merge before it repeats."
                    )
                    findings.error("loop_branches", message, path=flow.text.nodes[node].path, task=node)


def _side_by_side(flow: FlowText, node: str, links: list[Link]) -> list[list[Link]]:
    ports: dict[str, list[Link]] = {}
    for link in links:
        if link.target in flow.reachable and (node not in flow.loops or link in flow.loops[node].body_links):
            ports.setdefault(_choice(flow, link), []).append(link)
    return [group for group in ports.values() if len({link.target for link in group}) > 1]


def _meet(flow: FlowText, loop: Loop, inner: list[Link], group: list[Link]) -> bool:
    """Is there a merge in the body that every branch passes on its way to the next round?"""
    merges = [node for node in loop.body if flow.text.nodes[node].type == "flow_merge"]
    leaves = {node for node in loop.body if not any(link.source == node for link in inner)} | {
        link.source for link in inner if link.target == loop.node
    }
    return any(
        all(not (reach(inner, [link.target], without=merge) & leaves) for link in group if link.target != merge)
        for merge in merges
    )


def _choice(flow: FlowText, link: Link) -> str:
    """Which of the ways out of its node a connection belongs to: of different ones only one is taken."""
    node = flow.text.nodes[link.source]
    if node.type.startswith("condition_") and node.type != "condition_filter":
        return link.port
    if node.is_loop:
        return "body" if link.port in BODY_PORTS else "exit"
    if node.type == "loop_break":
        return "break" if link.port == "break" else "go on"
    return "failed" if link.port in ERROR_PORTS else "ended"


def _together(flow: FlowText, node: str, sources: list[str]) -> Mapping[tuple[int, int], bool]:
    """Which pairs of sources can both be reached in one execution."""
    links = [link for link in flow.text.links if link.source in flow.reachable and link.target in flow.reachable]
    behind = {link.target: reach(links, [link.target], without=node) for link in links}
    for start in flow.starts:
        behind.setdefault(start, reach(links, [start], without=node))
    found: dict[tuple[int, int], bool] = {}
    for a, first in enumerate(sources):
        for b in range(a + 1, len(sources)):
            found[a, b] = _parallel(flow, links, behind, (node, first, sources[b]))
    return found


def _parallel(flow: FlowText, links: list[Link], behind: Mapping[str, set[str]], ends: tuple[str, str, str]) -> bool:
    node, first, second = ends
    to_first = [
        link for link in links if first in behind[link.target] or (link.target == node and link.source == first)
    ]
    to_second = [
        link for link in links if second in behind[link.target] or (link.target == node and link.source == second)
    ]
    starts_first = [start for start in flow.starts if first in behind[start]]
    starts_second = [start for start in flow.starts if second in behind[start]]
    if any(a != b for a in starts_first for b in starts_second):
        return True
    by_source: dict[str, list[Link]] = {}
    for link in to_second:
        by_source.setdefault(link.source, []).append(link)
    return any(
        a is not b and _choice(flow, a) == _choice(flow, b) for a in to_first for b in by_source.get(a.source, ())
    )


def _clique(members: list[int], start: int, count: int, together: Mapping[tuple[int, int], bool]) -> int:
    """The size of the largest set of paths that can all be taken, containing these."""
    best = len(members)
    for index in range(start, count):
        if all(together[member, index] for member in members):
            best = max(best, _clique([*members, index], index + 1, count, together))
    return best
