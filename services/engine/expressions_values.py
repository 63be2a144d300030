"""Values that expressions work on: JSON and nothing else, with a bound for every way to grow."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import orjson

from services.engine.expressions_errors import ExpressionError

TextStyle = Literal["json", "python"]

MAX_DEPTH = 50
MAX_VALUE_BYTES = 8 * 1024 * 1024
MAX_TEXT = 4 * 1024 * 1024
MAX_INTEGER_BITS = 4096

_STORABLE = 1 << 63
_SCALARS = frozenset({str, int, float, bool, type(None)})


def text_function(style: TextStyle) -> Callable[[Any], str]:
    """How a value becomes part of a text: `json` (null is empty, objects as JSON) or `python` (`str`)."""
    return python_text if style == "python" else json_text


def json_text(value: Any) -> str:
    """A value inside a text: null is empty, booleans and objects as JSON."""
    if type(value) is str:
        return value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return bounded_text(str(value))
    return dump_json(value)


def python_text(value: Any) -> str:
    """A value inside a text as Python's `str` writes it: `None`, `True`, `[1, 'x']`."""
    return value if type(value) is str else bounded_text(str(plain(value)))


def dump_json(value: Any) -> str:
    """A value as JSON text."""
    try:
        return bounded_text(orjson.dumps(plain(value)).decode())
    except TypeError as error:
        raise ExpressionError(f"the value cannot be written as JSON: {error}") from error


def bounded_text(text: str) -> str:
    """The text, unless it is longer than any text may be."""
    if len(text) > MAX_TEXT:
        raise ExpressionError(f"the text grows beyond {MAX_TEXT:,} characters")
    return text


def is_mapping(value: Any) -> bool:
    """An object, be it a dict or a lazily filled view of the execution."""
    return type(value) is dict or isinstance(value, Mapping)


def is_list(value: Any) -> bool:
    """A list of values; text is none."""
    return type(value) is list or (isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray))


def kind_of(value: Any) -> str:
    """What to call the value in a message."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "text"
    if is_mapping(value):
        return "an object"
    return "a list" if is_list(value) else type(value).__name__


def scalar(value: Any) -> Any:
    """A scalar that both databases can keep."""
    if isinstance(value, str):
        return bounded_text(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise ExpressionError(f"the result {value} is not a JSON number")
    if isinstance(value, int) and not -_STORABLE <= value < _STORABLE:
        raise ExpressionError("the result is an integer beyond 64 bit")
    return value


def plain(value: Any) -> Any:
    """The value as plain JSON data, at most `MAX_DEPTH` deep and `MAX_VALUE_BYTES` large (shared parts count each time)."""
    if type(value) in _SCALARS:
        return scalar(value)
    return _Copy().copy(value, 1)


class _Copy:
    """Copies a value while counting what it would take to write it down; an element counts 16 bytes and its text."""

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = MAX_VALUE_BYTES

    def copy(self, value: Any, depth: int) -> Any:
        if type(value) in _SCALARS:
            if type(value) is str:
                self._take(len(value))
            return scalar(value)
        if depth > MAX_DEPTH:
            raise ExpressionError(f"the value is nested deeper than {MAX_DEPTH} levels")
        deeper = depth + 1
        if is_mapping(value):
            self._take(16 * len(value) + 16 + sum(map(len, map(_key, value))))
            return {key: item if _is_small(item) else self.copy(item, deeper) for key, item in value.items()}
        if is_list(value):
            self._take(16 * len(value) + 16)
            return [item if _is_small(item) else self.copy(item, deeper) for item in value]
        raise ExpressionError(f"{type(value).__name__} is not a JSON value")

    def _take(self, size: int) -> None:
        self.left -= size
        if self.left < 0:
            raise ExpressionError(f"the value grows beyond {MAX_VALUE_BYTES:,} bytes")


def _is_small(value: Any) -> bool:
    """A value that needs no look: the flat price of its place covers it."""
    kind = type(value)
    return (kind is str and len(value) < 16) or kind is bool or (kind is int and -_STORABLE <= value < _STORABLE)


def _key(key: Any) -> str:
    if type(key) is not str and not isinstance(key, str):
        raise ExpressionError(f"the key {key!r} of an object is not text")
    return key
