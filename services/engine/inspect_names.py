"""Names that expressions read: variables nothing can have assigned, tasks that do not exist, items outside a list.

A variable may be used where the workflow or some way to the task assigns it: one pass over the graph, cycles included.
Parameters are not known here; so a bare name that is nothing else may be one of them.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from services.engine.components import Components, gathered
from services.engine.expressions import Template
from services.engine.graph import Graph, Node, Scoping, Transition
from services.engine.inspect_flow import following_of
from services.engine.problems import Findings, join_path, nearest
from services.engine.shape import reachable

VARIABLES = ("vars", "workflow", "variables")
TASKS = ("task", "tasks")
ITEMS = ("item", "index")


@dataclass(frozen=True, slots=True)
class Known:
    """Variables that may have been assigned at some place."""

    declared: Container[str]
    numbers: Mapping[str, int]
    bits: int = 0

    def __contains__(self, name: str) -> bool:
        number = self.numbers.get(name)
        return name in self.declared or (number is not None and bool(self.bits >> number & 1))

    def with_bits(self, bits: int) -> Known:
        """These and some more."""
        return Known(self.declared, self.numbers, self.bits | bits)


@dataclass(frozen=True, slots=True)
class Spot:
    """Where a template stands and what is known there."""

    path: str
    task: str | None
    known: Known
    items: bool = False


def check_names(graph: Graph, findings: Findings, place: Callable[[str], str]) -> None:
    """Report every name that cannot mean anything where it is used."""
    Inspector(graph, findings, place).inspect()


class Inspector:
    """Walks a graph with what is known at each of its nodes."""

    def __init__(self, graph: Graph, findings: Findings, place: Callable[[str], str]) -> None:
        self.graph = graph
        self.findings = findings
        self.place = place
        names = sorted({name for node in graph.nodes.values() for name in published(node.next)})
        self.numbers = {name: number for number, name in enumerate(names)}
        self.everything = (1 << len(names)) - 1

    def inspect(self) -> None:
        """Variables first, then every node that can be reached, then the output."""
        declared = {entry.name for entry in (*self.graph.inputs, *self.graph.vars)}
        start = Known(declared, self.numbers)
        seen_vars: set[str] = {entry.name for entry in self.graph.inputs}
        for entry in self.graph.vars:
            self.check(entry.value, Spot(join_path("vars", entry.name), None, Known(seen_vars, self.numbers)))
            seen_vars = seen_vars | {entry.name}
        inbound = self.inbound()
        following = following_of(self.graph)
        undo = [name for name, node in self.graph.nodes.items() if node.undo]
        for name in sorted(reachable(following, [*self.graph.flow.starts, *undo])):
            self.check_node(self.graph.nodes[name], start.with_bits(inbound[name]))
        for entry in self.graph.output:
            known = start.with_bits(self.everything)
            self.check(entry.value, Spot(join_path("output", entry.name), None, known))

    def inbound(self) -> Mapping[str, int]:
        """The bits of what may have been published on some way to each node."""
        if self.graph.profile.scoping is Scoping.GLOBAL:
            return dict.fromkeys(self.graph.nodes, self.everything)
        passed: dict[str, list[tuple[int, str]]] = {}
        for node in self.graph.nodes.values():
            for transition in node.next:
                bits = self.bits(published((transition,)))
                for edge in transition.edges:
                    if edge.target in self.graph.nodes:
                        passed.setdefault(node.id, []).append((bits, edge.target))
            if node.compensation is not None:
                passed.setdefault(node.id, []).append((self.everything, node.compensation.node))
        following = {name: [target for _, target in passed.get(name, ())] for name in self.graph.nodes}
        return gathered(Components(following, following).found, own={}, edges=passed)

    def bits(self, names: Iterable[str]) -> int:
        """One bit for each name."""
        found = 0
        for name in names:
            found |= 1 << self.numbers[name]
        return found

    def check_node(self, node: Node, known: Known) -> None:
        """Everything of a node, each with what is known there."""
        base = self.place(node.id)
        for key, template in fields(node):
            in_item = node.items is not None and key not in ("with_items", "concurrency", "when", "delay")
            self.check(template, Spot(join_path(base, key), node.id, known, in_item))
        for index, transition in enumerate(node.next):
            self.check_transition(transition, Spot(f"{base}.next[{index}]", node.id, known))

    def check_transition(self, transition: Transition, spot: Spot) -> None:
        """The condition, and each published value with those above it."""
        known = spot.known
        if isinstance(transition.when, Template):
            self.check(transition.when, Spot(join_path(spot.path, "when"), spot.task, known))
        for entry in transition.publish:
            self.check(entry.value, Spot(join_path(spot.path, "publish"), spot.task, known))
            known = known.with_bits(self.bits((entry.name,)))
        self.check(transition.message, Spot(join_path(spot.path, "message"), spot.task, known))

    def check(self, template: Any, spot: Spot) -> None:
        """The names of one template."""
        if not isinstance(template, Template) or template.is_literal:
            return
        for path in sorted(template.free_names, key=repr):
            root, *rest = path
            if root in VARIABLES and rest:
                self.check_variable(str(root), str(rest[0]), spot)
            elif root in TASKS and rest:
                self.check_task(str(rest[0]), spot)
            elif root in ITEMS and not spot.items and str(root) not in spot.known:
                message = f"{root!r} is only there in a task with with_items."
                self.findings.error("item_outside_list", message, path=spot.path, task=spot.task, subject=str(root))

    def check_variable(self, root: str, name: str, spot: Spot) -> None:
        """A variable that nothing assigns before; `workflow.param` and `variables` may mean parameters."""
        if name in spot.known or root == "variables" or (root, name) == ("workflow", "param"):
            return
        hint = (
            None if self.findings.full else nearest(name, [*self.numbers, *(entry.name for entry in self.graph.vars)])
        )
        message = f"The variable {name!r} is used before anything can have assigned it."
        self.findings.error("undefined_variable", message, path=spot.path, task=spot.task, subject=name, hint=hint)

    def check_task(self, name: str, spot: Spot) -> None:
        """A task that does not exist."""
        if name not in self.graph.nodes:
            hint = nearest(name, self.graph.nodes)
            message = f"There is no task {name!r}."
            self.findings.error("undefined_task", message, path=spot.path, task=spot.task, subject=name, hint=hint)


def published(transitions: Iterable[Transition]) -> Iterator[str]:
    """Names that these transitions assign."""
    return (entry.name for transition in transitions for entry in transition.publish)


def fields(node: Node) -> Iterator[tuple[str, Any]]:
    """The templates of a node that are evaluated when it starts, by the key its author knows them by."""
    yield "action", node.action
    yield "input", node.input
    yield "when", node.guard
    yield "delay", node.delay
    yield "timeout", node.timeout
    if node.items is not None:
        yield "with_items", node.items.values
        yield "concurrency", node.items.concurrency
    if node.wait is not None:
        yield "wait", node.wait.seconds or node.wait.until
    if node.retry is not None:
        yield "retry", node.retry.count
        yield "retry", node.retry.delay
