"""Values of an Orquesta workflow: YAQL and Jinja, compiled once, with every problem at the place of its property."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from services.engine.dialects.orquesta_document import task_of
from services.engine.expressions import ExpressionError, Template, compile_template
from services.engine.graph import When
from services.engine.problems import Findings
from services.engine.statuses import Outcome

CONDITION = re.compile(r"\s*(?:<%\s*(\w+)\(\)\s*%>|\{\{\s*(\w+)\(\)\s*\}\})\s*")
OUTCOMES = {
    "succeeded": frozenset({Outcome.COMPLETED, Outcome.SKIPPED}),
    "failed": frozenset({Outcome.FAILED, Outcome.TIMED_OUT}),
    "completed": frozenset(Outcome),
}
"""Conditions that need no evaluation."""


class Values:
    """Compiles values and collects what is wrong with them."""

    def __init__(self, findings: Findings) -> None:
        self.findings = findings

    def compile(self, path: str, value: Any, *, secrets: bool = False) -> Template:
        """A value of the property at `path`; one with problems is reported and becomes null."""
        try:
            return compile_template(value, lang="orquesta", text="python", secrets=secrets)
        except ExpressionError as error:
            for problem in error.problems:
                expression = problem.expression
                message = f"{problem.message} in {expression}" if expression else problem.message
                self.findings.error(problem.code, message, path=path, task=task_of(path), subject=expression or None)
            return self.literal(None)

    def literal(self, value: Any) -> Template:
        """A value of ours, without expressions."""
        return compile_template(value)

    def condition(self, path: str, text: str) -> When:
        """A condition; the common ones are sets of outcomes."""
        match = CONDITION.fullmatch(text)
        outcomes = OUTCOMES.get(match[1] or match[2]) if match else None
        return outcomes if outcomes is not None else self.compile(path, text)


def texts(value: Any) -> Iterator[str]:
    """Every text in a value, keys included."""
    waiting = [value]
    while waiting:
        entry = waiting.pop()
        if isinstance(entry, str):
            yield entry
        elif isinstance(entry, dict):
            waiting += [*entry.keys(), *entry.values()]
        elif isinstance(entry, list):
            waiting += entry
