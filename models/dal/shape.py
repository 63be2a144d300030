"""A query tree is a shape and its values. The shape is the cache key; pyDAL writes SQL from the shape alone.

`shape(tree, values)` yields the hashable structure and appends the values in order. `lift(tree, counter)` walks the
same way and puts a numbered `Slot` where each value stood, so that pyDAL never sees data while it writes SQL.
Operators that neither walk knows are refused: that, not escaping, is why nothing can be injected.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, NoReturn

from pydal.helpers.classes import SQLALL
from pydal.objects import Expression, Field, Query, Select, Table

# second operand is one value (or an expression)
VALUE = frozenset(
    "eq ne lt lte gt gte like ilike startswith endswith contains add sub mul div mod belongs".split()  # noqa: SIM905
)
EACH = frozenset({"coalesce", "case", "row_lt", "row_gt"})  # second operand is a tuple of values
STRUCTURE = frozenset({"_and", "_or", "_not", "comma", "invert", "on", "count", "lower", "upper", "length", "random"})
NAMED = frozenset({"_as", "aggregate"})  # second operand is a name that is written into the text
NODES = (Expression, Query)
TREE = (Expression, Query, Select, Table, SQLALL)

VALUE_MARK = "?"


class Param:
    """A named argument while `db.compiled` traces a query; it has no value yet."""

    __slots__ = ("many", "name")

    def __init__(self, name: str, many: bool = False) -> None:
        self.name = name
        self.many = many

    def __iter__(self) -> Any:
        yield Param(self.name, True)  # field.belongs(param) sorts its argument

    def _no_value(self, *_: Any) -> NoReturn:
        raise TypeError("a traced argument has no value yet; use it only as an operand")

    __bool__ = __index__ = __int__ = __float__ = __str__ = __add__ = __sub__ = __len__ = _no_value
    __lt__ = __gt__ = __le__ = __ge__ = _no_value


class Slot:
    """Stands where a value stood; a dialect edits the value to come with `map`."""

    __slots__ = ("edits", "index")

    def __init__(self, index: Any, edits: tuple[Callable[[Any], Any], ...] = ()) -> None:
        self.index = index
        self.edits = edits

    def map(self, *edits: Callable[[Any], Any]) -> Slot:
        """The same value, edited once more when it is bound."""
        return Slot(self.index, self.edits + edits)


class Const:
    """A value that belongs to the shape itself."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


def shape(node: Any, values: list[Any]) -> Any:
    """The hashable structure of a pyDAL tree; its values are appended to `values` in order."""
    kind = type(node)
    if kind is Field:
        table = node._table
        return (table._tablename, table._dalname, node.name)
    if kind is Query or kind is Expression:
        return _operator_shape(node, values)
    if kind in _OTHER:
        return _OTHER[kind](node, values)
    if isinstance(node, TREE):
        return _other_shape(node, values)
    values.append(_param_of(node) if kind in (list, set, tuple) else node)
    return VALUE_MARK


def _operator_shape(node: Any, values: list[Any]) -> Any:
    name = operator(node)
    first, second = node.first, node.second
    if name in VALUE:
        key = None if second is None else shape(second, values)
        options = node.optional_args
        if options:
            key = (key, options.get("escape"), options.get("case_sensitive"))
        return (name, shape(first, values), key)
    if name in EACH:
        return (name, shape(first, values), tuple([shape(value, values) for value in second]))
    if name in NAMED:
        return (name, shape(first, values), second)
    return (
        name,
        shape(first, values) if isinstance(first, TREE) else first,
        shape(second, values) if isinstance(second, TREE) else second,
    )


def operator(node: Any) -> str:
    """The name of a node's operator. Raises TypeError for raw SQL and for operators that cannot bind values."""
    if not callable(node.op):
        raise TypeError("raw SQL in a query: use db.sql()")
    name: str = node.op.__name__
    if name in VALUE or name in EACH or name in STRUCTURE:
        return name
    if name in NAMED and isinstance(node.second, str) and node.second.isidentifier():
        return name
    raise TypeError(f"operator {name} is not supported in a query: use db.sql()")


def _other_shape(node: Any, values: list[Any]) -> Any:
    """Subclasses of pyDAL's nodes."""
    if isinstance(node, Field):
        return (node._table._tablename, node._table._dalname, node.name)
    if isinstance(node, Table):
        return ("table", node._tablename, node._dalname)
    return _operator_shape(node, values)


def _all_shape(node: Any, _: list[Any]) -> Any:
    return ("all", node._table._tablename, node._table._dalname)


def _select_shape(node: Any, values: list[Any]) -> Any:
    attributes = sorted(node._attributes.items())
    for name, value in attributes:
        if not isinstance(value, (*TREE, bool, type(None))):
            raise TypeError(f"{name} of a nested select takes an expression")
    return (
        "select",
        node._tablename,
        node._correlated,
        shape(node._query, values),
        tuple([shape(field, values) for field in node._qfields]),
        tuple([(name, shape(value, values) if isinstance(value, TREE) else value) for name, value in attributes]),
    )


_OTHER: dict[type, Callable[[Any, list[Any]], Any]] = {SQLALL: _all_shape, Select: _select_shape}


def _param_of(values: Any) -> Any:
    """`belongs(param)` arrives as a list of one; anything else is itself."""
    if len(values) == 1:
        only = next(iter(values))
        if type(only) is Param and only.many:
            return only
    return values


class Counter:
    """Numbers the slots of one lift."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0

    def slot(self) -> Slot:
        """The next slot."""
        self.count += 1
        return Slot(self.count - 1)


def lift(node: Any, counter: Counter) -> Any:
    """The same tree with slots in place of its values; visits in the order of `shape`."""
    if isinstance(node, Field | Table) or type(node) is SQLALL:
        return node
    if isinstance(node, NODES):
        return _lift_operator(node, counter)
    if isinstance(node, Select):
        return _lift_select(node, counter)
    return counter.slot()


def _lift_operator(node: Any, counter: Counter) -> Any:
    name, twin = operator(node), copy.copy(node)
    twin.optional_args = dict(node.optional_args or {})
    first, second = node.first, node.second
    if name in VALUE:
        # the order of shape(): second before first
        twin.second = None if second is None else lift(second, counter)
        twin.first = lift(first, counter)
    elif name in EACH:
        twin.first = lift(first, counter)
        twin.second = tuple([lift(value, counter) for value in second])
    else:
        twin.first = lift(first, counter) if isinstance(first, TREE) else first
        twin.second = lift(second, counter) if isinstance(second, TREE) and name not in NAMED else second
    return twin


def _lift_select(node: Any, counter: Counter) -> Any:
    query = lift(node._query, counter)
    fields = [lift(field, counter) for field in node._qfields]
    attributes = {
        name: lift(value, counter) if isinstance(value, TREE) else value
        for name, value in sorted(node._attributes.items())
    }
    twin = Select(node._db, query, fields, dict(attributes, correlated=node._correlated))
    return twin.with_alias(node._tablename) if node._tablename else twin
