"""What is wrong with a definition, and where: every front end and the inspection collect problems in one list.

A problem is an error (the definition must not start) or a warning (it may). Nothing stops at the first one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from difflib import get_close_matches
from itertools import islice
from typing import Any

MAX_PROBLEMS = 200
"""So many problems are listed; a definition with more of them is told so."""
MANY_NAMES = 100
"""Beyond so many known names only those that look alike are compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One finding: a stable code, the place in the document and a sentence for its author."""

    code: str
    message: str
    path: str = ""
    """Place in the document as its author wrote it: `tasks.load.next[0].when`; empty for the whole document."""
    task: str | None = None
    hint: str | None = None
    """What the author may have meant."""
    subject: str | None = None
    """The key, variable or name that the problem is about."""

    def to_json(self) -> dict[str, Any]:
        """The fields that are set, for answers and reports."""
        return {key: value for key, value in asdict(self).items() if value is not None}


@dataclass(slots=True)
class Findings:
    """Errors and warnings in the order in which they were found; equal ones are kept once."""

    errors: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)

    def error(self, code: str, message: str, *, path: str = "", **more: str | None) -> None:
        """Add something that must be corrected before the workflow can start."""
        self._add(self.errors, Problem(code=code, message=message, path=path, **more))

    def warning(self, code: str, message: str, *, path: str = "", **more: str | None) -> None:
        """Add something that its author probably did not mean."""
        self._add(self.warnings, Problem(code=code, message=message, path=path, **more))

    @property
    def full(self) -> bool:
        """Whether further errors are not listed any more."""
        return len(self.errors) > MAX_PROBLEMS

    def extend(self, other: Findings) -> None:
        """Add everything that others found."""
        for problem in other.errors:
            self._add(self.errors, problem)
        for problem in other.warnings:
            self._add(self.warnings, problem)

    def _add(self, problems: list[Problem], problem: Problem) -> None:
        if len(problems) < MAX_PROBLEMS and problem not in problems:
            problems.append(problem)
        elif len(problems) == MAX_PROBLEMS:
            message = f"There are more than {MAX_PROBLEMS} problems; the rest is not listed."
            problems.append(Problem(code="too_many_problems", message=message))


def nearest(word: str, known: Iterable[str]) -> str | None:
    """A hint that names the known word closest to an unknown one, or None when nothing is close."""
    candidates = list(known)
    if len(candidates) > MANY_NAMES:
        ends = (word[:1], word[-1:])
        alike = (name for name in candidates if abs(len(name) - len(word)) < 3 and (name[:1], name[-1:]) == ends)
        candidates = list(islice(alike, MANY_NAMES))
    matches = get_close_matches(word[:100], candidates, n=1, cutoff=0.6)
    return f"Did you mean {matches[0]!r}?" if matches else None


def join_path(parent: str, key: str | int) -> str:
    """The path of an entry: `tasks` and `load` give `tasks.load`, `next` and 0 give `next[0]`."""
    if isinstance(key, int):
        return f"{parent}[{key}]"
    return f"{parent}.{key}" if parent else key
