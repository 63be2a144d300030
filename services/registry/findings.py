"""Everything wrong with a request or a pack file, collected with places and raised at once. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

from services.engine.problems import join_path
from services.errors import Invalid

Loc = tuple[str | int, ...]


@dataclass(slots=True)
class Findings:
    """Errors in the form of API answers: `{loc, message, type, code, path, task?, hint?}`."""

    errors: list[dict[str, Any]] = field(default_factory=list)

    def add(self, loc: Loc, message: str, *, kind: str, **more: Any) -> None:
        """Note one error at its place."""
        self.errors.append(complete({"loc": list(loc), "message": message, "type": kind, **more}))

    def extend(self, errors: Iterable[Mapping[str, Any]]) -> None:
        """Note errors that others found."""
        self.errors.extend(dict(error) for error in errors)

    def raise_any(self, what: str) -> None:
        """Raise `Invalid` with every error; `what` begins the message: `The workflow`."""
        if self.errors:
            raise Invalid(f"{what} is not valid: {summary(self.errors)}", errors=self.errors)


def complete(error: Mapping[str, Any]) -> dict[str, Any]:
    """An error with its code and its place as problems of definitions have them: `param_schema.type`, `tags[3]`."""
    return {"code": error["type"], "path": reduce(join_path, error["loc"], ""), **error}


def summary(errors: list[dict[str, Any]]) -> str:
    """The first error in words, and how many more there are."""
    first = errors[0]
    place = ".".join(str(part) for part in first["loc"])
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return f"{place}: {first['message']}{more}" if place else f"{first['message']}{more}"


def at(prefix: Loc, errors: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The same errors below another place."""
    return [{**error, "loc": [*prefix, *error["loc"]]} for error in errors]
