"""What a simulated action gives: a mock, the example of its declaration, or a value made from its output schema. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from models.records import ErrorType
from services.actions.catalogue import ActionSpec
from services.actions.outcome import Outcome

NOTHING = Outcome()
"""No mock was given."""
MAX_DEPTH = 8


class Mocks:
    """Mocks by task."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        self._given = given

    def of(self, node: str, *, attempt: int, item: int | None) -> Outcome:
        """What the mock says, NOTHING without one. A list is per item where there are items, else per attempt."""
        if node not in self._given:
            return NOTHING
        mock = self._given[node]
        if item is not None and isinstance(mock, list):
            mock = _nth(mock, item)
        if isinstance(mock, list):
            mock = _nth(mock, attempt - 1)
        return _outcome(mock)

    @staticmethod
    def from_schema(schema: Any) -> Any:
        """A small value that fits a JSON Schema."""
        return made(schema, MAX_DEPTH)


def _nth(values: list[Any], index: int) -> Any:
    """The entry, or the last one for whatever comes later."""
    return values[min(index, len(values) - 1)] if values else None


def _outcome(mock: Any) -> Outcome:
    if isinstance(mock, Mapping) and mock.keys() == {"error"}:
        error = mock["error"]
        error = error if isinstance(error, Mapping) else {"message": error}
        kind = error.get("type")
        known = kind if kind in set(ErrorType) else ErrorType.EXECUTION
        shown = {"type": str(known), "message": str(error.get("message", "failed by its mock"))}
        return Outcome(error=shown, output=error.get("output"))
    return Outcome(output=mock)


def example(spec: ActionSpec | None) -> Outcome:
    """What an action gives when nobody said."""
    if spec is None:
        return Outcome(output=None, logs=())
    output = spec.example_output if spec.has_example else made(spec.output, MAX_DEPTH)
    return Outcome(output=output, logs=())


EMPTY: Mapping[str, Any] = {"string": "", "integer": 0, "number": 0, "boolean": True}


def made(schema: Any, depth: int) -> Any:
    """A value from a schema: what it names as const, default, example or first choice; else the smallest of its type."""
    if not isinstance(schema, Mapping) or depth < 0:
        return None
    named = [schema[key] for key in ("const", "default", "example") if key in schema]
    named += [schema[key][0] for key in ("examples", "enum") if isinstance(schema.get(key), list) and schema[key]]
    return named[0] if named else _smallest(schema, depth)


def _smallest(schema: Mapping[str, Any], depth: int) -> Any:
    kind = schema.get("type")
    kind = kind[0] if isinstance(kind, list) and kind else kind
    if kind == "object" or "properties" in schema:
        return {name: made(inner, depth - 1) for name, inner in (schema.get("properties") or {}).items()}
    if kind == "array":
        return [made(schema.get("items"), depth - 1)] if schema.get("minItems") else []
    return schema["minimum"] if "minimum" in schema else EMPTY.get(str(kind))
