"""Tests: what `is` and `select` ask of a value."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from services.engine import expressions_operators as op
from services.engine.expressions_regex import regex_match, regex_search
from services.engine.expressions_rules import holds
from services.engine.expressions_scalars import the_text
from services.engine.expressions_scope import Scope
from services.engine.expressions_values import is_list, is_mapping

Predicate = Callable[..., Any]


def _type_test(*types: type, refuse: type | None = None) -> Predicate:
    def test(_scope: Scope, value: Any) -> bool:
        return isinstance(value, types) and not (refuse is not None and isinstance(value, refuse))

    return test


def _divisible(scope: Scope, value: Any, by: Any) -> bool:
    return bool(op.modulo(scope, value, by) == 0)


TESTS: Mapping[str, Predicate] = {
    "none": lambda _scope, value: value is None,
    "null": lambda _scope, value: value is None,
    "string": _type_test(str),
    "number": _type_test(int, float),
    "integer": _type_test(int, refuse=bool),
    "float": _type_test(float),
    "boolean": _type_test(bool),
    "true": lambda _scope, value: value is True,
    "false": lambda _scope, value: value is False,
    "mapping": lambda _scope, value: is_mapping(value),
    "sequence": lambda _scope, value: is_list(value) or isinstance(value, str),
    "iterable": lambda _scope, value: is_list(value) or is_mapping(value) or isinstance(value, str),
    "odd": lambda scope, value: op.modulo(scope, value, 2) == 1,
    "even": lambda scope, value: op.modulo(scope, value, 2) == 0,
    "divisibleby": _divisible,
    "lower": lambda _scope, value: the_text(value).islower(),
    "upper": lambda _scope, value: the_text(value).isupper(),
    "in": op.contained,
    "eq": op.equal,
    "equalto": op.equal,
    "==": op.equal,
    "ne": op.different,
    "!=": op.different,
    "lt": op.less,
    "lessthan": op.less,
    "<": op.less,
    "le": op.less_equal,
    "<=": op.less_equal,
    "gt": op.greater,
    "greaterthan": op.greater,
    ">": op.greater,
    "ge": op.greater_equal,
    ">=": op.greater_equal,
    "match": regex_match,
    "search": regex_search,
    "holds": holds,
}
