"""Checking a definition: every problem at once, in the form of API answers. Compiles, stores nothing."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from services.engine.compile import Compiled, compile_definition
from services.engine.graph import Graph, Kind
from services.engine.problems import Problem
from services.registry.findings import Loc

_STEP = re.compile(r"([^.\[\]]+)|\[(\d+)\]")
_LARGE = 200  # tasks; a bigger definition is compiled in a thread

Known = Callable[[Collection[str]], Awaitable[set[str]]]
"""Which of these refs name an action or a workflow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What came of a definition: a graph, or errors; and warnings in any case."""

    graph: Graph | None
    errors: list[dict[str, Any]]
    warnings: list[dict[str, Any]]


async def check(definition: Mapping[str, Any], *, known: Known, loc: Loc = ("definition",)) -> Checked:
    """Compile a definition and look its actions up; places begin with `loc`."""
    compiled = await _compiled(definition)
    errors = [located(problem, loc) for problem in compiled.errors]
    warnings = [located(problem, loc) for problem in compiled.warnings]
    if compiled.graph is not None:
        warnings += [located(problem, loc) for problem in await _unknown_actions(compiled.graph, known)]
    return Checked(graph=compiled.graph, errors=errors, warnings=warnings)


def action_refs(graph: Graph) -> dict[str, list[str]]:
    """The actions and workflows a graph names outright, each with the nodes that call it."""
    refs: dict[str, list[str]] = {}
    for node in graph.nodes.values():
        if node.kind not in (Kind.ACTION, Kind.WORKFLOW) or node.action is None:
            continue
        ref = node.action.source
        if isinstance(ref, str) and "{{" not in ref and "<%" not in ref:
            refs.setdefault(ref, []).append(node.id)
    return refs


async def _compiled(definition: Mapping[str, Any]) -> Compiled:
    if _size(definition) > _LARGE:
        return await asyncio.to_thread(compile_definition, definition)
    return compile_definition(definition)


async def _unknown_actions(graph: Graph, known: Known) -> list[Problem]:
    refs = action_refs(graph)
    missing = set(refs) - await known(sorted(refs)) if refs else set()
    return [
        Problem(
            code="unknown_action",
            message=f"There is no action or workflow {ref!r} (yet); executing needs it.",
            path=f"tasks.{node}.action",
            task=node,
            subject=ref,
        )
        for ref in sorted(missing)
        for node in refs[ref]
    ]


def _size(definition: Mapping[str, Any]) -> int:
    inside = next((definition[key] for key in ("tasks", "nodes") if isinstance(definition.get(key), dict | list)), ())
    return len(inside)


def located(problem: Problem, loc: Loc) -> dict[str, Any]:
    """A problem as an API answer has it: the fields of the problem, and its place as a list."""
    return {**problem.to_json(), "loc": [*loc, *place_of(problem.path)], "type": problem.code}


def place_of(path: str) -> Iterable[str | int]:
    """`tasks.load.next[0].when` as a list: tasks, load, next, 0, when."""
    for name, number in _STEP.findall(path):
        yield int(number) if number else name
