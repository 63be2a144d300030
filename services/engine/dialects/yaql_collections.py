"""YAQL's operations on lists and objects. None changes its data: all give new values, and count their steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from services.engine import expressions_operators as op
from services.engine.expressions_errors import ExpressionError, UndefinedName
from services.engine.expressions_filters import FILTERS, distinct, elements, identity, ordered, sort_key, the_object
from services.engine.expressions_scope import Scope
from services.engine.expressions_values import is_list, is_mapping, kind_of

Each = Callable[[Any], Any]


def add(scope: Scope, a: Any, b: Any) -> Any:
    """Sum; texts, lists and objects are put together."""
    if is_mapping(a) and is_mapping(b):
        scope.charge(len(a) + len(b))
        return {**a, **b}
    return op.add(scope, a, b)


def divide(scope: Scope, a: Any, b: Any) -> Any:
    """Quotient; of two whole numbers a whole number."""
    whole = isinstance(a, int) and isinstance(b, int)
    return op.divide_whole(scope, a, b) if whole else op.divide(scope, a, b)


def less(scope: Scope, a: Any, b: Any) -> bool:
    """Order, with null below everything."""
    if a is None or b is None:
        return a is None and b is not None
    return bool(op.less(scope, a, b))


def greater(scope: Scope, a: Any, b: Any) -> bool:
    """Order, with null below everything."""
    return less(scope, b, a)


def less_equal(scope: Scope, a: Any, b: Any) -> bool:
    """Order or equality."""
    return (a is None and b is None) or not less(scope, b, a)


def greater_equal(scope: Scope, a: Any, b: Any) -> bool:
    """Order or equality."""
    return less_equal(scope, b, a)


def where(scope: Scope, items: Any, keep: Each) -> list[Any]:
    """The elements for which the condition holds."""
    return [item for item in elements(scope, items) if keep(item)]


def select(scope: Scope, items: Any, of: Each) -> list[Any]:
    """Something of each element."""
    return [of(item) for item in elements(scope, items)]


def select_many(scope: Scope, items: Any, of: Each) -> list[Any]:
    """The lists that each element gives, put together."""
    many: list[Any] = []
    for item in elements(scope, items):
        found = of(item)
        many += elements(scope, found) if is_list(found) else [found]
    return many


def order_by(scope: Scope, items: Any, by: Each) -> list[Any]:
    """The elements in ascending order."""
    key = sort_key(scope, None, True)
    return ordered(scope, elements(scope, items), lambda item: key(by(item)))


def order_by_descending(scope: Scope, items: Any, by: Each) -> list[Any]:
    """The elements in descending order."""
    key = sort_key(scope, None, True)
    return ordered(scope, elements(scope, items), lambda item: key(by(item)), True)


def any_of(scope: Scope, items: Any, holds: Each = bool) -> bool:
    """Is there an element for which it holds (without a condition: is there one)?"""
    found = elements(scope, items)
    return bool(found) if holds is bool else any(holds(item) for item in found)


def all_of(scope: Scope, items: Any, holds: Each = bool) -> bool:
    """Does it hold for every element?"""
    return all(holds(item) for item in elements(scope, items))


def distinct_by(scope: Scope, items: Any, by: Each = lambda item: item) -> list[Any]:
    """The first of each group of equals."""
    return distinct(scope, elements(scope, items), by)


def to_dict(scope: Scope, items: Any, key: Each, value: Each = lambda item: item) -> dict[str, Any]:
    """An object with a key and a value for each element."""
    return {_key(key(item)): value(item) for item in elements(scope, items)}


def group_by(scope: Scope, items: Any, key: Each, value: Each = lambda item: item) -> list[Any]:
    """Pairs of a key and the values that have it."""
    groups: dict[Any, list[Any]] = {}
    for item in elements(scope, items):
        found = key(item)
        groups.setdefault(identity(scope, found), [found, []])[1].append(value(item))
    return list(groups.values())


def take_while(scope: Scope, items: Any, holds: Each) -> list[Any]:
    """The elements before the first for which it does not hold."""
    found = elements(scope, items)
    return found[: _first_not(found, holds)]


def skip_while(scope: Scope, items: Any, holds: Each) -> list[Any]:
    """The elements from the first for which it does not hold."""
    found = elements(scope, items)
    return found[_first_not(found, holds) :]


def _first_not(items: list[Any], holds: Each) -> int:
    return next((index for index, item in enumerate(items) if not holds(item)), len(items))


def index_where(scope: Scope, items: Any, holds: Each) -> int:
    """The index of the first element for which it holds, else -1."""
    return next((index for index, item in enumerate(elements(scope, items)) if holds(item)), -1)


def contains_key(_scope: Scope, value: Any, key: Any) -> bool:
    """Has the object that key?"""
    return key in the_object(value)


def contains_value(scope: Scope, value: Any, item: Any) -> bool:
    """Has the object that value?"""
    return op.contained(scope, item, list(the_object(value).values()))


def set_key(scope: Scope, value: Any, key: Any, item: Any = None) -> dict[str, Any]:
    """The object with a key set, or with all keys of another object."""
    scope.charge(len(the_object(value)))
    return {**value, **key} if is_mapping(key) else {**value, _key(key): item}


def delete(scope: Scope, value: Any, *what: Any) -> Any:
    """An object without these keys; a list without the element at a position (and as many as the second number says)."""
    if is_mapping(value):
        scope.charge(len(value))
        return {key: item for key, item in value.items() if key not in what}
    found = elements(scope, value)
    start, count = (*what, 1)[:2]
    return found[:start] + (found[start + count :] if count >= 0 else [])


def delete_all(scope: Scope, value: Any, keys: Any) -> Any:
    """The object without the keys in the list."""
    return delete(scope, the_object(value), *elements(scope, keys))


def merge_with(scope: Scope, a: Any, b: Any) -> dict[str, Any]:
    """Two objects key by key, objects inside too; lists are put together."""
    scope.charge(len(the_object(a)) + len(the_object(b)))
    merged = dict(a)
    for key, item in b.items():
        merged[key] = _merged(scope, merged[key], item) if key in merged else item
    return merged


def _merged(scope: Scope, a: Any, b: Any) -> Any:
    if is_mapping(a) and is_mapping(b):
        return merge_with(scope, a, b)
    if is_list(a) and is_list(b):
        return distinct(scope, op.add(scope, a, b), lambda item: item)
    return b


def append(scope: Scope, items: Any, *more: Any) -> list[Any]:
    """The list and these elements."""
    return [*elements(scope, items), *more]


def insert(scope: Scope, items: Any, position: Any, item: Any) -> list[Any]:
    """The list with an element put in at the position."""
    found = elements(scope, items)
    found.insert(position, item)
    return found


def concat(scope: Scope, *values: Any) -> Any:
    """Texts or lists, one after the other."""
    together: Any = values[0] if values else []
    for value in values[1:]:
        together = op.add(scope, together, value)
    return together


def first(scope: Scope, items: Any, *default: Any) -> Any:
    """The first element, else the default; an error when there is neither."""
    found = elements(scope, items)
    return found[0] if found else _fallback(default)


def last(scope: Scope, items: Any, *default: Any) -> Any:
    """The last element, else the default; an error when there is neither."""
    found = elements(scope, items)
    return found[-1] if found else _fallback(default)


def single(scope: Scope, items: Any) -> Any:
    """The only element; an error when there are none or more."""
    found = elements(scope, items)
    if len(found) != 1:
        raise ExpressionError(f"single: the list has {len(found)} elements")
    return found[0]


def _fallback(default: tuple[Any, ...]) -> Any:
    if not default:
        raise UndefinedName("an empty list has neither first nor last")
    return default[0]


def total(scope: Scope, items: Any, start: Any = None) -> Any:
    """The sum of the elements."""
    found = elements(scope, items)
    if start is None:
        return FILTERS["sum"](scope, found[1:], start=found[0]) if found else 0
    return FILTERS["sum"](scope, found, start=start)


def minimum(scope: Scope, items: Any, *start: Any) -> Any:
    """The smallest element."""
    return FILTERS["min"](scope, [*elements(scope, items), *start], True)


def maximum(scope: Scope, items: Any, *start: Any) -> Any:
    """The largest element."""
    return FILTERS["max"](scope, [*elements(scope, items), *start], True)


def smaller(scope: Scope, *values: Any) -> Any:
    """The smallest of the values, or of the one list."""
    return minimum(scope, values[0] if len(values) == 1 else list(values))


def larger(scope: Scope, *values: Any) -> Any:
    """The largest of the values, or of the one list."""
    return maximum(scope, values[0] if len(values) == 1 else list(values))


def skip(scope: Scope, items: Any, count: Any) -> list[Any]:
    """The elements after the first ones."""
    return elements(scope, items)[max(0, count) :]


def take(scope: Scope, items: Any, count: Any) -> list[Any]:
    """The first elements."""
    return elements(scope, items)[: max(0, count)]


def slices(scope: Scope, items: Any, size: Any) -> list[Any]:
    """The list cut into lists of that size."""
    found = elements(scope, items)
    if not isinstance(size, int) or size < 1:
        raise ExpressionError("slice: the size is at least 1")
    return [found[start : start + size] for start in range(0, len(found), size)]


def numbered(scope: Scope, items: Any, start: Any = 0) -> list[Any]:
    """Pairs of index and element."""
    return [[index, item] for index, item in enumerate(elements(scope, items), start)]


def index_of(scope: Scope, value: Any, item: Any) -> int:
    """Where the element or the part of a text is for the first time, else -1."""
    if isinstance(value, str) and isinstance(item, str):
        scope.charge(len(value) // 10)
        return value.find(item)
    return index_where(scope, value, lambda found: op.equal(scope, found, item))


def replace(scope: Scope, value: Any, old: Any, new: Any = None, count: Any = None) -> Any:
    """In a text: one part by another, or several by an object. In a list: the element at a position."""
    if is_list(value):
        found = elements(scope, value)
        return [*found[:old], new, *found[old + (1 if count is None else count) :]]
    if is_mapping(old):
        for part, by in old.items():
            value = FILTERS["replace"](scope, value, part, by)
        return value
    return FILTERS["replace"](scope, value, old, new, None if count is None or count < 0 else count)


def from_pairs(scope: Scope, pairs: Any) -> dict[str, Any]:
    """An object from a list of pairs, or a copy of an object."""
    if is_mapping(pairs):
        scope.charge(len(pairs))
        return dict(pairs)
    built: dict[str, Any] = {}
    for pair in elements(scope, pairs):
        key, value = elements(scope, pair)
        built[_key(key)] = value
    return built


def _key(key: Any) -> str:
    if not isinstance(key, str):
        raise ExpressionError(f"the key of an object is text, not {kind_of(key)}")
    return key
