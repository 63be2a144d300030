"""Values, conditions, durations and lists of names as the native language writes them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from services.engine.durations import moment, seconds, whole
from services.engine.expressions import ExpressionError, Template, compile_template
from services.engine.graph import Assignment, When
from services.engine.problems import Findings, join_path, nearest
from services.engine.statuses import ANY_END, FAILURE, SUCCESS, Outcome

OUTCOMES: Mapping[str, frozenset[Outcome]] = {
    "succeeded": SUCCESS,
    "success": SUCCESS,
    "failed": FAILURE,
    "failure": FAILURE,
    "timed_out": frozenset({Outcome.TIMED_OUT}),
    "cancelled": frozenset({Outcome.CANCELLED}),
    "completed": ANY_END,
    "always": ANY_END,
}
"""Words of `when`."""
_CALLS: Mapping[str, frozenset[Outcome]] = {
    f"{{{{ {name}() }}}}": OUTCOMES[name] for name in ("succeeded", "failed", "timed_out", "completed", "cancelled")
}


class Place:
    """Where in the document we are, and where its problems go."""

    __slots__ = ("findings", "path", "task")

    def __init__(self, findings: Findings, path: str = "", task: str | None = None) -> None:
        self.findings = findings
        self.path = path
        self.task = task

    def at(self, key: str | int) -> Place:
        """An entry of this place."""
        return Place(self.findings, join_path(self.path, key), self.task)

    def error(self, code: str, message: str, *, hint: str | None = None, subject: str | None = None) -> None:
        """Report an error here."""
        self.findings.error(code, message, path=self.path, task=self.task, hint=hint, subject=subject)

    def warning(self, code: str, message: str, *, subject: str | None = None) -> None:
        """Report a warning here."""
        self.findings.warning(code, message, path=self.path, task=self.task, subject=subject)

    def known_keys(self, value: Mapping[Any, Any], known: frozenset[str]) -> None:
        """Report keys that mean nothing."""
        for key in value:
            if key not in known:
                self.at(str(key)).error(
                    "unknown_key", f"{key!r} is not known here.", hint=nearest(str(key), known), subject=str(key)
                )

    def template(self, value: Any, *, secrets: bool = False) -> Template:
        """A value with expressions; one with problems is reported and becomes null."""
        try:
            return compile_template(value, secrets=secrets)
        except ExpressionError as error:
            for problem in error.problems:
                inner = self
                for key in problem.path:
                    inner = inner.at(key)
                message = f"{problem.message} in {problem.expression}" if problem.expression else problem.message
                inner.error(problem.code, message, subject=problem.expression or None)
            return compile_template(None)

    def duration(self, value: Any) -> Template:
        """Seconds, text such as `30s`, or an expression."""
        return self._checked(value, seconds, "bad_duration")

    def count(self, value: Any) -> Template:
        """A whole number or an expression."""
        return self._checked(value, whole, "wrong_type")

    def time(self, value: Any) -> Template:
        """RFC 3339 text or an expression."""
        return self._checked(value, moment, "wrong_type")

    def _checked(self, value: Any, check: Any, code: str) -> Template:
        template = self.template(value)
        if template.is_literal:
            try:
                check(value)
            except ValueError as error:
                self.error(code, f"{str(error)[:1].upper()}{str(error)[1:]}.")
        return template

    def condition(self, value: Any) -> When:
        """A word such as `succeeded`, or an expression; True is always, False is never."""
        if isinstance(value, bool):
            return None if value else frozenset()
        if not isinstance(value, str):
            self.error("wrong_type", "A condition is a word such as succeeded, or an expression.")
            return None
        text = value.strip()
        outcomes = OUTCOMES.get(text) or _CALLS.get(" ".join(text.split()))
        if outcomes is not None:
            return outcomes
        template = self.template(value)
        if template.is_literal and template.source is not None:
            hint = nearest(text, OUTCOMES) or f"Write {{{{ {text} }}}}."
            self.error("bad_condition", f"{text!r} is neither an outcome nor an expression.", hint=hint)
        return template

    def names(self, value: Any) -> Iterator[tuple[Place, str]]:
        """Names in one text (with commas) or in a list, each with its place."""
        if isinstance(value, str):
            for name in value.split(","):
                yield self, name.strip()
        elif isinstance(value, list):
            for index, entry in enumerate(value):
                if isinstance(entry, str):
                    yield self.at(index), entry.strip()
                else:
                    self.at(index).error("wrong_type", "A name is text.")
        else:
            self.error("wrong_type", "A name, or a list of names, is needed.")

    def assignments(self, value: Any, *, merge: bool = False) -> tuple[Assignment, ...]:
        """A map, or a list of maps and bare names; a bare name takes the whole result."""
        if value is None:
            return ()
        if isinstance(value, Mapping):
            return tuple(self.assignment(name, entry, merge=merge) for name, entry in value.items())
        if not isinstance(value, list):
            self.error("wrong_type", "Variables are a map of names and values.")
            return ()
        made: list[Assignment] = []
        for index, entry in enumerate(value):
            inner = self.at(index)
            if isinstance(entry, Mapping):
                made += [inner.assignment(name, part, merge=merge) for name, part in entry.items()]
            elif isinstance(entry, str) and entry.isidentifier():
                made.append(Assignment(name=entry, value=self.template("{{ result() }}"), merge=merge))
            else:
                inner.error("wrong_type", "An entry is a map of names and values, or a name.")
        return tuple(made)

    def assignment(self, name: Any, value: Any, *, merge: bool = False) -> Assignment:
        """One variable."""
        inner = self.at(str(name))
        if not isinstance(name, str) or not name:
            inner.error("bad_name", f"{name!r} is not a name.")
        elif name.startswith("__"):
            inner.error("private_variable", "Names with two leading underscores are private.", subject=name)
        return Assignment(name=str(name), value=inner.template(value), merge=merge)
