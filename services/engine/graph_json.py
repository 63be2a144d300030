"""A graph as JSON: for drawing (`GET …/graph`) and for its hash."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import orjson

from services.engine.graph import FORMAT, Assignment, Graph, Node, Template, Transition, When


def to_json(graph: Graph) -> dict[str, Any]:
    """Nodes, edges, entry nodes and joins, as the drawing of a workflow needs them."""
    return {
        "format": FORMAT,
        "dialect": graph.dialect,
        "entry": list(graph.flow.starts),
        "nodes": [_node(graph, node) for node in graph.nodes.values()],
        "edges": [
            {"id": edge.id, "from": node.id, "to": edge.target, "entry": edge.entry, "when": _when(step.when)}
            for node in graph.nodes.values()
            for step in node.next
            for edge in step.edges
        ],
        "joins": {node: {"need": join.need, "sources": list(join.sources)} for node, join in graph.flow.joins.items()},
        "inputs": [_assignment(entry) for entry in graph.inputs],
        "vars": [_assignment(entry) for entry in graph.vars],
        "output": [_assignment(entry) for entry in graph.output],
        "limits": dict(graph.limits),
        "hash": graph.hash,
    }


def graph_hash(graph: Graph) -> str:
    """SHA-256 of everything that decides what the graph does; the order of keys does not matter."""
    whole = {**to_json(graph), "profile": _plain(graph.profile), "out_schema": graph.out_schema}
    whole.pop("hash")
    body = [_full(node) for node in graph.nodes.values()]
    text = orjson.dumps([whole, body], option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS, default=str)
    return hashlib.sha256(text).hexdigest()


def _node(graph: Graph, node: Node) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "id": node.id,
        "kind": node.kind,
        "action": source(node.action),
        "join": node.join,
        "with_items": source(node.items.values) if node.items else None,
        "when": source(node.guard),
        "retry": source(node.retry.count) if node.retry else None,
        "timeout": source(node.timeout),
        "compensate": node.compensation.node if node.compensation else None,
        "undo": node.undo or None,
        "cycle": graph.flow.cycles.get(node.id),
        **node.labels,
    }
    return {key: value for key, value in facts.items() if value is not None}


def _full(node: Node) -> dict[str, Any]:
    return {
        name: _plain(getattr(node, name)) for name in Node.__dataclass_fields__ if name not in ("labels", "next")
    } | {"next": [_transition(step) for step in node.next]}


def _transition(step: Transition) -> dict[str, Any]:
    return {
        "when": _when(step.when),
        "on": _when(step.on),
        "choice": step.choice,
        "publish": [_assignment(entry) for entry in step.publish],
        "do": list(step.do),
        "message": source(step.message),
    }


def _assignment(entry: Assignment) -> dict[str, Any]:
    facts = {"name": entry.name, "value": source(entry.value), "merge": entry.merge, "required": entry.required}
    return {key: value for key, value in facts.items() if value is not False}


def _when(when: When) -> Any:
    if isinstance(when, frozenset):
        return sorted(when)
    return source(when)


def source(value: Template | None) -> Any:
    """A template as its author wrote it."""
    return None if value is None else value.source


def _plain(value: Any) -> Any:
    """Any part of a node as JSON."""
    if isinstance(value, frozenset):
        return sorted(value)
    if isinstance(value, tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    fields = getattr(value, "__dataclass_fields__", None)
    if fields is not None and not hasattr(value, "evaluate"):
        return {name: _plain(getattr(value, name)) for name in fields}
    return source(value) if hasattr(value, "evaluate") else value
