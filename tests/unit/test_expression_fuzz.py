"""Whatever is written, the answer is a value, a question for the worker or an ExpressionError; and a graph or problems."""

import copy
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.engine.compile import compile_definition
from services.engine.expressions import ExpressionError, NeedsWorker, Scope, compile_template
from tests.unit.test_export import NODES, PACKAGE

QUICK = settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
words = st.sampled_from(
    [
        "vars",
        "x",
        ".",
        "[",
        "]",
        "(",
        ")",
        "{",
        "}",
        "|",
        ",",
        ":",
        "=>",
        "$",
        "'",
        '"',
        "1",
        "-2",
        "3.5",
        "+",
        "-",
        "*",
        "/",
        "**",
        "%",
        "~",
        "==",
        "<",
        "in",
        "not",
        "and",
        "or",
        "is",
        "if",
        "else",
        "true",
        "none",
        "map",
        "select",
        "where",
        "length",
        "join",
        "first",
        "default",
        "sum",
        "ctx",
        "result",
        "range",
        "zip",
        "item",
        "json",
        "for",
        "endfor",
        "set",
        "{{",
        "}}",
        "{%",
        "%}",
        "<%",
        "%>",
        "=",
        "!=",
        "mod",
        "switch",
        "list",
        "dict",
        "selectattr",
        "holds",
        "sort",
        "unique",
        "tojson",
        "center",
        "upper",
        "get",
        "keys",
        "`a`",
        "{#",
        "#}",
        "\\",
        "\n",
        "é",
    ]
)
sources = st.lists(words, max_size=12).map(" ".join)


def attempt(source: str, lang: str, data: Any) -> None:
    scope = Scope({"vars": data, "x": data, "item": data}, {"ctx": lambda *_: data, "result": lambda: data})
    try:
        compile_template(source, lang=lang).evaluate(scope)
    except (ExpressionError, NeedsWorker):
        return


@QUICK
@given(sources, json_values)
def test_jinja_never_ends_otherwise(source: str, data: Any):
    attempt("{{ " + source + " }}", "jinja", data)
    attempt(source, "jinja", data)


@QUICK
@given(sources, json_values)
def test_yaql_never_ends_otherwise(source: str, data: Any):
    attempt("<% " + source + " %>", "orquesta", data)
    attempt(source, "orquesta", data)


@QUICK
@given(st.text(), json_values)
def test_any_text_is_fine(source: str, data: Any):
    for lang in ("jinja", "orquesta"):
        attempt(source, lang, data)
        attempt("{{" + source + "}}", lang, data)
        attempt("<%" + source + "%>", lang, data)


def places(value: Any, at: tuple = ()) -> list[tuple]:
    found = [at]
    if isinstance(value, dict):
        return found + [place for key, item in value.items() for place in places(item, (*at, key))]
    if isinstance(value, list):
        return found + [place for index, item in enumerate(value) for place in places(item, (*at, index))]
    return found


def changed(document: Any, place: tuple, value: Any) -> Any:
    document = copy.deepcopy(document)
    inner = document
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    return document


@QUICK
@given(st.data(), json_values | sources)
def test_a_damaged_definition_gives_a_graph_or_problems(data: st.DataObject, value: Any):
    for document in (NODES, PACKAGE):
        place = data.draw(st.sampled_from(places(document)[1:]))

        compiled = compile_definition(changed(document, place, value))

        assert (compiled.graph is None) == bool(compiled.errors)
