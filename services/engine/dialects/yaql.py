"""Texts of the Orquesta language: YAQL between `<%` and `%>`, or Jinja between `{{` and `}}`, never both."""

from __future__ import annotations

import re
from collections.abc import Iterator

from services.engine import expressions_nodes as n
from services.engine.dialects.yaql_parser import parse_yaql
from services.engine.expressions_errors import ExpressionError, MixedLanguages
from services.engine.expressions_jinja import MAX_SOURCE
from services.engine.expressions_leaf import Leaf, Style, jinja_leaf, literal_leaf, node_leaf
from services.engine.expressions_nodes import Node
from services.engine.expressions_values import text_function

_YAQL = re.compile(r"<%(.*?)%>", re.DOTALL)
_JINJA = re.compile(r"\{\{.*?\}\}|\{%.*?%\}", re.DOTALL)


def orquesta_leaf(source: str, style: Style) -> Leaf:
    """A text whose language shows in its delimiters."""
    has_yaql = "<%" in source and _YAQL.search(source) is not None
    has_jinja = "{" in source and _JINJA.search(source) is not None
    if has_yaql and has_jinja:
        raise MixedLanguages("YAQL and Jinja cannot be used in the same text", expression=source)
    if has_jinja:
        return jinja_leaf(source, style)
    return yaql_leaf(source, style) if has_yaql else literal_leaf(source)


def yaql_leaf(source: str, style: Style) -> Leaf:
    """A text with YAQL expressions."""
    if len(source) > MAX_SOURCE:
        raise ExpressionError(f"an expression has at most {MAX_SOURCE:,} characters")
    match = _YAQL.fullmatch(source)
    if match is not None and match[0].count("%>") == 1:
        return node_leaf(_parsed(match), source)
    parts = tuple(_parts(source))
    if all(isinstance(part, n.Const) for part in parts) and len(parts) == 1:
        return literal_leaf(source)
    return node_leaf(n.Text(parts, text_function(style.text)), source)


def _parts(source: str) -> Iterator[Node]:
    end = 0
    for match in _YAQL.finditer(source):
        if match.start() > end:
            yield n.Const(source[end : match.start()])
        yield _parsed(match)
        end = match.end()
    if end < len(source):
        yield n.Const(source[end:])


def _parsed(match: re.Match[str]) -> Node:
    try:
        return parse_yaql(match[1], match.start(1))
    except ExpressionError as error:
        raise error.within(match[0]) from error
    except RecursionError as error:
        raise ExpressionError("the expression is nested too deeply", expression=match[0]) from error
