"""The operators of node graphs, as the test `holds`: `x is holds('greater_than', 5)`. A rule that makes no sense is false."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from services.engine import expressions_operators as op
from services.engine.expressions_errors import ExpressionError
from services.engine.expressions_regex import regex_search
from services.engine.expressions_scope import Scope
from services.engine.expressions_values import is_list, is_mapping, python_text

Rule = Callable[[Scope, Any, Any], bool]


def holds(scope: Scope, value: Any, operator: Any, other: Any = None) -> bool:
    """Does the rule hold? An operator that does not fit the values gives false, an unknown operator is an error."""
    rule = OPERATORS.get(operator) if isinstance(operator, str) else None
    if rule is None:
        raise ExpressionError(f"there is no operator {operator!r}")
    try:
        return rule(scope, value, other)
    except ExpressionError:
        return False
    except (TypeError, ValueError, OverflowError):
        return False


def _number(compare: Callable[[Any, Any], bool]) -> Rule:
    return lambda _scope, value, other: compare(float(value), float(other))


def _contains(scope: Scope, value: Any, other: Any) -> bool:
    if is_list(value) or is_mapping(value):
        return op.contained(scope, other, value)
    return op.contained(scope, python_text(other), python_text(value))


def _in_list(scope: Scope, value: Any, other: Any) -> bool:
    return op.contained(scope, value, other if is_list(other) else [other])


def _matches(scope: Scope, value: Any, other: Any) -> bool:
    return regex_search(scope, python_text(value), python_text(other))


def _empty(_scope: Scope, value: Any, _other: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip()) or (not isinstance(value, int) and not value)


def _not(rule: Rule) -> Rule:
    return lambda scope, value, other: not rule(scope, value, other)


OPERATORS: Mapping[str, Rule] = {
    "equals": op.equal,
    "not_equals": op.different,
    "greater_than": _number(lambda a, b: a > b),
    "less_than": _number(lambda a, b: a < b),
    "greater_equal": _number(lambda a, b: a >= b),
    "less_equal": _number(lambda a, b: a <= b),
    "contains": _contains,
    "not_contains": _not(_contains),
    "starts_with": lambda _scope, value, other: python_text(value).startswith(python_text(other)),
    "ends_with": lambda _scope, value, other: python_text(value).endswith(python_text(other)),
    "matches_regex": _matches,
    "in_list": _in_list,
    "not_in_list": _not(_in_list),
    "is_empty": _empty,
    "is_not_empty": _not(_empty),
}
