"""What can be wrong with an expression, and the request for what cannot be evaluated here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from services.errors import Invalid


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing wrong in a value full of expressions.

    `path` leads to the text inside the value; `position` is the offset in that text;
    `code` is `bad_expression` or `mixed_expression_types`.
    """

    message: str
    path: tuple[str | int, ...] = ()
    expression: str = ""
    position: int = 0
    code: str = "bad_expression"


class ExpressionError(Invalid):
    """An expression cannot be used."""

    problem_code = "bad_expression"

    def __init__(
        self, message: str, *, expression: str = "", position: int = 0, problems: Sequence[Problem] = ()
    ) -> None:
        super().__init__(message)
        self.expression = expression
        self.position = position
        self.problems: tuple[Problem, ...] = tuple(problems) or (
            Problem(message=message, expression=expression, position=position, code=self.problem_code),
        )

    def within(self, expression: str) -> ExpressionError:
        """Say which expression it was, unless that is known already."""
        if self.expression:
            return self
        return type(self)(self.message, expression=expression, position=self.position)


class UndefinedName(ExpressionError):
    """An expression reads a name that has no value."""


class TooMuchWork(ExpressionError):
    """An expression works on more data than the server's own process is given to."""


class MixedLanguages(ExpressionError):
    """Two expression languages in one text."""

    problem_code = "mixed_expression_types"


class NeedsWorker(Exception):
    """Part of a value has to be evaluated by the expression worker.

    `requests` are JSON objects, each with the `id` under which its answer is expected in `Scope.answers`.
    """

    def __init__(self, requests: Sequence[Mapping[str, Any]]) -> None:
        super().__init__(f"{len(requests)} expressions need the worker")
        self.requests = tuple(requests)
