"""Filters and methods on texts and numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from services.engine.expressions_errors import ExpressionError
from services.engine.expressions_operators import numbers
from services.engine.expressions_scope import Scope
from services.engine.expressions_values import MAX_TEXT, is_list, is_mapping, json_text, kind_of

Filter = Callable[..., Any]


def the_text(value: Any) -> str:
    """The value as text; objects and lists are refused."""
    if type(value) is str:
        return value
    if is_list(value) or is_mapping(value):
        raise ExpressionError(f"{kind_of(value)} is not text")
    return json_text(value)


def _method(name: str) -> Filter:
    apply = getattr(str, name)

    def method(scope: Scope, value: Any, *args: Any) -> Any:
        text = the_text(value)
        scope.charge(len(text) // 10)
        if not all(arg is None or isinstance(arg, str | int) for arg in args):
            raise ExpressionError(f"{name}: texts or numbers are expected")
        return apply(text, *args)

    return method


def _replace(scope: Scope, value: Any, old: Any, new: Any, count: Any = None) -> str:
    text, before, after = the_text(value), the_text(old), the_text(new)
    found = text.count(before) if count is None else min(text.count(before), int(count))
    size = len(text) + found * (len(after) - len(before))
    if size > MAX_TEXT:
        raise ExpressionError(f"replace: the text grows beyond {MAX_TEXT:,} characters")
    scope.charge((len(text) + size) // 10)
    return text.replace(before, after, found)


def _split(scope: Scope, value: Any, separator: Any = None, limit: Any = -1) -> list[str]:
    charge_split(scope, the_text(value), separator)
    return the_text(value).split(separator, limit)


def charge_split(scope: Scope, text: str, separator: Any) -> None:
    """Count the parts before they are made."""
    parts = text.count(separator) if isinstance(separator, str) else len(text) // 2
    scope.charge(1 + parts + len(text) // 100)


def _truncate(scope: Scope, value: Any, length: Any = 255, killwords: Any = False, end: Any = "...") -> str:
    text = the_text(value)
    scope.charge(len(text) // 100)
    if len(text) <= length:
        return text
    cut = text[: max(0, length - len(the_text(end)))]
    return (cut if killwords else cut.rsplit(" ", 1)[0]) + the_text(end)


def _starts(_scope: Scope, value: Any, prefix: Any) -> bool:
    return the_text(value).startswith(the_text(prefix))


def _ends(_scope: Scope, value: Any, suffix: Any) -> bool:
    return the_text(value).endswith(the_text(suffix))


def _int(_scope: Scope, value: Any, default: Any = 0, base: Any = 10) -> Any:
    try:
        return int(value, base) if isinstance(value, str) else int(value)
    except (TypeError, ValueError, OverflowError):
        return _int_of_float(value, default)


def _int_of_float(value: Any, default: Any) -> Any:
    try:
        return int(float(value))
    except (TypeError, ValueError, OverflowError):
        return default


def _float(_scope: Scope, value: Any, default: Any = 0.0) -> Any:
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return default


def _bool(_scope: Scope, value: Any) -> bool:
    if isinstance(value, str):
        return value.strip().lower() in {"true", "yes", "on", "1"}
    return bool(value)


def _abs(_scope: Scope, value: Any) -> Any:
    numbers(value, value, "abs")
    return abs(value)


def _round(_scope: Scope, value: Any, precision: Any = 0, method: Any = "common") -> Any:
    numbers(value, precision, "round")
    if abs(precision) > 30:
        raise ExpressionError("round: the precision is at most 30 digits")
    if method == "common":
        return round(value, int(precision))
    if method not in {"ceil", "floor"}:
        raise ExpressionError("round: the method is common, ceil or floor")
    scale = 10 ** int(precision)
    return (math.ceil if method == "ceil" else math.floor)(value * scale) / scale


SCALAR_FILTERS: Mapping[str, Filter] = {
    "upper": _method("upper"),
    "lower": _method("lower"),
    "capitalize": _method("capitalize"),
    "title": _method("title"),
    "trim": _method("strip"),
    "replace": _replace,
    "split": _split,
    "truncate": _truncate,
    "startswith": _starts,
    "endswith": _ends,
    "int": _int,
    "float": _float,
    "bool": _bool,
    "abs": _abs,
    "round": _round,
}

SCALAR_METHODS: Mapping[str, Filter] = {
    **{
        name: _method(name)
        for name in [
            "upper",
            "lower",
            "capitalize",
            "title",
            "strip",
            "lstrip",
            "rstrip",
            "find",
            "count",
            "isdigit",
            "isalpha",
            "removeprefix",
            "removesuffix",
        ]
    },
    "replace": _replace,
    "split": _split,
    "startswith": _starts,
    "endswith": _ends,
}
