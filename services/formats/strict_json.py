"""JSON as we accept it: what two readers could understand differently, or a database cannot keep, is refused.

Duplicate keys, NaN, lone surrogates, NUL, integers beyond 2^53, too deep, too many keys: each with its place.
The common case costs one orjson parse, one scan of the structure and one walk; only a suspicious document is read
again, slowly, to find out where it is wrong.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import orjson

from services.errors import BadRequest

MAX_DEPTH = 64
MAX_KEYS = 2_000
MAX_INTEGER = 2**53
TOO_LARGE = "integers beyond 2^53 cannot be kept exactly; send a string"
MAX_PROBLEMS = 200
"""How many problems of one document are told; a hostile one could have a million."""
_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_LONG_NUMBER = re.compile(rb"\d{16}")
_SURROGATE = re.compile("[\ud800-\udfff]")
_BRACKETS = re.compile(rb"[\[\]{}]")
Path = tuple[str | int, ...]
Problem = dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Constant:
    """NaN or an infinity, where it stood."""

    text: str


class _Pairs(list[tuple[str, Any]]):
    """An object as it was written, duplicates included."""


def loads(raw: bytes, *, max_keys: int = MAX_KEYS) -> Any:
    """The value of a JSON document.

    Raises `BadRequest` with `details.errors`, all problems at once, each with its place.
    """
    structure = _STRINGS.sub(b'""', raw)
    _check_depth(structure)
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise _explain(raw, max_keys, error) from None
    if _suspicious(raw, structure, value, max_keys):
        problems = list(islice(_slow_problems(raw, max_keys), MAX_PROBLEMS))
        if problems:
            raise _refusal(problems)
    return value


def _check_depth(structure: bytes) -> None:
    if structure.count(b"[") + structure.count(b"{") <= MAX_DEPTH:
        return
    depth = 0
    for bracket in _BRACKETS.finditer(structure):
        depth += 1 if bracket[0] in b"[{" else -1
        if depth > MAX_DEPTH:
            raise _refusal([_problem((), f"more than {MAX_DEPTH} levels of nesting", "too_deep")])


def _suspicious(raw: bytes, structure: bytes, value: Any, max_keys: int) -> bool:
    if b"\\u0000" in raw or _LONG_NUMBER.search(structure):
        return True
    keys = structure.count(b":")
    if not keys:
        return False
    return keys > max_keys or keys != _count_keys(value)


def _count_keys(value: Any) -> int:
    """The number of keys in a value, which falls short of the colons written when a key was written twice."""
    found = 0
    stack = [value]
    while stack:
        item = stack.pop()
        if type(item) is dict:
            found += len(item)
            stack.extend(item.values())
        elif type(item) is list:
            stack.extend(item)
    return found


# ---- the slow reading, only to say what is wrong ------------------------------------------------------------------


def _explain(raw: bytes, max_keys: int, error: orjson.JSONDecodeError) -> BadRequest:
    problems = list(islice(_slow_problems(raw, max_keys), MAX_PROBLEMS))
    if problems:
        return _refusal(problems)
    message = f"not valid JSON: {error.msg.split(': line')[0]} at line {error.lineno} column {error.colno}"
    return BadRequest(message, errors=[_problem((), message, "json_invalid")])


def _slow_problems(raw: bytes, max_keys: int) -> Iterator[Problem]:
    try:
        tree = json.loads(raw.decode("utf-8"), object_pairs_hook=_Pairs, parse_constant=_Constant)
    except (ValueError, RecursionError):
        return
    stack: list[tuple[Path, Any]] = [((), tree)]
    while stack:
        path, item = stack.pop()
        yield from _problems_of(path, item, max_keys)
        if isinstance(item, _Pairs):
            stack.extend(((*path, key), value) for key, value in reversed(item))
        elif isinstance(item, list):
            stack.extend(((*path, index), value) for index, value in reversed(list(enumerate(item))))


def _problems_of(path: Path, item: Any, max_keys: int) -> Iterator[Problem]:
    if isinstance(item, _Pairs):
        yield from _object_problems(path, item, max_keys)
    elif isinstance(item, str):
        yield from text_problems(path, item)
    elif isinstance(item, _Constant):
        yield _problem(path, f"{item.text} is not a JSON value", "not_finite")
    elif isinstance(item, int) and abs(item) > MAX_INTEGER:
        yield _problem(path, TOO_LARGE, "integer_too_large")
    elif isinstance(item, float) and item in (float("inf"), float("-inf")):
        yield _problem(path, "the number is too large", "number_too_large")


def _object_problems(path: Path, pairs: _Pairs, max_keys: int) -> Iterator[Problem]:
    if len(pairs) > max_keys:
        yield _problem(path, f"more than {max_keys} keys on one level", "too_many_keys")
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            yield _problem((*path, key), f"the key {key!r} appears twice", "duplicate_key")
        seen.add(key)
        yield from text_problems((*path, key), key)


def text_problems(path: Path, text: str) -> Iterator[Problem]:
    """What no database of ours could keep of a text."""
    if "\x00" in text:
        yield _problem(path, "the character NUL cannot be kept", "nul_character")
    if _SURROGATE.search(text):
        yield _problem(path, "a lone surrogate is not a character", "lone_surrogate")


def _problem(path: Path, message: str, kind: str) -> Problem:
    place = [part.encode("utf-8", "replace").decode() if isinstance(part, str) else part for part in path]
    return {"loc": ["body", *place], "message": message.encode("utf-8", "replace").decode(), "type": kind}


def _refusal(problems: list[Problem]) -> BadRequest:
    first = problems[0]
    place = ".".join(str(part) for part in first["loc"])
    return BadRequest(f"{place}: {first['message']}", errors=problems)
