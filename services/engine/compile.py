"""From a definition to its graph: recognises the dialect, keeps the bounds, hands over to the front end.

Pure and total: any JSON value gives a graph or problems, in a time that grows with the size of the definition only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from services.engine.dialects.native import compile_native
from services.engine.dialects.nodes import compile_nodes
from services.engine.dialects.orquesta import compile_orquesta
from services.engine.dialects.wpk import compile_wpk
from services.engine.graph import Graph
from services.engine.inspect import inspect_graph
from services.engine.problems import Findings, Problem, nearest

MAX_TASKS = 2_000
MAX_DEPTH = 64
MAX_KEYS = 5_000
"""Entries of one map."""
MAX_VALUES = 200_000
"""Values of a definition, each counted as often as it is used; an alias that multiplies itself ends here."""

FrontEnd = Callable[[Mapping[str, Any], Findings], Graph | None]
"""May give a graph although there are findings, so that inspection can add to them."""

FRONT_ENDS: Mapping[str, FrontEnd] = {
    "native": compile_native,
    "orquesta": compile_orquesta,
    "nodes": compile_nodes,
    "wpk": compile_wpk,
}
DIALECTS = ("native", "orquesta", "nodes", "wpk")


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiled:
    """What came of a definition: a graph, or errors; warnings in any case."""

    dialect: str
    graph: Graph | None
    errors: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()


def compile_definition(document: Any, *, context: Iterable[str] = ()) -> Compiled:
    """Compile a definition of any dialect; never raises, all problems at once.

    `context` names variables that the application hands to every execution (Orquesta only).
    """
    findings = Findings()
    if not isinstance(document, Mapping):
        findings.error("wrong_type", "A definition is a map.")
        return Compiled(dialect="native", graph=None, errors=tuple(findings.errors))
    dialect = dialect_of(document)
    graph = None
    if within_bounds(document, findings):
        graph = compile_with(dialect, document, findings, context)
    return Compiled(
        dialect=dialect,
        graph=None if findings.errors else graph,
        errors=tuple(findings.errors),
        warnings=tuple(findings.warnings),
    )


def compile_with(dialect: str, document: Mapping[str, Any], findings: Findings, context: Iterable[str]) -> Graph | None:
    """The graph of one front end."""
    if dialect == "orquesta":
        return compile_orquesta(document, findings, context=context)
    front_end = FRONT_ENDS.get(dialect)
    if front_end is None:
        known = dialect in DIALECTS
        message = (
            f"The dialect {dialect!r} is not part of this version." if known else f"There is no dialect {dialect!r}."
        )
        findings.error("unknown_dialect", message, path="dialect", subject=dialect, hint=nearest(dialect, DIALECTS))
        return None
    graph = front_end(document, findings)
    if graph is not None:
        inspect_graph(graph, findings, place=place_in(document))
    return graph


def place_in(document: Mapping[str, Any]) -> Callable[[str], str]:
    """Where a task stands in the document: `tasks[0]` in a list, `tasks.name` in a map."""
    tasks = document.get("tasks")
    entries = enumerate(tasks) if isinstance(tasks, list) else ()
    places = {task["name"]: f"tasks[{index}]" for index, task in entries if isinstance(task, dict) and "name" in task}
    section = "nodes" if "nodes" in document else "tasks"
    return lambda name: places.get(name, f"{section}.{name}")


def dialect_of(document: Mapping[str, Any]) -> str:
    """The dialect a definition names or is recognised by."""
    named = document.get("dialect")
    if isinstance(named, str) and named:
        return named
    if document.get("kind") == "WorkflowPackage":
        return "wpk"
    if "nodes" in document and "connections" in document:
        return "nodes"
    version = document.get("version")
    is_one = version == "1.0" or (isinstance(version, int | float) and not isinstance(version, bool) and version == 1)
    return "orquesta" if is_one and not isinstance(document.get("tasks"), list) else "native"


def within_bounds(document: Mapping[str, Any], findings: Findings) -> bool:
    """Refuse what is too deep, too wide or too large, before anything else looks at it."""
    left = MAX_VALUES
    waiting: list[tuple[Any, int]] = [(document, 1)]
    while waiting:
        value, depth = waiting.pop()
        if not isinstance(value, Mapping | list):
            continue
        left -= len(value)
        if depth > MAX_DEPTH:
            return refuse(findings, "too_deep", f"The definition is nested deeper than {MAX_DEPTH} levels.")
        if isinstance(value, Mapping) and len(value) > MAX_KEYS:
            return refuse(findings, "too_many_keys", f"A map has {len(value):,} entries; {MAX_KEYS:,} are allowed.")
        if left < 0:
            return refuse(findings, "too_large", f"The definition has more than {MAX_VALUES:,} values.")
        waiting += [(entry, depth + 1) for entry in (value.values() if isinstance(value, Mapping) else value)]
    tasks = document.get("tasks", document.get("nodes"))
    if isinstance(tasks, Mapping | list) and len(tasks) > MAX_TASKS:
        return refuse(findings, "too_many_tasks", f"{len(tasks):,} tasks; {MAX_TASKS:,} are allowed.")
    return True


def refuse(findings: Findings, code: str, message: str) -> bool:
    """Report the bound that was passed."""
    findings.error(code, message)
    return False
