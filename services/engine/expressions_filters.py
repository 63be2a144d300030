"""Filters, tests and methods that are evaluated in process. Each is linear in its data (or n log n) and counts it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import orjson

from services.engine import expressions_operators as op
from services.engine.expressions_errors import ExpressionError
from services.engine.expressions_predicates import TESTS
from services.engine.expressions_regex import regex_findall, regex_match, regex_replace, regex_search
from services.engine.expressions_scalars import SCALAR_FILTERS, SCALAR_METHODS, the_text
from services.engine.expressions_scope import Scope
from services.engine.expressions_stackstorm import STACKSTORM_FILTERS
from services.engine.expressions_values import (
    MAX_TEXT,
    dump_json,
    is_list,
    is_mapping,
    json_text,
    kind_of,
    plain,
)

Filter = Callable[..., Any]

MAX_RANGE = 10_000


def elements(scope: Scope, value: Any) -> list[Any]:
    """The elements of a list, the keys of an object, the characters of a text."""
    if is_list(value) or is_mapping(value) or isinstance(value, str):
        scope.charge(len(value))
        return list(value)
    raise ExpressionError(f"{kind_of(value)} has no elements")


def reach(scope: Scope, value: Any, attribute: Any) -> Any:
    """What `a.b.0` leads to inside the value."""
    if attribute is None:
        return value
    for key in str(attribute).split("."):
        scope.charge(1)
        value = _step(value, key)
    return value


def _step(value: Any, key: str) -> Any:
    if is_mapping(value) and key in value:
        return value[key]
    if is_list(value) and key.isdecimal() and int(key) < len(value):
        return value[int(key)]
    raise ExpressionError(f"{kind_of(value)} has no {key!r}")


def _length(_scope: Scope, value: Any) -> int:
    if isinstance(value, str) or is_list(value) or is_mapping(value):
        return len(value)
    raise ExpressionError(f"{kind_of(value)} has no length")


def _first(scope: Scope, value: Any) -> Any:
    return _edge(value, 0) if is_list(value) or isinstance(value, str) else _edge(elements(scope, value), 0)


def _last(scope: Scope, value: Any) -> Any:
    return _edge(value, -1) if is_list(value) or isinstance(value, str) else _edge(elements(scope, value), -1)


def _edge(value: Any, index: int) -> Any:
    if not value:
        raise ExpressionError("an empty list has neither first nor last")
    return value[index]


def _sum(scope: Scope, value: Any, attribute: Any = None, start: Any = 0) -> Any:
    total = start
    for item in elements(scope, value):
        total = op.add(scope, total, reach(scope, item, attribute))
    return total


def sort_key(scope: Scope, attribute: Any, case_sensitive: bool) -> Callable[[Any], Any]:
    """The key by which a list is sorted: numbers or texts, never both."""

    def key(item: Any) -> Any:
        found = reach(scope, item, attribute)
        if isinstance(found, str):
            return found if case_sensitive else found.lower()
        if not isinstance(found, int | float):
            raise ExpressionError(f"{kind_of(found)} cannot be sorted")
        return found

    return key


def ordered(scope: Scope, items: list[Any], key: Callable[[Any], Any], reverse: bool = False) -> list[Any]:
    """The items in the order of their keys."""
    scope.charge(len(items) * 4)
    try:
        return sorted(items, key=key, reverse=reverse)
    except TypeError as error:
        raise ExpressionError("text and numbers cannot be sorted together") from error


def _sort(scope: Scope, value: Any, reverse: Any = False, case_sensitive: Any = False, attribute: Any = None) -> Any:
    return ordered(scope, elements(scope, value), sort_key(scope, attribute, bool(case_sensitive)), bool(reverse))


def _min(scope: Scope, value: Any, case_sensitive: Any = False, attribute: Any = None) -> Any:
    return _edge(_sort(scope, value, False, case_sensitive, attribute), 0)


def _max(scope: Scope, value: Any, case_sensitive: Any = False, attribute: Any = None) -> Any:
    return _edge(_sort(scope, value, False, case_sensitive, attribute), -1)


def identity(scope: Scope, value: Any) -> Any:
    """Something hashable by which equal values are recognised."""
    if is_mapping(value) or is_list(value):
        text = orjson.dumps(plain(value), option=orjson.OPT_SORT_KEYS)
        scope.charge(5 + len(text) // 4)
        return text
    return (isinstance(value, bool), value)


def distinct(scope: Scope, items: list[Any], key: Callable[[Any], Any]) -> list[Any]:
    """The first of each group of equals."""
    seen: dict[Any, Any] = {}
    for item in items:
        seen.setdefault(identity(scope, key(item)), item)
    return list(seen.values())


def _unique(scope: Scope, value: Any, case_sensitive: Any = False, attribute: Any = None) -> list[Any]:
    def key(item: Any) -> Any:
        found = reach(scope, item, attribute)
        return found.lower() if isinstance(found, str) and not case_sensitive else found

    return distinct(scope, elements(scope, value), key)


def _reverse(scope: Scope, value: Any) -> Any:
    if isinstance(value, str):
        return value[::-1]
    return elements(scope, value)[::-1]


def the_object(value: Any) -> Mapping[str, Any]:
    """The value, which has to be an object."""
    if not is_mapping(value):
        raise ExpressionError(f"{kind_of(value)} is not an object")
    mapping: Mapping[str, Any] = value
    return mapping


def _keys(scope: Scope, value: Any) -> list[Any]:
    return elements(scope, the_object(value))


def _values(scope: Scope, value: Any) -> list[Any]:
    scope.charge(len(the_object(value)))
    return list(value.values())


def _items(scope: Scope, value: Any) -> list[Any]:
    scope.charge(len(the_object(value)))
    return [[key, item] for key, item in value.items()]


def _dictsort(scope: Scope, value: Any, case_sensitive: Any = False, by: Any = "key", reverse: Any = False) -> Any:
    position = 1 if by == "value" else 0
    return ordered(scope, _items(scope, value), sort_key(scope, position, bool(case_sensitive)), bool(reverse))


def _get(scope: Scope, value: Any, key: Any, default: Any = None) -> Any:
    scope.charge(1)
    return the_object(value).get(key, default) if isinstance(key, str) else default


def _json(scope: Scope, value: Any) -> str:
    text = dump_json(value)
    scope.charge(10 + len(text) // 4)
    return text


def _from_json(scope: Scope, value: Any) -> Any:
    text = the_text(value)
    scope.charge(1 + len(text) // 10)
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise ExpressionError(f"not JSON: {error}") from error


def _flatten(scope: Scope, value: Any, levels: Any = None) -> list[Any]:
    flat: list[Any] = []
    for item in elements(scope, value):
        if is_list(item) and levels != 0:
            flat += _flatten(scope, item, None if levels is None else levels - 1)
        else:
            flat.append(item)
    return flat


def _map(scope: Scope, value: Any, name: Any = None, *args: Any, **options: Any) -> list[Any]:
    items = elements(scope, value)
    if "attribute" in options:
        fallback = options.get("default", _map)
        return [_reach_or(scope, item, options["attribute"], fallback) for item in items]
    apply = _named(FILTERS, name, "filter")
    return [apply(scope, item, *args, **options) for item in items]


def _reach_or(scope: Scope, item: Any, attribute: Any, fallback: Any) -> Any:
    try:
        return reach(scope, item, attribute)
    except ExpressionError:
        if fallback is _map:
            raise
        return fallback


def _named(table: Mapping[str, Filter], name: Any, kind: str) -> Filter:
    found = table.get(name) if isinstance(name, str) else None
    if found is None:
        raise ExpressionError(f"there is no {kind} {name!r}")
    return found


def _truth(_scope: Scope, value: Any) -> bool:
    return bool(value)


def _chooser(by_attribute: bool, wanted: bool) -> Filter:
    def choose(scope: Scope, value: Any, *args: Any) -> list[Any]:
        attribute, args = (args[0], args[1:]) if by_attribute else (None, args)
        test = _named(TESTS, args[0], "test") if args else _truth
        return [
            item
            for item in elements(scope, value)
            if bool(test(scope, _reach_or(scope, item, attribute, None), *args[1:])) is wanted
        ]

    return choose


def make_range(scope: Scope, *bounds: Any) -> list[int]:
    """The integers from the first to before the second, at most 10,000 of them."""
    if not all(isinstance(bound, int) for bound in bounds) or not 1 <= len(bounds) <= 3 or bounds[2:] == (0,):
        raise ExpressionError("range takes one to three integers, the third not 0")
    numbers = range(*bounds)
    if numbers[MAX_RANGE : MAX_RANGE + 1]:
        raise ExpressionError(f"range gives at most {MAX_RANGE:,} numbers")
    scope.charge(len(numbers))
    return list(numbers)


def make_zip(scope: Scope, *lists: Any, pad: Any = None) -> list[list[Any]]:
    """The lists element by element, the shorter ones filled up with `pad`."""
    from itertools import zip_longest

    return [list(row) for row in zip_longest(*(elements(scope, items) for items in lists), fillvalue=pad)]


def joined(text_of: Callable[[Any], str]) -> Filter:
    """The filter `join`, for one way of writing values as text."""

    def join(scope: Scope, value: Any, separator: Any = "", attribute: Any = None) -> str:
        found = (reach(scope, item, attribute) for item in elements(scope, value))
        return join_texts(scope, found, the_text(separator), text_of)

    return join


def join_texts(scope: Scope, items: Iterable[Any], separator: str, text_of: Callable[[Any], str]) -> str:
    """The items as one text; ends as soon as it grows too long."""
    texts: list[str] = []
    size = 0
    for item in items:
        text = text_of(item)
        scope.charge(1 + len(text) // (100 if text is item else 4))
        size += len(text) + len(separator)
        if size > MAX_TEXT + len(separator):
            raise ExpressionError(f"join: the text grows beyond {MAX_TEXT:,} characters")
        texts.append(text)
    return separator.join(texts)


def texted(text_of: Callable[[Any], str]) -> Filter:
    """The filter `string`, for one way of writing values as text."""

    def string(scope: Scope, value: Any) -> str:
        text = text_of(value)
        scope.charge(1 + len(text) // (100 if value is text else 4))
        return text

    return string


FILTERS: Mapping[str, Filter] = {
    **SCALAR_FILTERS,
    **STACKSTORM_FILTERS,
    "length": _length,
    "count": _length,
    "len": _length,
    "first": _first,
    "last": _last,
    "list": elements,
    "sum": _sum,
    "min": _min,
    "max": _max,
    "sort": _sort,
    "unique": _unique,
    "reverse": _reverse,
    "keys": _keys,
    "values": _values,
    "items": _items,
    "dictsort": _dictsort,
    "get": _get,
    "tojson": _json,
    "to_json_string": _json,
    "json_dump": _json,
    "fromjson": _from_json,
    "from_json_string": _from_json,
    "json_parse": _from_json,
    "flatten": _flatten,
    "map": _map,
    "select": _chooser(by_attribute=False, wanted=True),
    "reject": _chooser(by_attribute=False, wanted=False),
    "selectattr": _chooser(by_attribute=True, wanted=True),
    "rejectattr": _chooser(by_attribute=True, wanted=False),
    "regex_search": regex_search,
    "regex_match": regex_match,
    "regex_replace": regex_replace,
    "regex_findall": regex_findall,
    "zip": make_zip,
    "str": texted(json_text),
    "string": texted(json_text),
    "join": joined(json_text),
}

METHODS: Mapping[str, Filter] = {
    **SCALAR_METHODS,
    "get": _get,
    "keys": _keys,
    "values": _values,
    "items": _items,
}

PURE_FUNCTIONS: Mapping[str, Filter] = {
    "json": _from_json,
    "zip": make_zip,
    "range": make_range,
    "from_json_string": _from_json,
    "to_json_string": _json,
}
