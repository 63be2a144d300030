"""Definitions written in another dialect: `GET /workflows/{id}?format=nodes|wpk|orquesta|native`.

In its own dialect a definition is what its author stored, untouched. Every other dialect can be written as native,
where its graph allows; what does not is refused, naming all of it. Nothing is written as Orquesta, nodes or wpk.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from services.engine.compile import DIALECTS, compile_definition, dialect_of
from services.engine.dialects.native_tasks import LABELS, NAME, RESERVED
from services.engine.dialects.native_values import OUTCOMES
from services.engine.graph import (
    Assignment,
    Backoff,
    Command,
    Graph,
    Need,
    Node,
    Retry,
    Template,
    Transition,
    When,
)
from services.engine.statuses import FAILURE
from services.errors import Invalid


class ExportRefused(Invalid):
    """The workflow cannot be written in that dialect."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """A definition in the wanted dialect.

    `param_schema` holds the defaults of its inputs where the dialect keeps them outside of the definition;
    `notes` say where it behaves differently.
    """

    dialect: str
    definition: Mapping[str, Any]
    param_schema: Mapping[str, Any] | None = None
    notes: tuple[str, ...] = ()


_NOTES = {
    "orquesta": (
        "Tasks that several transitions lead to run once for each (`join: each`), as in Orquesta.",
        "Values inside a text are written as JSON, not as Python writes them.",
        "A task that cannot be rendered fails alone, and an open inquiry holds only its own task.",
        "Inputs that are not declared are kept, and statuses are called completed and cancelled.",
    ),
    "nodes": (
        "Values inside a text are written as JSON, not as Python writes them.",
        "Triggers are left out.",
    ),
    "wpk": ("Triggers, alerts and the package's metadata are left out.",),
}


def export_definition(document: Mapping[str, Any], wanted: str) -> Export:
    """The definition in the wanted dialect. Raises ExportRefused with every reason why not."""
    dialect = dialect_of(document)
    if wanted == dialect:
        return Export(dialect=dialect, definition=document)
    if wanted not in DIALECTS:
        raise ExportRefused(f"There is no format {wanted!r}; there are {', '.join(DIALECTS)}.")
    if wanted != "native":
        raise ExportRefused(f"A {dialect} workflow can be written as {dialect} or native, not as {wanted}.")
    compiled = compile_definition(document)
    if compiled.graph is None:
        reasons = "; ".join(problem.message for problem in compiled.errors)
        raise ExportRefused(f"The definition is not valid: {reasons}")
    return _Writer(compiled.graph).export(document)


@dataclass(slots=True)
class _Writer:
    """Writes a graph of another dialect in the native language; what only native has does not occur."""

    graph: Graph
    names: dict[str, str] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)

    def export(self, document: Mapping[str, Any]) -> Export:
        graph = self.graph
        self.names = _names(graph.nodes)
        definition: dict[str, Any] = {"dialect": "native", **_about(document)}
        if graph.vars:
            definition["vars"] = self.assignments(graph.vars, "vars")
        definition["tasks"] = {self.names[node.id]: self.task(node) for node in graph.nodes.values()}
        if graph.output:
            definition["output"] = self.assignments(graph.output, "output")
        if graph.limits:
            definition["limits"] = dict(graph.limits)
        if not graph.profile.fail_fast:
            definition["on_failure"] = "drain"
        schema = self.schema()
        if self.refused:
            raise ExportRefused("The workflow cannot be written as native: " + "; ".join(dict.fromkeys(self.refused)))
        renamed = tuple(f"The task {old!r} is called {new!r}." for old, new in self.names.items() if old != new)
        notes = (*_NOTES.get(graph.dialect, ()), *renamed)
        return Export(dialect="native", definition=definition, param_schema=schema, notes=notes)

    def schema(self) -> Mapping[str, Any] | None:
        """Inputs with their defaults: the native language leaves them to the workflow's `param_schema`."""
        if not self.graph.inputs:
            return None
        properties: dict[str, Any] = {}
        for entry in self.graph.inputs:
            default = self.text(entry.value, f"the default of the input {entry.name}") if entry.value else None
            if isinstance(default, str) and ("{{" in default or "{%" in default) and self.graph.dialect == "orquesta":
                self.refused.append(f"the default of the input {entry.name} is an expression")
            properties[entry.name] = {} if entry.value is None or entry.required else {"default": default}
        required = [entry.name for entry in self.graph.inputs if entry.required]
        return {"type": "object", "properties": properties, **({"required": required} if required else {})}

    def text(self, template: Template, place: str) -> Any:
        """A template as its author wrote it; YAQL has no counterpart."""
        if _has_yaql(template.source):
            self.refused.append(f"{place} is written in YAQL")
        return template.source

    def assignments(self, entries: Iterable[Assignment], place: str) -> dict[str, Any]:
        written: dict[str, Any] = {}
        for entry in entries:
            written[entry.name] = None if entry.value is None else self.text(entry.value, f"{place}.{entry.name}")
        return written

    def task(self, node: Node) -> dict[str, Any]:
        place = f"the task {node.id}"
        task = {key: node.labels[key] for key in LABELS if key in node.labels}
        task |= self.call(node, place)
        for key, template in (("delay", node.delay), ("timeout", node.timeout)):
            if template is not None:
                task[key] = self.text(template, place)
        if node.retry is not None:
            task["retry"] = self.retry(node.retry, place)
        join = self.join(node)
        if join is not None:
            task["join"] = join
        following = [self.transition(step, node) for step in node.next if step.when != frozenset()]
        return {**task, "next": following} if following else task

    def call(self, node: Node, place: str) -> dict[str, Any]:
        """What the task does."""
        call: dict[str, Any] = {}
        if node.wait is not None:
            assert node.wait.seconds is not None
            return {"wait": {"seconds": self.text(node.wait.seconds, place)}}
        if node.action is not None:
            call["action"] = self.text(node.action, place)
        if node.input is not None:
            call["input"] = self.text(node.input, place)
        if node.items is not None:
            call |= self.items(node, place)
        return call

    def items(self, node: Node, place: str) -> dict[str, Any]:
        assert node.items is not None
        values = self.text(node.items.values, place)
        written: dict[str, Any] = {
            "with_items": {"items": values, "names": list(node.items.names)} if node.items.names else values
        }
        if node.items.concurrency is not None:
            written["concurrency"] = self.text(node.items.concurrency, place)
        return {**written, "on_item_failure": "drain"}

    def retry(self, retry: Retry, place: str) -> dict[str, Any]:
        written: dict[str, Any] = {"count": self.text(retry.count, place)}
        if retry.delay is not None:
            written["delay"] = self.text(retry.delay, place)
        if retry.backoff is not Backoff.CONSTANT:
            written["backoff"] = str(retry.backoff)
        if retry.when != FAILURE:
            written["when"] = self.condition(retry.when, place)
        return written

    def join(self, node: Node) -> Any:
        if node.join is None or node.id not in self.graph.flow.joins:
            return "each" if node.join is Need.EACH else None
        return "all" if node.join is Need.ALL else int(node.join)

    def transition(self, step: Transition, node: Node) -> dict[str, Any]:
        place = f"a transition of the task {node.id}"
        written: dict[str, Any] = {}
        if step.when is not None:
            written["when"] = self.condition(step.when, place)
        plain = [entry for entry in step.publish if not self.merges(entry)]
        merged = [entry for entry in step.publish if self.merges(entry)]
        for key, entries in (("publish", plain), ("merge", merged)):
            if entries:
                written[key] = self.assignments(entries, place)
        if step.do:
            written["do"] = [target if target in _COMMANDS else self.names[target] for target in map(str, step.do)]
        if step.message is not None:
            written["message"] = self.text(step.message, place)
        return written

    def merges(self, entry: Assignment) -> bool:
        """Are objects merged? Only where the value may be one."""
        source = None if entry.value is None else entry.value.source
        whole = isinstance(source, Mapping) or (isinstance(source, str) and source.startswith("{{"))
        return entry.merge or (self.graph.profile.publish_merges and whole)

    def condition(self, when: When, place: str) -> Any:
        if isinstance(when, frozenset):
            return next(word for word, outcomes in OUTCOMES.items() if outcomes == when)
        assert when is not None
        return self.text(when, place)


_COMMANDS = frozenset(str(command) for command in Command)


def _about(document: Mapping[str, Any]) -> dict[str, Any]:
    """What the definition says about itself."""
    about = {key: document[key] for key in ("name", "description", "tags") if key in document}
    metadata = document.get("metadata")
    return {**about, "metadata": metadata} if isinstance(metadata, Mapping) and metadata else about


def _names(nodes: Iterable[str]) -> dict[str, str]:
    """Names of the native language for the nodes, as close to theirs as possible."""
    names: dict[str, str] = {}
    taken: set[str] = {node for node in nodes if NAME.fullmatch(node) and node not in RESERVED}
    for node in nodes:
        if node in taken:
            names[node] = node
            continue
        word = re.sub(r"[^A-Za-z0-9_-]+", "_", node).strip("-") or "task"
        word = word if NAME.fullmatch(word) else f"task_{word}"
        made, number = word, 2
        while made in taken or made in RESERVED:
            made, number = f"{word}_{number}", number + 1
        taken.add(made)
        names[node] = made
    return names


def _has_yaql(value: Any) -> bool:
    if isinstance(value, str):
        return "<%" in value and "%>" in value
    if isinstance(value, Mapping):
        return any(_has_yaql(part) for pair in value.items() for part in pair)
    return isinstance(value, list | tuple) and any(map(_has_yaql, value))
