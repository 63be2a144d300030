"""Problems of a definition in the words of the scenario format."""

from collections.abc import Iterable, Mapping
from typing import Any

from services.engine.problems import Problem

SHAPE = {"unknown_key", "wrong_type", "missing_key", "bad_name", "bad_task_name", "bad_duration", "bad_value"}
CATEGORIES: Mapping[str, str] = {
    "schema": "syntax",
    "bad_expression": "expressions",
    "mixed_expression_types": "expressions",
    "undefined_variable": "context",
    "private_variable": "context",
}


def inspected(problems: Iterable[Problem]) -> list[dict[str, Any]]:
    """Category, kind and place of each problem; variables by name."""
    found = []
    for problem in problems:
        kind = "schema" if problem.code in SHAPE else problem.code
        category = CATEGORIES.get(kind, "semantics")
        entry = {"category": category, "kind": kind, "spec_path": place_of(problem) or None}
        if category == "context":
            entry["variable"] = problem.subject
        found.append(entry)
    return found


def place_of(problem: Problem) -> str:
    """Where a problem is; an unknown key counts as one of what holds it."""
    if problem.code != "unknown_key":
        return problem.path
    return problem.path.removesuffix(str(problem.subject)).rstrip(".")
