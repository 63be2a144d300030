"""What may be written into the journal: `to_journal` makes any value storable on both databases, or says why not. Pure."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import math
import re
import uuid
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

import orjson

MAX_DEPTH = 60
STORABLE = 1 << 63
UNSTORABLE_TEXT = re.compile("[\x00\ud800-\udfff]")


class Unstorable(Exception):
    """The value cannot be kept: it is nested too deep, refers to itself or is too large."""

    def __init__(self, message: str, *, too_large: bool = False) -> None:
        super().__init__(message)
        self.too_large = too_large


def to_journal(value: Any, *, max_bytes: int) -> Any:
    """The value as JSON data both databases keep, unchanged where it is that already; raises Unstorable.

    NUL and lone surrogates become U+FFFD, integers beyond 64 bit text, NaN and infinities null,
    keys text, and objects of the host their text.
    """
    try:
        text = orjson.dumps(value)
        clean = b"\\u0000" not in text and not _has_foreign(value)
    except (TypeError, ValueError, RecursionError):
        clean = False
    if not clean:
        value = _clean(value, MAX_DEPTH)
        text = orjson.dumps(value)
    if len(text) > max_bytes:
        raise Unstorable(
            f"the result takes {len(text):,} bytes, more than {max_bytes:,} (MAX_RESULT_BYTES)", too_large=True
        )
    return value


SIMPLE = frozenset({str, int, bool, type(None)})


def _has_foreign(value: Any) -> bool:
    """Whether there is anything in the value that orjson writes but that would not come back the same."""
    todo = [value]
    while todo:
        item = todo.pop()
        kind = type(item)
        if kind in SIMPLE:
            if kind is int and not -STORABLE <= item < STORABLE:
                return True
        elif kind is float:
            if not math.isfinite(item):
                return True
        elif kind is list:
            todo.extend(item)
        elif kind is dict:
            todo.extend(item.values())
        else:
            return True
    return False


def _clean(value: Any, depth: int) -> Any:
    if depth < 0:
        raise Unstorable(f"the result is nested deeper than {MAX_DEPTH} levels, or contains itself")
    if isinstance(value, str | bool | int | float | None):
        return _scalar(value)
    if isinstance(value, Mapping):
        return {_text(key): _clean(item, depth - 1) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean(item, depth - 1) for item in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _clean(getattr(value, f.name), depth - 1) for f in dataclasses.fields(value)}
    return _host(value)


def _scalar(value: Any) -> Any:
    if isinstance(value, enum.Enum):
        return _scalar(value.value)
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return int(value) if -STORABLE <= value < STORABLE else str(value)
    return float(value) if math.isfinite(value) else None


def _host(value: Any) -> Any:
    if isinstance(value, bytes | bytearray | memoryview):
        return _text(bytes(value).decode("utf-8", "replace"))
    if isinstance(value, dt.datetime | dt.date | dt.time):
        return value.isoformat()
    if isinstance(value, decimal.Decimal):
        return str(value)
    if isinstance(value, uuid.UUID | PurePath):
        return str(value)
    if isinstance(value, enum.Enum):
        return _clean(value.value, 1)
    return _text(repr(value))


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else str(value)
    return UNSTORABLE_TEXT.sub("\ufffd", str.__str__(text))
