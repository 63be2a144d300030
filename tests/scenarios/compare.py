"""Compare what happened with what a scenario expects, field by field, each in the way its README says."""

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

LEVELS: Mapping[int, tuple[str, ...]] = {
    1: ("status", "output", "inspection"),
    2: ("tasks", "checkpoints", "refused"),
    3: ("actions", "transitions", "errors"),
    4: ("engine_commands", "left_open"),
}
DEMANDED = (1, 2, 3)


@dataclass(frozen=True, slots=True)
class Difference:
    """One field that did not come out as expected."""

    level: int
    field: str
    expected: Any
    got: Any


def differences(expected: Mapping[str, Any], got: Mapping[str, Any]) -> list[Difference]:
    """Every field that differs; a field that the expectation leaves out is expected to be empty."""
    if "inspection" in expected:
        got = {"inspection": got.get("inspection", [])}
    return [
        Difference(level, field, *shown)
        for level, fields in LEVELS.items()
        for field in fields
        if (shown := differs(field, expected.get(field), got.get(field))) is not None
    ]


def differs(field: str, expected: Any, got: Any) -> tuple[Any, Any] | None:
    """None when equal, else both sides, reduced to what is in one and not in the other where that reads better."""
    if field in COLLECTIONS:
        normal = COLLECTIONS[field]
        want, have = normal(expected or []), normal(got or [])
        if want == have:
            return None
        return readable(want - have), readable(have - want)
    if field == "refused":
        return None if list(expected or ()) == list(got or ()) else (expected, got)
    if field == "checkpoints":
        want_at, have_at = checkpoints(expected or {}), checkpoints(got or {})
        wrong = [name for name in {**want_at, **have_at} if want_at.get(name) != have_at.get(name)]
        return ({n: want_at.get(n) for n in wrong}, {n: have_at.get(n) for n in wrong}) if wrong else None
    return None if same(expected, got) else (expected, got)


def same(left: Any, right: Any) -> bool:
    """Deep equality as JSON has it: true is not 1, 1 is 1.0."""
    return frozen(left) == frozen(right)


def frozen(value: Any) -> Any:
    """A hashable form; maps forget their order, lists keep it."""
    match value:
        case bool():
            return ("bool", value)
        case dict():
            return ("map", frozenset((key, frozen(entry)) for key, entry in value.items()))
        case list() | tuple():
            return ("list", tuple(frozen(entry) for entry in value))
        case _:
            return value


def multiset(keys: tuple[str, ...]) -> Callable[[Any], Counter[Any]]:
    def normal(entries: Any) -> Counter[Any]:
        return Counter(
            tuple((key, frozen(entry[key])) for key in keys if entry.get(key) is not None) for entry in entries
        )

    return normal


def plain_set(keys: tuple[str, ...]) -> Callable[[Any], Counter[Any]]:
    counted = multiset(keys)
    return lambda entries: Counter(dict.fromkeys(counted(entries), 1))


def words(entries: Any) -> Counter[Any]:
    return Counter(str(entry) for entry in entries)


def actions(entries: Any) -> Counter[Any]:
    return multiset(("task", "route", "item", "action", "input", "delay"))(
        {**entry, "delay": entry.get("delay") or None, "input": entry.get("input") or None} for entry in entries
    )


COLLECTIONS: Mapping[str, Callable[[Any], Counter[Any]]] = {
    "tasks": multiset(("task", "route", "status")),
    "transitions": words,
    "engine_commands": words,
    "actions": actions,
    "errors": plain_set(("kind", "task", "transition_to")),
    "left_open": words,
    "inspection": plain_set(("category", "kind", "spec_path", "variable")),
}


def checkpoints(entries: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: (entry.get("status"), sorted(entry.get("running") or ()), sorted(entry.get("waiting") or ()))
        for name, entry in entries.items()
    }


def readable(counted: Counter[Any]) -> list[str]:
    return sorted(
        (" ".join(f"{key}={thawed(value)}" for key, value in entry) if isinstance(entry, tuple) else entry)
        + (f" (x{times})" if times > 1 else "")
        for entry, times in counted.items()
    )


def thawed(value: Any) -> str:
    return json.dumps(melt(value), ensure_ascii=False)


def melt(value: Any) -> Any:
    """The plain value behind a frozen one."""
    match value:
        case ("bool", flag):
            return flag
        case ("map", entries):
            return {key: melt(entry) for key, entry in sorted(entries, key=lambda pair: str(pair[0]))}
        case ("list", entries):
            return [melt(entry) for entry in entries]
        case _:
            return value
