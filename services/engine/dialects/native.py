"""The native language: `tasks` as a list or a map, transitions, and all the short forms of LANGUAGE section 2.

`compile_native(document, findings)` is pure; every problem is reported, each with its place. Short forms are folded
into plain nodes and transitions here; the engine never sees them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from services.engine.assemble import Parts, build
from services.engine.dialects.native_flow import FLOW_KEYS, targets, with_publish
from services.engine.dialects.native_tasks import NAME, RESERVED, compile_task, guard_of, join_of
from services.engine.dialects.native_undo import Undo
from services.engine.dialects.native_values import Place
from services.engine.expressions import Template
from services.engine.expressions_scope import Scope
from services.engine.graph import (
    LIMIT_NAMES,
    MAX_PARALLEL_EXECUTIONS,
    Command,
    Graph,
    Kind,
    Need,
    Node,
    Profile,
    Transition,
)
from services.engine.problems import Findings, nearest
from services.engine.statuses import ANY_END, SUCCESS

TOP_KEYS = frozenset(
    [
        "dialect",
        "version",
        "name",
        "ref",
        "label",
        "title",
        "description",
        "tags",
        "author",
        "metadata",
        "vars",
        "variables",
        "tasks",
        "output",
        "output_map",
        "out_schema",
        "parameters",
        "inputs",
        "input",
        "limits",
        "on_failure",
        "cancellation_policy",
        "pack",
    ]
)
MAX_NESTING = 10
"""Levels of `type: parallel` inside each other."""
_COMMANDS = frozenset(str(command) for command in Command)


def compile_native(document: Mapping[str, Any], findings: Findings) -> Graph | None:
    """The graph of a native definition; None when there is nothing to build."""
    place = Place(findings)
    place.known_keys(document, TOP_KEYS)
    tasks = _Tasks(document, place)
    tasks.read()
    nodes = tasks.linked()
    vars_key = "vars" if "vars" in document else "variables"
    output_key = "output_map" if "output_map" in document else "output"
    parts = Parts(
        dialect="native",
        profile=Profile(fail_fast=_fails_fast(document, place)),
        vars=place.at(vars_key).assignments(document.get(vars_key)),
        output=place.at(output_key).assignments(document.get(output_key)),
        limits=_limits(document.get("limits"), place.at("limits")),
        out_schema=_schema(document.get("out_schema"), place.at("out_schema")),
    )
    return build(nodes, parts) if nodes else None


def _fails_fast(document: Mapping[str, Any], place: Place) -> bool:
    value = document.get("on_failure", "fast")
    if value not in ("fast", "drain"):
        place.at("on_failure").error("wrong_type", "`on_failure` is fast or drain.")
    return bool(value != "drain")


def _limits(value: Any, place: Place) -> dict[str, float]:
    """Limits by field; both the environment's names and the fields' are understood."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        place.error("wrong_type", "`limits` is a map of names and numbers.")
        return {}
    names = {**LIMIT_NAMES, MAX_PARALLEL_EXECUTIONS: MAX_PARALLEL_EXECUTIONS.upper()}
    fields = {label: name for name, label in names.items()} | {name: name for name in names}
    found: dict[str, float] = {}
    for key, number in value.items():
        inner = place.at(str(key))
        if key not in fields:
            inner.error("unknown_key", f"There is no limit {key!r}.", hint=nearest(str(key), fields), subject=str(key))
        elif isinstance(number, bool) or not isinstance(number, int | float) or number <= 0:
            inner.error("wrong_type", "A limit is a number above 0.")
        else:
            found[fields[key]] = number
    return found


def _schema(value: Any, place: Place) -> Mapping[str, Any] | None:
    if value is None or isinstance(value, Mapping):
        return value
    place.error("wrong_type", "`out_schema` is a JSON Schema.")
    return None


@dataclass(slots=True)
class _Both:
    """The conditions of a group and of a task in it: both must hold."""

    source: Any
    secrets: frozenset[str]
    parts: tuple[Template, ...]

    def evaluate(self, scope: Scope) -> Any:
        return all(part.evaluate(scope) for part in self.parts)


class _Tasks:
    """All tasks of a document, parallel groups unfolded."""

    def __init__(self, document: Mapping[str, Any], place: Place) -> None:
        self._document = document
        self._place = place
        self._nodes: dict[str, Node] = {}
        self._places: dict[str, Place] = {}
        self._sources: dict[str, Mapping[str, Any]] = {}
        self._entries: dict[str, tuple[str, ...]] = {}
        """What a transition to this name really leads to."""

    def read(self) -> None:
        """Compile every task."""
        tasks = self._document.get("tasks")
        place = self._place.at("tasks")
        if isinstance(tasks, Mapping):
            for name, task in tasks.items():
                self._read(name, task, place.at(str(name)), 0)
        elif isinstance(tasks, list):
            for index, task in enumerate(tasks):
                name = task.get("name") if isinstance(task, Mapping) else None
                self._read(name, task, place.at(index), 0)
        else:
            place.error("missing_key" if tasks is None else "wrong_type", "`tasks` is a list or a map of tasks.")
            return
        if not tasks:
            place.error("missing_key", "A workflow has at least one task.")

    def _read(self, name: Any, task: Any, place: Place, depth: int) -> Node | None:
        if not isinstance(task, Mapping):
            place.error("wrong_type", "A task is a map.")
            return None
        if not self._named(name, place):
            return None
        place.task = name
        self._places[name], self._sources[name] = place, task
        if task.get("type") == "parallel":
            node = self._parallel(name, task, place, depth)
        else:
            node = compile_task(name, task, place)
        self._nodes[name] = node
        return node

    def _named(self, name: Any, place: Place) -> bool:
        if not isinstance(name, str):
            place.error("missing_key", "A task needs a `name`.")
        elif NAME.fullmatch(name) is None:
            place.error("bad_task_name", f"{name!r} is not a name: letters, digits, _ and -.", subject=name)
        elif name in RESERVED:
            place.error("reserved_task_name", f"{name!r} is a command, not a name for a task.", subject=name)
        elif name in self._nodes:
            place.error("duplicate_task_name", f"There are two tasks {name!r}.", subject=name)
        else:
            return True
        return False

    def _parallel(self, name: str, task: Mapping[str, Any], place: Place, depth: int) -> Node:
        """The join of a group; whatever leads to the group leads to its members."""
        plain = {key: value for key, value in task.items() if key not in ("tasks", "join", "when", "depends_on")}
        node = compile_task(name, {**plain, "type": "action"}, place)
        if node.kind is not Kind.PASS or node.items or node.retry:
            place.error("wrong_type", "A parallel group has tasks, and no action, items or retry of its own.")
        members = self._members(task.get("tasks"), place.at("tasks"), depth)
        self._entries[name] = tuple(entry for member in members for entry in self._entries.get(member.id, (member.id,)))
        guard, join = guard_of(task, place), join_of(task, place)
        for entry in self._entries[name]:
            first = self._nodes[entry]
            self._nodes[entry] = replace(first, join=join, guard=_all_of(guard, first.guard))
        for member in members:
            last = self._nodes[member.id]
            self._nodes[member.id] = replace(last, next=(Transition(when=ANY_END, do=(name,)),))
        return replace(node, kind=Kind.PASS, join=Need.ALL, gather=tuple(member.id for member in members))

    def _members(self, tasks: Any, place: Place, depth: int) -> list[Node]:
        entries = list(tasks.items()) if isinstance(tasks, Mapping) else []
        if isinstance(tasks, list):
            entries = [(task.get("name") if isinstance(task, Mapping) else None, task) for task in tasks]
        if not entries or depth >= MAX_NESTING:
            place.error("missing_key", f"A parallel group has `tasks`, and at most {MAX_NESTING} levels.")
            return []
        members: list[Node] = []
        for index, (name, task) in enumerate(entries):
            inner = place.at(index if isinstance(tasks, list) else str(name))
            for key in sorted(FLOW_KEYS & task.keys()) if isinstance(task, Mapping) else ():
                inner.at(key).error("wrong_type", "Tasks of a parallel group run side by side and lead nowhere else.")
            node = self._read(name, task, inner, depth + 1)
            if node is not None:
                members.append(node)
        return members

    def linked(self) -> list[Node]:
        """The nodes with their sequence, dependencies and compensations; targets are checked."""
        Undo(self._nodes, self._places, self._sources).read()
        if self._is_sequence():
            names = [task["name"] for task in self._document["tasks"] if self._is_step(task)]
            for name, following in pairwise(names):
                self._follow(name, Transition(when=SUCCESS, do=(following,)))
        for name, task in self._sources.items():
            self._depend(name, task)
        for name, task in self._sources.items():
            self._publish(name, task)
        return [self._resolved(node) for node in self._nodes.values()]

    def _is_step(self, task: Any) -> bool:
        name = task.get("name") if isinstance(task, Mapping) else None
        return isinstance(name, str) and name in self._nodes and not self._nodes[name].undo

    def _publish(self, name: str, task: Mapping[str, Any]) -> None:
        place = self._places[name]
        publish = (
            *place.at("publish").assignments(task.get("publish")),
            *place.at("merge").assignments(task.get("merge"), merge=True),
        )
        node = self._nodes[name]
        self._nodes[name] = replace(node, next=with_publish(node.next, publish))

    def _is_sequence(self) -> bool:
        """A list in which no task says where it leads or how it is entered runs from top to bottom."""
        tasks = self._document.get("tasks")
        if not isinstance(tasks, list):
            return False
        return not any(isinstance(task, Mapping) and FLOW_KEYS & task.keys() for task in tasks)

    def _follow(self, name: str, step: Transition) -> None:
        node = self._nodes[name]
        self._nodes[name] = replace(node, next=(*node.next, step))

    def _depend(self, name: str, task: Mapping[str, Any]) -> None:
        if task.get("depends_on") is None:
            return
        place = self._places[name].at("depends_on")
        for before in targets(task["depends_on"], place):
            if before in self._nodes:
                self._follow(before, Transition(when=SUCCESS, do=(name,)))
            else:
                self._unknown(before, place)

    def _unknown(self, name: str, place: Place) -> None:
        hint = nearest(name, self._nodes)
        place.error("undefined_task", f"There is no task {name!r}.", hint=hint, subject=name)

    def _resolved(self, node: Node) -> Node:
        """Targets that are groups become their members; unknown ones are reported and dropped."""
        steps: list[Transition] = []
        for index, step in enumerate(node.next):
            do: dict[str, None] = {}
            for target in step.do:
                if target in _COMMANDS or target in self._nodes:
                    do.update(dict.fromkeys(self._leads_to(target, node)))
                else:
                    self._unknown(target, self._target_place(node, index))
            steps.append(replace(step, do=tuple(do)))
        return replace(node, next=tuple(steps))

    def _leads_to(self, target: str, node: Node) -> tuple[str, ...]:
        """A group is entered by its members; only they themselves lead to its join."""
        gathering = self._nodes[target].gather if target in self._nodes else ()
        return (target,) if node.id in gathering else self._entries.get(target, (target,))

    def _target_place(self, node: Node, index: int) -> Place:
        place = self._places[node.id]
        entries = self._sources[node.id].get("next")
        if isinstance(entries, list) and index < len(entries):
            inner = place.at("next").at(index)
            return inner.at("do") if isinstance(entries[index], Mapping) else inner
        return place


def _all_of(outer: Template | None, inner: Any) -> Any:
    if outer is None or inner is None:
        return outer or inner
    return _Both([outer.source, inner.source], outer.secrets | inner.secrets, (outer, inner))
