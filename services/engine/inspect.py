"""Inspection of a compiled graph, whatever dialect it came from: what its shape and its names say before it starts.

Front ends report what is wrong with the text of a definition; here stands what only the graph shows. Orquesta has its
own rules for both (`dialects/orquesta_semantics.py`, `orquesta_variables.py`), because they are part of the language.
"""

from __future__ import annotations

from collections.abc import Callable

from services.engine.graph import Graph, Limits
from services.engine.inspect_flow import check_flow
from services.engine.inspect_names import check_names
from services.engine.problems import Findings

Place = Callable[[str], str]
"""Node id -> the path of its task in the document."""


def inspect_graph(graph: Graph, findings: Findings, *, place: Place = "tasks.{}".format) -> None:
    """Report everything that can be known about a graph before it runs."""
    check_flow(graph, findings, place)
    check_names(graph, findings, place)
    check_size(graph, findings)


def check_size(graph: Graph, findings: Findings) -> None:
    """Warn where every task running once is already more than may run."""
    allowed = int(graph.limits.get("max_total_operations", Limits().max_total_operations))
    if len(graph.nodes) > allowed:
        message = f"The workflow has {len(graph.nodes):,} tasks, but MAX_TOTAL_OPERATIONS is {allowed:,}."
        findings.warning("more_tasks_than_operations", message, path="tasks")
