"""Actions that tasks name, against what the catalogue knows of them: unknown refs, missing and unexpected inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from services.engine.expressions import Template
from services.engine.graph import Graph, Kind, Node
from services.engine.problems import Findings, join_path, nearest

Schemas = Mapping[str, Mapping[str, Any] | None]
"""Ref of an action or workflow -> JSON Schema of its parameters; None: it says nothing about them."""


def check_inputs(graph: Graph, schemas: Schemas, findings: Findings, place: Callable[[str], str]) -> None:
    """Warn of unknown actions; report inputs that a known action needs or does not take. Expressions are left alone."""
    for node in graph.nodes.values():
        ref = literal_ref(node)
        if ref is None:
            continue
        if ref not in schemas:
            message = f"There is no action {ref!r}."
            findings.warning("unknown_action", message, path=join_path(place(node.id), "action"), task=node.id,
                             subject=ref, hint=nearest(ref, schemas))  # fmt: skip
            continue
        schema = schemas[ref]
        if schema is not None:
            check_input(node, schema, findings, join_path(place(node.id), "input"))


def literal_ref(node: Node) -> str | None:
    """The action a node names outright."""
    if node.kind not in (Kind.ACTION, Kind.WORKFLOW, Kind.INQUIRY) or not isinstance(node.action, Template):
        return None
    return str(node.action.source) if node.action.is_literal else None


def check_input(node: Node, schema: Mapping[str, Any], findings: Findings, path: str) -> None:
    """The keys of one input; values are checked when the task runs."""
    given = {} if node.input is None else node.input.source
    if not isinstance(given, Mapping):
        return
    known = schema.get("properties") or {}
    for name in schema.get("required") or ():
        if name not in given and "default" not in (known.get(name) or {}):
            message = f"The action needs the input {name!r}."
            findings.error("missing_input", message, path=path, task=node.id, subject=name)
    if schema.get("additionalProperties") is False:
        for name in given:
            if name not in known and "{" not in str(name) and "<%" not in str(name):
                message = f"The action takes no input {name!r}."
                hint = nearest(str(name), known)
                findings.error("unexpected_input", message, path=path, task=node.id, subject=str(name), hint=hint)
