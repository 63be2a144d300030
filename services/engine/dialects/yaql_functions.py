"""The functions, methods and operators of the YAQL subset. What is not here is refused by name when it is compiled."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from services.engine import expressions_nodes as n
from services.engine import expressions_operators as op
from services.engine.dialects import yaql_collections as c
from services.engine.dialects import yaql_texts as t
from services.engine.expressions_errors import ExpressionError
from services.engine.expressions_filters import FILTERS, METHODS, make_range, make_zip
from services.engine.expressions_jinja import SCOPE_FUNCTIONS, near
from services.engine.expressions_nodes import Node
from services.engine.expressions_reads import children
from services.engine.expressions_regex import regex_match, regex_replace, regex_search
from services.engine.expressions_scope import Scope
from services.engine.expressions_stackstorm import STACKSTORM_FILTERS

Operation = Callable[..., Any]

get = METHODS["get"]
where = c.where


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument: a value, or `key => value`."""

    value: Node
    key: Node | None
    at: int


OPERATORS: Mapping[str, Operation] = {
    "+": c.add,
    "-": op.subtract,
    "*": op.multiply,
    "/": c.divide,
    "mod": op.modulo,
    "=": op.equal,
    "!=": op.different,
    "<": c.less,
    "<=": c.less_equal,
    ">": c.greater,
    ">=": c.greater_equal,
    "in": op.contained,
    "=~": regex_search,
    "!~": lambda scope, text, pattern: not regex_search(scope, text, pattern),
}

LAMBDA_METHODS: Mapping[str, Operation] = {
    "where": c.where,
    "filter": c.where,
    "select": c.select,
    "selectMany": c.select_many,
    "orderBy": c.order_by,
    "orderByDescending": c.order_by_descending,
    "any": c.any_of,
    "all": c.all_of,
    "distinct": c.distinct_by,
    "toDict": c.to_dict,
    "groupBy": c.group_by,
    "takeWhile": c.take_while,
    "skipWhile": c.skip_while,
    "indexWhere": c.index_where,
}

PLAIN_METHODS: Mapping[str, Operation] = {
    "len": FILTERS["length"],
    "count": FILTERS["length"],
    "get": get,
    "keys": FILTERS["keys"],
    "values": FILTERS["values"],
    "items": FILTERS["items"],
    "containsKey": c.contains_key,
    "containsValue": c.contains_value,
    "contains": lambda scope, items, item: op.contained(scope, item, items),
    "set": c.set_key,
    "delete": c.delete,
    "deleteAll": c.delete_all,
    "mergeWith": c.merge_with,
    "append": c.append,
    "insert": c.insert,
    "concat": c.concat,
    "first": c.first,
    "last": c.last,
    "single": c.single,
    "sum": c.total,
    "min": c.minimum,
    "max": c.maximum,
    "flatten": FILTERS["flatten"],
    "reverse": FILTERS["reverse"],
    "toList": FILTERS["list"],
    "toSet": FILTERS["unique"],
    "skip": c.skip,
    "take": c.take,
    "limit": c.take,
    "slice": c.slices,
    "enumerate": c.numbered,
    "zip": make_zip,
    "indexOf": c.index_of,
    "isEmpty": lambda _scope, value: not value,
    "toUpper": FILTERS["upper"],
    "toLower": FILTERS["lower"],
    "trim": t.trim,
    "trimLeft": t.trim_left,
    "trimRight": t.trim_right,
    "split": t.split,
    "rightSplit": t.right_split,
    "join": t.join,
    "replace": c.replace,
    "startsWith": t.starts_with,
    "endsWith": t.ends_with,
    "substring": t.substring,
    "lastIndexOf": t.last_index_of,
    "toCharArray": FILTERS["list"],
    "format": t.write_format,
    "matches": regex_match,
}

FUNCTIONS: Mapping[str, Operation] = {
    "len": FILTERS["length"],
    "str": t.to_text,
    "int": t.to_int,
    "float": FILTERS["float"],
    "bool": lambda _scope, value: bool(value),
    "abs": FILTERS["abs"],
    "round": FILTERS["round"],
    "pow": op.power,
    "range": make_range,
    "zip": make_zip,
    "json": FILTERS["fromjson"],
    "sum": c.total,
    "max": c.larger,
    "min": c.smaller,
    "concat": c.concat,
    "format": t.write_format,
    "isString": t.is_text,
    "isInteger": t.is_integer,
    "isNumber": t.is_number,
    "isBoolean": t.is_boolean,
    "isList": t.is_a_list,
    "isDict": t.is_a_dict,
    "isEmpty": lambda _scope, value: not value,
    "from_json_string": FILTERS["fromjson"],
    "json_parse": FILTERS["fromjson"],
    "to_json_string": FILTERS["tojson"],
    "json_dump": FILTERS["tojson"],
    "regex_match": regex_match,
    "regex_search": regex_search,
    "regex_replace": regex_replace,
    **STACKSTORM_FILTERS,
    **{
        name: PLAIN_METHODS[name]
        for name in [
            "keys",
            "values",
            "items",
            "first",
            "last",
            "flatten",
            "toUpper",
            "toLower",
            "trim",
            "split",
            "join",
            "replace",
            "startsWith",
            "endsWith",
        ]
    },
}
_SPECIAL = frozenset({"list", "dict", "switch", "coalesce"})


def function(name: str, arguments: Sequence[Argument], at: int) -> Node:
    """A call `name(...)`."""
    if name in SCOPE_FUNCTIONS:
        return n.Call(name, *_split(name, arguments))
    if name in _SPECIAL:
        return _special(name, arguments, at)
    if name not in FUNCTIONS:
        known = {*SCOPE_FUNCTIONS, *FUNCTIONS, *_SPECIAL}
        raise ExpressionError(f"there is no function {name}() in our YAQL{near(name, known)}", position=at)
    args, named = _split(name, arguments)
    return _checked(name, FUNCTIONS[name], args, named, at)


def method(name: str, of: Node, arguments: Sequence[Argument], at: int) -> Node:
    """A call `value.name(...)`."""
    args, named = _split(name, arguments)
    if name in LAMBDA_METHODS:
        lambdas = tuple(n.Lambda(arg) for arg in args)
        return _checked(name, LAMBDA_METHODS[name], (of, *lambdas), named, at)
    if name not in PLAIN_METHODS:
        known = {*LAMBDA_METHODS, *PLAIN_METHODS}
        raise ExpressionError(f"there is no method {name}() in our YAQL{near(name, known)}", position=at)
    return _checked(name, PLAIN_METHODS[name], (of, *args), named, at)


def mapping(arguments: Sequence[Argument]) -> Node:
    """An object literal: `{a => 1}` or `dict(a => 1)`."""
    for argument in arguments:
        if argument.key is None:
            raise ExpressionError("an object is written {key => value}", position=argument.at)
    return n.MapOf(tuple((argument.key, argument.value) for argument in arguments if argument.key is not None))


def uses_it(node: Node) -> bool:
    """Does the expression speak of the current element?"""
    return isinstance(node, n.It) or any(uses_it(child) for child in children(node) if not isinstance(child, n.Lambda))


def _special(name: str, arguments: Sequence[Argument], at: int) -> Node:
    if name == "list":
        return _list(arguments)
    if name == "dict":
        return _dict(arguments)
    if name == "switch":
        return _switch(arguments, at)
    node: Node = n.Const(None)
    for argument in reversed(arguments):
        node = n.Default(argument.value, node, null=True)
    return node


def _list(arguments: Sequence[Argument]) -> Node:
    """`list(a, b)` are the two; `list(x.keys())` is what the query yields."""
    if len(arguments) == 1 and isinstance(arguments[0].value, n.Apply) and arguments[0].value.operation in _QUERIES:
        return arguments[0].value
    return n.ListOf(tuple(argument.value for argument in arguments))


def _dict(arguments: Sequence[Argument]) -> Node:
    if len(arguments) == 1 and arguments[0].key is None:
        return n.Apply(c.from_pairs, (arguments[0].value,))
    return mapping(arguments)


def _switch(arguments: Sequence[Argument], at: int) -> Node:
    node: Node = n.Const(None)
    for argument in reversed(arguments):
        if argument.key is None:
            raise ExpressionError("switch takes pairs: condition => value", position=at)
        node = n.Choice(argument.key, argument.value, node)
    return node


def _split(name: str, arguments: Sequence[Argument]) -> tuple[tuple[Node, ...], tuple[tuple[str, Node], ...]]:
    args = tuple(argument.value for argument in arguments if argument.key is None)
    named: list[tuple[str, Node]] = []
    for argument in arguments:
        if isinstance(argument.key, n.Const) and isinstance(argument.key.value, str):
            named.append((argument.key.value, argument.value))
        elif argument.key is not None:
            raise ExpressionError(f"{name}(): the name before => is a word", position=argument.at)
    return args, tuple(named)


def _checked(name: str, operation: Operation, args: tuple[Node, ...], named: Any, at: int) -> Node:
    try:
        _signature(operation).bind(Scope, *args, **dict(named))
    except TypeError as error:
        raise ExpressionError(f"{name}(): {error}", position=at) from error
    return n.Apply(operation, args, named, method=True)


@lru_cache(maxsize=512)
def _signature(operation: Operation) -> inspect.Signature:
    return inspect.signature(operation)


_QUERIES = frozenset(
    {*LAMBDA_METHODS.values(), *(PLAIN_METHODS[name] for name in ("keys", "values", "items", "enumerate", "zip"))}
)
