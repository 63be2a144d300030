"""The built-in actions that need nothing but their input. Each takes a Call and returns its output."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from models.records import ErrorType
from services.actions.outcome import ActionFailed, Call

Builtin = Callable[[Call], Any]


def noop(_call: Call) -> None:
    """Do nothing."""


def echo(call: Call) -> Any:
    """Give the message back; `stdout` is there for definitions written for other engines."""
    message = _fields(call).get("message")
    return {"message": message, "stdout": message if isinstance(message, str) else None}


def log(call: Call) -> dict[str, Any]:
    """Write a line into the node's log."""
    fields = _fields(call)
    message = fields.get("message")
    text = message if isinstance(message, str) else str(message)
    call.log(text, str(fields.get("level", "info")))
    return {"message": message}


def put(call: Call) -> dict[str, Any]:
    """Give the whole input back as the result, to be published."""
    return dict(_fields(call))


def fail(call: Call) -> Any:
    """Fail with the given message."""
    fields = _fields(call)
    raise ActionFailed(str(fields.get("message", "failed by core.fail")), details=fields.get("details"))


def transform(call: Call) -> Any:
    """Shape a value: `value` alone is passed on; `fields` picks and renames from an object or from each of a list."""
    given = _fields(call)
    value, fields = given.get("value"), given.get("fields")
    if fields is None:
        return value
    if isinstance(value, list):
        return [_shaped(item, fields) for item in value]
    return _shaped(value, fields)


def _shaped(value: Any, fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _at(value, path) for name, path in fields.items()}


def _at(value: Any, path: Any) -> Any:
    for part in str(path).split("."):
        if isinstance(value, Mapping):
            value = value.get(part)
        elif isinstance(value, list) and part.lstrip("-").isdigit() and -len(value) <= int(part) < len(value):
            value = value[int(part)]
        else:
            return None
    return value


def select(call: Call) -> list[Any]:
    """Keep the items for which every rule `{field, operator, value}` (or any, with `match: any`) holds."""
    given = _fields(call)
    items, rules = given.get("items"), given.get("where") or []
    if not isinstance(items, list) or not isinstance(rules, list):
        raise ActionFailed("'items' and 'where' must be lists", kind=ErrorType.VALIDATION)
    combine = any if given.get("match") == "any" else all
    return [item for item in items if combine(_holds(item, rule) for rule in rules)]


def _holds(item: Any, rule: Mapping[str, Any]) -> bool:
    operator = OPERATORS.get(str(rule.get("operator", "equals")))
    if operator is None:
        known = ", ".join(OPERATORS)
        raise ActionFailed(f"unknown operator '{rule.get('operator')}': use {known}", kind=ErrorType.VALIDATION)
    field = rule.get("field")
    left = item if field in (None, "") else _at(item, field)
    return bool(operator(left, rule.get("value")))


def _ordered(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def holds(left: Any, right: Any) -> bool:
        numbers = isinstance(left, int | float) and isinstance(right, int | float)
        return (numbers or (isinstance(left, str) and isinstance(right, str))) and compare(left, right)

    return holds


def _contains(left: Any, right: Any) -> bool:
    if isinstance(left, str):
        return isinstance(right, str) and right in left
    return isinstance(left, list | dict) and right in left


SAFE_PATTERN = re.compile(r"^[^()|]{1,200}$")  # no groups and no alternatives: no exponential backtracking


def _matches(left: Any, right: Any) -> bool:
    if not isinstance(left, str) or not isinstance(right, str):
        return False
    if not SAFE_PATTERN.match(right) or len(re.findall(r"[*+{]", right)) > 2:
        raise ActionFailed(f"the pattern '{right}' is not bounded in time", kind=ErrorType.VALIDATION)
    return re.search(right, left[:10_000]) is not None


def _is_empty(left: Any, _right: Any) -> bool:
    return left is None or (isinstance(left, str | list | dict) and not left)


OPERATORS: Mapping[str, Callable[[Any, Any], bool]] = {
    "equals": lambda left, right: left == right,
    "not_equals": lambda left, right: left != right,
    "greater_than": _ordered(lambda left, right: left > right),
    "less_than": _ordered(lambda left, right: left < right),
    "greater_equal": _ordered(lambda left, right: left >= right),
    "less_equal": _ordered(lambda left, right: left <= right),
    "contains": _contains,
    "not_contains": lambda left, right: not _contains(left, right),
    "matches_regex": _matches,
    "in_list": lambda left, right: isinstance(right, list) and left in right,
    "not_in_list": lambda left, right: isinstance(right, list) and left not in right,
    "is_empty": _is_empty,
    "is_not_empty": lambda left, right: not _is_empty(left, right),
}


def _fields(call: Call) -> Mapping[str, Any]:
    return call.input if isinstance(call.input, Mapping) else {}


BUILTINS: Mapping[str, Builtin] = {
    "noop": noop,
    "echo": echo,
    "log": log,
    "set": put,
    "fail": fail,
    "transform": transform,
    "filter": select,
}
