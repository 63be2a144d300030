"""A plain picture of a state, for comparing the live one with one folded from the stored events."""

from collections.abc import Mapping
from enum import Enum
from typing import Any

from services.engine.contexts import Context
from services.engine.graph import Graph
from services.engine.state import State

LEFT_OUT = {"graph", "log", "histories"}
"""The graph is given, the log of undoable changes and the numbers of writes are not part of what happened."""


def picture(state: State) -> dict[str, Any]:
    """Everything a state knows, as plain values."""
    return {name: plain(value) for name, value in fields(state) if name not in LEFT_OUT}


def fields(value: Any) -> list[tuple[str, Any]]:
    names = list(getattr(value, "__dict__", ()))
    for kind in type(value).__mro__:
        slots = getattr(kind, "__slots__", ())
        names += [slots] if isinstance(slots, str) else slots
    return [(name, getattr(value, name)) for name in names if hasattr(value, name)]


def plain(value: Any) -> Any:
    """Any value of a state without identity: objects become maps of their fields."""
    match value:
        case Context():
            return plain(value.values())
        case tuple() if hasattr(value, "_asdict"):
            return plain(value._asdict())
        case Mapping():
            return {plain(key): plain(entry) for key, entry in value.items()}
        case list() | tuple():
            return tuple(plain(entry) for entry in value)
        case _:
            return {name: plain(entry) for name, entry in fields(value)} if is_object(value) else value


def is_object(value: Any) -> bool:
    """Whether a value is one of the engine's objects, not a scalar."""
    return type(value).__module__.startswith("services.engine") and not isinstance(value, Enum | Graph)


def different(live: Mapping[str, Any], folded: Mapping[str, Any]) -> list[str]:
    """Names of what differs, with both sides."""
    return [
        f"{name}: live {live.get(name)!r}, folded {folded.get(name)!r}"
        for name in {**live, **folded}
        if live.get(name) != folded.get(name)
    ]
