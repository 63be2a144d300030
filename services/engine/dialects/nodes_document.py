"""A node graph as its author wrote it: nodes, ports, connections, and everything that is wrong with them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from services.engine.dialects.nodes_config import CHECKS, TYPES
from services.engine.graph import Command
from services.engine.problems import Findings, join_path, nearest

MAX_NODES = 100
"""More than that is allowed, with a warning (its own engine refuses them)."""

KEYS = ("dialect", "metadata", "nodes", "connections", "global_variables", "version", "name", "description")
RESERVED = frozenset(str(command) for command in Command) | {"continue", "retry"}
"""Ids that mean something else in a transition; such a node gets an underscore at its end."""

_ANY = ("output", "out", "success", "default", "next")
_FAILED = ("error", "failure", "failed", "on_error", "on_failure")
_PORTS: Mapping[str, tuple[str, ...]] = {
    "trigger": ("output", "out", "triggered", "trigger"),
    "action": (*_ANY, *_FAILED, "completed", "done"),
    "loop": ("loop", "body", "each", "item", "iteration", "exit", "done", "completed", "end"),
    "loop_break": ("break", "continue"),
    "flow_parallel": ("parallel", "branch"),
}
ERROR_PORTS = frozenset(_FAILED)
BODY_PORTS = frozenset(("loop", "body", "each", "item", "iteration"))


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeText:
    """One node."""

    id: str
    type: str
    config: Mapping[str, Any]
    path: str

    @property
    def is_trigger(self) -> bool:
        """Starts the graph and is no part of it."""
        return self.type.startswith("trigger_")

    @property
    def is_loop(self) -> bool:
        """Has a body that is repeated."""
        return self.type in {"loop_foreach", "loop_while"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """One enabled connection between two enabled nodes."""

    source: str
    port: str
    target: str
    conditional: Any = None
    path: str = ""


@dataclass(slots=True)
class DocumentText:
    """Everything of a node graph that takes part; what is disabled is left out."""

    nodes: dict[str, NodeText] = field(default_factory=dict)
    links: list[Link] = field(default_factory=list)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    variables: Mapping[str, Any] = field(default_factory=dict)
    disabled: set[str] = field(default_factory=set)

    def from_node(self, node: str) -> list[Link]:
        """Connections that leave a node."""
        return [link for link in self.links if link.source == node]


def read_document(document: Mapping[str, Any], findings: Findings) -> DocumentText:
    """Read a node graph; all problems go to the findings."""
    text = DocumentText()
    for key in document:
        if key not in KEYS:
            name = str(key)
            findings.error("unknown_key", f"Unknown key {key!r}.", path=name, subject=name, hint=nearest(name, KEYS))
    text.metadata = _map(document, "metadata", findings)
    text.variables = _map(document, "global_variables", findings)
    nodes = document.get("nodes")
    entries = _entries(nodes, findings)
    for node_id, config, path in entries:
        node = _node(node_id, config, path, findings)
        if node is not None:
            _keep(text, node, findings)
    if not entries and not findings.errors:
        findings.error("no_tasks", "A workflow has at least one node.", path="nodes")
    if len(entries) > MAX_NODES:
        findings.warning("many_nodes", f"{len(entries)} nodes; its own engine allows {MAX_NODES}.", path="nodes")
    _read_links(document.get("connections"), text, findings)
    return text


def _map(document: Mapping[str, Any], key: str, findings: Findings) -> Mapping[str, Any]:
    value = document.get(key)
    if value is not None and not isinstance(value, Mapping):
        findings.error("wrong_type", f"{key} is a map.", path=key)
    return value if isinstance(value, Mapping) else {}


def _entries(nodes: Any, findings: Findings) -> list[tuple[str, Mapping[str, Any], str]]:
    """Nodes of a map by id, or of a list."""
    pairs: Iterable[tuple[Any, Any, str]]
    if isinstance(nodes, Mapping):
        pairs = [(key, config, join_path("nodes", str(key))) for key, config in nodes.items()]
    elif isinstance(nodes, list):
        pairs = [(_id_in(config), config, join_path("nodes", index)) for index, config in enumerate(nodes)]
    else:
        findings.error("wrong_type", "nodes is a map from id to node.", path="nodes")
        return []
    entries = []
    for node_id, config, path in pairs:
        if not isinstance(config, Mapping) or not isinstance(node_id, str) or not node_id.strip():
            findings.error("wrong_type", "A node is a map with an id and a node_type.", path=path)
        else:
            entries.append((safe_id(node_id), config, path))
    return entries


def _id_in(config: Any) -> Any:
    return config.get("node_id", config.get("id")) if isinstance(config, Mapping) else None


def safe_id(node_id: str) -> str:
    """The id of a node in the compiled graph."""
    return f"{node_id}_" if node_id in RESERVED else node_id


def _node(node_id: str, config: Mapping[str, Any], path: str, findings: Findings) -> NodeText | None:
    kind = config.get("node_type", config.get("type"))
    if kind not in TYPES:
        hint = nearest(str(kind), TYPES)
        findings.error("unknown_node_type", f"There is no node type {kind!r}.", path=path, task=node_id, hint=hint)
        return None
    if ":" in node_id:
        findings.error("reserved_name", f"{node_id!r} cannot be the id of a node.", path=path, task=node_id)
    own = config.get("node_id")
    if own is not None and safe_id(str(own)) != node_id:
        findings.error("wrong_id", f"The node calls itself {own!r}.", path=join_path(path, "node_id"), task=node_id)
    return NodeText(id=node_id, type=str(kind), config=config, path=path)


def _keep(text: DocumentText, node: NodeText, findings: Findings) -> None:
    if node.id in text.nodes:
        findings.error("duplicate_task", f"There are two nodes {node.id!r}.", path=node.path, task=node.id)
    if node.config.get("enabled", True) is False:
        text.disabled.add(node.id)
        return
    text.nodes[node.id] = node
    problem: Callable[[str, str], None] = lambda key, message: findings.error(  # noqa: E731 - bound to this node
        "bad_config", message, path=join_path(node.path, key), task=node.id
    )
    CHECKS[node.type](node.config, problem)


def _read_links(connections: Any, text: DocumentText, findings: Findings) -> None:
    if connections is not None and not isinstance(connections, list):
        findings.error("wrong_type", "connections is a list.", path="connections")
        return
    for index, entry in enumerate(connections or ()):
        path = join_path("connections", index)
        if not isinstance(entry, Mapping):
            findings.error("wrong_type", "A connection is a map.", path=path)
            continue
        link = _link(entry, path, text, findings)
        if link is not None and entry.get("enabled", True) is not False:
            text.links.append(link)


def _link(entry: Mapping[str, Any], path: str, text: DocumentText, findings: Findings) -> Link | None:
    """The connection, if both ends exist and take part."""
    ends = []
    for key in ("from_node_id", "to_node_id"):
        node = safe_id(str(entry.get(key)))
        if node not in text.nodes and node not in text.disabled:
            hint = nearest(node, text.nodes)
            findings.error(
                "unknown_target", f"There is no node {node!r}.", path=join_path(path, key), subject=node, hint=hint
            )
        ends.append(text.nodes.get(node))
    source, target = ends
    if source is None or target is None:
        return None
    port = str(entry.get("from_port_name") or "output")
    _check_port(source, port, "output", join_path(path, "from_port_name"), findings)
    _check_port(target, str(entry.get("to_port_name") or "input"), "input", join_path(path, "to_port_name"), findings)
    _check_types(source, target, entry, path, findings)
    if target.is_trigger:
        findings.error("trigger_target", "Nothing can lead to a trigger.", path=path, task=target.id)
        return None
    return Link(source=source.id, port=port, target=target.id, conditional=entry.get("conditional"), path=path)


def _check_port(node: NodeText, port: str, side: str, path: str, findings: Findings) -> None:
    declared = _declared(node, side)
    known = set(declared) if declared else _default_ports(node) if side == "output" else set()
    if known and port not in known:
        message = f"The node {node.id!r} has no {side} port {port!r}."
        findings.error("unknown_port", message, path=path, task=node.id, subject=port, hint=nearest(port, known))


def _declared(node: NodeText, side: str) -> dict[str, str]:
    """Ports that the node declares, with their data types."""
    ports = node.config.get(f"{side}_ports")
    return {
        str(port.get("name")): str(port.get("data_type", "any"))
        for port in (ports if isinstance(ports, list) else ())
        if isinstance(port, Mapping)
    }


def _default_ports(node: NodeText) -> set[str]:
    config = node.config
    if node.type == "condition_if":
        return {str(config.get("output_true_port", "true")), str(config.get("output_false_port", "false"))}
    if node.type == "condition_switch":
        cases = config.get("cases")
        ports = cases.values() if isinstance(cases, Mapping) else ()
        return {*map(str, ports), str(config.get("default_port", "default"))}
    family = node.type.split("_", maxsplit=1)[0]
    return {*_PORTS.get(node.type, _PORTS.get(family, ())), *_ANY}


def _check_types(source: NodeText, target: NodeText, entry: Mapping[str, Any], path: str, findings: Findings) -> None:
    given = _declared(source, "output").get(str(entry.get("from_port_name")), "any")
    taken = _declared(target, "input").get(str(entry.get("to_port_name")), "any")
    if "any" not in (given, taken) and given != taken:
        findings.warning("port_types", f"A port of type {given} leads to one of type {taken}.", path=path)
