"""YAQL's functions on texts and single values."""

from __future__ import annotations

import re
from typing import Any

from services.engine.expressions_errors import ExpressionError
from services.engine.expressions_filters import elements, join_texts
from services.engine.expressions_scalars import charge_split, the_text
from services.engine.expressions_scope import Scope
from services.engine.expressions_values import MAX_TEXT, bounded_text, dump_json, is_list, is_mapping, python_text

_PLACE = re.compile(r"\{\{|\}\}|\{(\w*)\}|[{}]")


def to_text(_scope: Scope, value: Any) -> str:
    """The value as text: `null`, `true` and `false` as YAQL writes them."""
    if value is None or isinstance(value, bool):
        return dump_json(value)
    return python_text(value)


def to_int(_scope: Scope, value: Any) -> int:
    """The value as a whole number; null is 0."""
    if value is None:
        return 0
    if isinstance(value, int | float | str):
        return int(value)
    raise ExpressionError(f"int: {value!r} is not a number")


def trim(scope: Scope, value: Any, chars: Any = None) -> str:
    """The text without the characters (white space) at both ends."""
    scope.charge(1)
    return the_text(value).strip(chars)


def trim_left(scope: Scope, value: Any, chars: Any = None) -> str:
    """The text without the characters at its start."""
    scope.charge(1)
    return the_text(value).lstrip(chars)


def trim_right(scope: Scope, value: Any, chars: Any = None) -> str:
    """The text without the characters at its end."""
    scope.charge(1)
    return the_text(value).rstrip(chars)


def split(scope: Scope, value: Any, separator: Any = None, max_splits: Any = -1) -> list[str]:
    """The parts between the separators."""
    charge_split(scope, the_text(value), separator)
    return the_text(value).split(separator, max_splits)


def right_split(scope: Scope, value: Any, separator: Any = None, max_splits: Any = -1) -> list[str]:
    """The parts between the separators, counted from the right."""
    charge_split(scope, the_text(value), separator)
    return the_text(value).rsplit(separator, max_splits)


def join(scope: Scope, value: Any, other: Any) -> str:
    """`list.join(separator)` or `separator.join(list)`."""
    items, separator = (other, value) if isinstance(value, str) else (value, other)
    return join_texts(scope, elements(scope, items), the_text(separator), lambda item: to_text(scope, item))


def starts_with(_scope: Scope, value: Any, *prefixes: Any) -> bool:
    """Does the text begin with one of these?"""
    return the_text(value).startswith(tuple(map(the_text, prefixes)))


def ends_with(_scope: Scope, value: Any, *suffixes: Any) -> bool:
    """Does the text end with one of these?"""
    return the_text(value).endswith(tuple(map(the_text, suffixes)))


def substring(scope: Scope, value: Any, start: Any, length: Any = -1) -> str:
    """Part of a text; a negative start counts from the end, a negative length means to the end."""
    text = the_text(value)
    scope.charge(len(text) // 100)
    begin = start + len(text) if start < 0 else start
    return text[begin:] if length < 0 else text[begin : begin + length]


def last_index_of(scope: Scope, value: Any, part: Any) -> int:
    """Where the part begins for the last time, -1 when it does not."""
    scope.charge(len(the_text(value)) // 10)
    return the_text(value).rfind(the_text(part))


def write_format(scope: Scope, value: Any, *args: Any, **named: Any) -> str:
    """The text with `{0}`, `{}` and `{name}` filled in; no formats, no attributes."""
    source = the_text(value)
    size, count, parts, end = 0, 0, [], 0
    for match in _PLACE.finditer(source):
        parts += [source[end : match.start()], ""]
        end = match.end()
        if match[0] in {"{{", "}}"}:
            parts[-1] = match[0][0]
            continue
        parts[-1] = to_text(scope, _filling(match, count, args, named))
        count += 1
        size += len(parts[-1])
        if size > MAX_TEXT:
            raise ExpressionError(f"format: the text grows beyond {MAX_TEXT:,} characters")
    scope.charge((size + len(source)) // 10)
    return bounded_text("".join([*parts, source[end:]]))


def _filling(match: re.Match[str], count: int, args: tuple[Any, ...], named: dict[str, Any]) -> Any:
    name = match[1]
    if name is None:
        raise ExpressionError("format: only {0}, {} and {name} are available")
    if name in named:
        return named[name]
    index = count if name == "" else int(name) if name.isdecimal() else len(args)
    if index >= len(args):
        raise ExpressionError(f"format: nothing to put in {match[0]}")
    return args[index]


def is_text(_scope: Scope, value: Any) -> bool:
    """Is it text?"""
    return isinstance(value, str)


def is_integer(_scope: Scope, value: Any) -> bool:
    """Is it a whole number?"""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(_scope: Scope, value: Any) -> bool:
    """Is it a number?"""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_boolean(_scope: Scope, value: Any) -> bool:
    """Is it true or false?"""
    return isinstance(value, bool)


def is_a_list(_scope: Scope, value: Any) -> bool:
    """Is it a list?"""
    return is_list(value)


def is_a_dict(_scope: Scope, value: Any) -> bool:
    """Is it an object?"""
    return is_mapping(value)
