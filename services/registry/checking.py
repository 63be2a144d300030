"""Checking a definition: every problem at once, in the form of API answers. Compiles, stores nothing."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from services.engine.compile import Compiled, compile_definition, place_in
from services.engine.graph import Graph, Kind
from services.engine.inspect_inputs import check_input, literal_ref
from services.engine.problems import Findings, Problem
from services.engine.rendering import NO_SECRETS
from services.registry.findings import Loc

_STEP = re.compile(r"([^.\[\]]+)|\[(\d+)\]")
_LARGE = 200  # tasks; a bigger definition is compiled in a thread

Schemas = Mapping[str, Mapping[str, Any] | None]
Place = Callable[[str], str]
"""Where a task stands in its definition, by its name."""
Known = Callable[[Collection[str]], Awaitable[Schemas]]
"""Those of the refs that name an action or a workflow, with the schema of its parameters where it says one."""


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
        refs = action_refs(compiled.graph)
        schemas = await known(sorted(refs)) if refs else {}
        place = place_in(definition)
        warnings += [located(problem, loc) for problem in _unknown_actions(refs, schemas, place)]
        errors += [located(problem, loc) for problem in _wrong_inputs(compiled.graph, schemas, place)]
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


def _unknown_actions(refs: Mapping[str, list[str]], schemas: Schemas, place: Place) -> list[Problem]:
    missing = refs.keys() - schemas.keys()
    return [
        Problem(
            code="unknown_action",
            message=f"There is no action or workflow {ref!r} (yet); executing needs it.",
            path=f"{place(node)}.action",
            task=node,
            subject=ref,
        )
        for ref in sorted(missing)
        for node in refs[ref]
    ]


def _wrong_inputs(graph: Graph, schemas: Schemas, place: Place) -> list[Problem]:
    """Inputs that a known action needs or does not take; values are checked when the task runs."""
    findings = Findings()
    for node in graph.nodes.values():
        ref = literal_ref(node) or ""
        calls_workflow = node.kind is Kind.WORKFLOW or schemas.get(ref, {}) is None
        if calls_workflow and node.input is not None and node.input.secrets:
            message = f"{NO_SECRETS[:1].upper()}{NO_SECRETS[1:]}."
            findings.error("secret_for_workflow", message, path=f"{place(node.id)}.input", task=node.id)
        schema = schemas.get(ref)
        if schema is not None:
            check_input(node, schema, findings, f"{place(node.id)}.input")
    return list(findings.errors)


def _size(definition: Mapping[str, Any]) -> int:
    inside = next((definition[key] for key in ("tasks", "nodes") if isinstance(definition.get(key), dict | list)), ())
    return len(inside)


def located(problem: Problem, loc: Loc) -> dict[str, Any]:
    """A problem as an API answer has it: the fields of the problem, and its place as a list."""
    return {**problem.to_json(), "loc": [*loc, *_place(problem)], "type": problem.code}


def _place(problem: Problem) -> Iterable[str | int]:
    """The place of a problem as a list; an unknown key, which may contain dots, is one step of it."""
    if problem.code != "unknown_key" or problem.subject is None:
        return place_of(problem.path)
    return [*place_of(problem.path.removesuffix(problem.subject)), problem.subject]


def place_of(path: str) -> Iterable[str | int]:
    """`tasks.load.next[0].when` as a list: tasks, load, next, 0, when."""
    for name, number in _STEP.findall(path):
        yield int(number) if number else name
