"""Operators of the expression language, none of which can be made to grow or run without bound."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

from services.engine.expressions_errors import ExpressionError
from services.engine.expressions_scope import Scope
from services.engine.expressions_values import (
    MAX_INTEGER_BITS,
    bounded_text,
    is_list,
    is_mapping,
    kind_of,
)

Operation = Callable[..., Any]


def numbers(a: Any, b: Any, symbol: str) -> None:
    """Refuse anything but numbers."""
    if not (isinstance(a, int | float) and isinstance(b, int | float)):
        raise ExpressionError(f"{symbol} needs two numbers, not {kind_of(a)} and {kind_of(b)}")


def add(scope: Scope, a: Any, b: Any) -> Any:
    """Sum of numbers; text with text and list with list are put together."""
    if isinstance(a, str) and isinstance(b, str):
        scope.charge((len(a) + len(b)) // 100)
        return bounded_text(a + b)
    if is_list(a) and is_list(b):
        scope.charge(len(a) + len(b))
        return [*a, *b]
    numbers(a, b, "+")
    return _bounded(a + b)


def subtract(_scope: Scope, a: Any, b: Any) -> Any:
    """Difference of two numbers."""
    numbers(a, b, "-")
    return _bounded(a - b)


def multiply(_scope: Scope, a: Any, b: Any) -> Any:
    """Product of two numbers; text and lists are never repeated."""
    numbers(a, b, "*")
    return _bounded(a * b)


def divide(_scope: Scope, a: Any, b: Any) -> Any:
    """Quotient with a fraction."""
    numbers(a, b, "/")
    return _divided(operator.truediv, a, b)


def divide_whole(_scope: Scope, a: Any, b: Any) -> Any:
    """Quotient without the fraction."""
    numbers(a, b, "//")
    return _divided(operator.floordiv, a, b)


def modulo(_scope: Scope, a: Any, b: Any) -> Any:
    """Rest of a division; text is never formatted."""
    numbers(a, b, "%")
    return _divided(operator.mod, a, b)


def power(_scope: Scope, a: Any, b: Any) -> Any:
    """A number raised to an exponent of at most 64."""
    numbers(a, b, "**")
    if abs(b) > 64 or abs(a) > 1e9:
        raise ExpressionError("the exponent or the base is too large")
    result = _divided(operator.pow, a, b)
    if isinstance(result, complex):
        raise ExpressionError("a negative number has no such root")
    return result


def negative(_scope: Scope, a: Any) -> Any:
    """The number with its sign changed."""
    numbers(a, a, "-")
    return -a


def positive(_scope: Scope, a: Any) -> Any:
    """The number itself."""
    numbers(a, a, "+")
    return +a


def equal(scope: Scope, a: Any, b: Any) -> bool:
    """Deep equality."""
    return _equal(scope, a, b, 0)


def different(scope: Scope, a: Any, b: Any) -> bool:
    """Deep inequality."""
    return not _equal(scope, a, b, 0)


def _order(symbol: str, compare: Callable[[Any, Any], bool]) -> Operation:
    def ordered(_scope: Scope, a: Any, b: Any) -> bool:
        if isinstance(a, str) and isinstance(b, str):
            return compare(a, b)
        numbers(a, b, symbol)
        return compare(a, b)

    return ordered


less = _order("<", operator.lt)
less_equal = _order("<=", operator.le)
greater = _order(">", operator.gt)
greater_equal = _order(">=", operator.ge)


def contained(scope: Scope, item: Any, container: Any) -> bool:
    """Is the item a part of the text, an element of the list, a key of the object?"""
    if isinstance(container, str):
        if not isinstance(item, str):
            raise ExpressionError(f"in: {kind_of(item)} cannot be part of a text")
        scope.charge(len(container) // 100)
        return item in container
    if is_mapping(container):
        return isinstance(item, str) and item in container
    if not is_list(container):
        raise ExpressionError(f"in: nothing can be in {kind_of(container)}")
    scope.charge(len(container))
    return any(_equal(scope, item, element, 0) for element in container)


def not_contained(scope: Scope, item: Any, container: Any) -> bool:
    """The opposite of `in`."""
    return not contained(scope, item, container)


def negated(_scope: Scope, value: Any) -> bool:
    """The opposite truth."""
    return not value


BINARY: Mapping[str, Operation] = {
    "+": add,
    "-": subtract,
    "*": multiply,
    "/": divide,
    "//": divide_whole,
    "%": modulo,
    "**": power,
}

COMPARE: Mapping[str, Operation] = {
    "eq": equal,
    "ne": different,
    "lt": less,
    "lteq": less_equal,
    "gt": greater,
    "gteq": greater_equal,
    "in": contained,
    "notin": not_contained,
}


def _bounded(value: Any) -> Any:
    if isinstance(value, int) and value.bit_length() > MAX_INTEGER_BITS:
        raise ExpressionError("the integer is too large")
    return value


def _divided(compute: Callable[[Any, Any], Any], a: Any, b: Any) -> Any:
    try:
        return _bounded(compute(a, b))
    except ZeroDivisionError as error:
        raise ExpressionError("division by zero") from error
    except OverflowError as error:
        raise ExpressionError("the number is too large") from error


def _equal(scope: Scope, a: Any, b: Any, depth: int) -> bool:
    if is_mapping(a) and is_mapping(b):
        return len(a) == len(b) and _equal_objects(scope, a, b, depth)
    if is_list(a) and is_list(b):
        return len(a) == len(b) and _equal_lists(scope, a, b, depth)
    return bool(a == b)


def _equal_objects(scope: Scope, a: Mapping[str, Any], b: Mapping[str, Any], depth: int) -> bool:
    scope.charge(len(a))
    _guard(depth)
    return all(key in b and _equal(scope, item, b[key], depth + 1) for key, item in a.items())


def _equal_lists(scope: Scope, a: Any, b: Any, depth: int) -> bool:
    scope.charge(len(a))
    _guard(depth)
    return all(_equal(scope, x, y, depth + 1) for x, y in zip(a, b, strict=True))


def _guard(depth: int) -> None:
    if depth > 200:
        raise ExpressionError("the values are nested too deeply to be compared")
