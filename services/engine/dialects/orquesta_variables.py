"""Variables of an Orquesta workflow: which are used before anything could have assigned them.

A task may use what the application, inputs, vars and any way to it have published. References are found in the text of
expressions, as StackStorm does: `ctx().x`, `ctx(x)`, `ctx('x')`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import reduce
from operator import or_
from typing import Any

from services.engine.components import Components, gathered
from services.engine.dialects.orquesta_document import DocumentText, TaskText, task_of
from services.engine.dialects.orquesta_semantics import Flow
from services.engine.dialects.orquesta_values import texts
from services.engine.problems import Findings, nearest

EXPRESSIONS = re.compile(r"\{\{.*?\}\}|<%.*?%>|\{%.*?%\}", re.DOTALL)
REFERENCES = re.compile(
    r"\bctx\(\)\.(?P<attribute>\w+)\b(?!\()"
    r"|\bctx\((?P<bare>[\w-]+)\)"
    r"|\bctx\('(?P<single>[^']+)'\)"
    r'|\bctx\("(?P<double>[^"]+)"\)'
)


@dataclass(slots=True)
class Known:
    """Variables that may be used somewhere: those given to all, those published on the way, those just published."""

    given: set[str]
    numbers: Mapping[str, int] = field(default_factory=dict)
    published: int = 0
    fresh: set[str] = field(default_factory=set)

    def __contains__(self, name: str) -> bool:
        return name in self.given or name in self.fresh or bool(self.published >> self.numbers.get(name, 1 << 20) & 1)

    def __iter__(self) -> Iterator[str]:
        return iter({*self.given, *self.fresh, *(name for name in self.numbers if name in self)})


def check_variables(text: DocumentText, flow: Flow, given: Iterable[str], findings: Findings) -> None:
    """Report every variable that is private or that nothing has assigned where it is used."""
    known = set(given)
    for section, entries in (("input", text.input), ("vars", text.vars)):
        check_entries(section, entries, Known(known), findings)
        known.update(name for name, _ in entries)
    numbers, inbound = inbound_names(flow)
    for name, task in flow.tasks.items():
        if name in flow.reachable:
            check_task(task, Known(known, numbers, inbound[name]), findings)
    everything = reduce(or_, (inbound[name] | own_names(flow.tasks[name], numbers) for name in flow.reachable), 0)
    check_entries("output", text.output, Known(known, numbers, everything), findings)


def inbound_names(flow: Flow) -> tuple[dict[str, int], dict[str, int]]:
    """A number for every published variable, and for each task the bits of those published on some way to it."""
    names = sorted({variable for task in flow.tasks.values() for entry in task.next for variable, _ in entry.publish})
    numbers = {name: number for number, name in enumerate(names)}
    published = {
        (name, entry.index): reduce(or_, (1 << numbers[variable] for variable, _ in entry.publish), 0)
        for name, task in flow.tasks.items()
        for entry in task.next
    }
    edges: dict[str, list[tuple[int, str]]] = {}
    for source, index, target in flow.edges:
        if source in flow.reachable:
            edges.setdefault(source, []).append((published[source, index], target))
    return numbers, gathered(Components(flow.following, flow.following).found, own={}, edges=edges)


def own_names(task: TaskText, numbers: Mapping[str, int]) -> int:
    """The bits of what a task may publish itself."""
    return reduce(or_, (1 << numbers[name] for entry in task.next for name, _ in entry.publish), 0)


def check_task(task: TaskText, known: Known, findings: Findings) -> None:
    """One task: its own fields see what came in, its transitions also what they have published so far."""
    for key, value in fields(task):
        check_value(f"{task.path}.{key}", value, known, findings)
    for transition in task.next:
        check_value(f"{transition.path}.when", transition.when, known, findings)
        check_entries(f"{transition.path}.publish", transition.publish, known, findings)
        known.fresh.clear()


def fields(task: TaskText) -> Iterator[tuple[str, Any]]:
    """The fields of a task that are evaluated when it starts, with their keys."""
    yield "delay", task.delay
    if task.items is not None:
        yield "with.items", task.items.expression
        yield "with.concurrency", task.items.concurrency
    yield "action", task.action
    yield "input", task.input


def check_entries(path: str, entries: Iterable[tuple[str, Any]], known: Known, findings: Findings) -> None:
    """A list in which every entry sees the ones before it."""
    for index, (name, value) in enumerate(entries):
        check_value(f"{path}[{index}]", value, known, findings)
        known.fresh.add(name)


def check_value(path: str, value: Any, known: Known, findings: Findings) -> None:
    """Report the private and the unassigned variables of one value."""
    for name in sorted(references(value)):
        task = task_of(path)
        if name.startswith("__"):
            message = f"{name!r} is private: names with two leading underscores cannot be used."
            findings.error("private_variable", message, path=path, task=task, subject=name)
        if name not in known:
            message = f"The variable {name!r} is used before it is assigned."
            hint = None if findings.full else nearest(name, known)
            findings.error("undefined_variable", message, path=path, task=task, subject=name, hint=hint)


def references(value: Any) -> set[str]:
    """The variables that a value names in its expressions, in keys as well."""
    return {name for text in texts(value) for name in references_in(text)}


def references_in(text: str) -> set[str]:
    """The variables that one text names."""
    if "ctx" not in text:
        return set()
    return {
        next(filter(None, reference.groups()))
        for expression in EXPRESSIONS.findall(text)
        for reference in REFERENCES.finditer(expression)
    }
