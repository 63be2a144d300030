"""What StackStorm adds to expressions, in both of its languages."""

from typing import Any

import pytest

from services.engine.expressions import ExpressionError, Scope, compile_template


def value(text: str, **names: Any) -> Any:
    return compile_template(text, lang="orquesta", text="python").evaluate(
        Scope(names, {"ctx": lambda name=None: names if name is None else names[name]})
    )


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ("version_compare('1.10.0', '1.9.0')", 1),
        ("version_compare('1.0.0-alpha', '1.0.0')", -1),
        ("version_more_than('2.0.0', '1.0.0')", True),
        ("version_less_than('2.0.0', '1.0.0')", False),
        ("version_equal('1.0.0', '1.0.0')", True),
        ("version_match('1.2.3', '>=1.0.0')", True),
        ("version_match('1.2.3', '<1.0.0')", False),
        ("version_bump_major('1.2.3')", "2.0.0"),
        ("version_bump_minor('1.2.3')", "1.3.0"),
        ("version_bump_patch('1.2.3')", "1.2.4"),
        ("version_strip_patch('1.2.3')", "1.2"),
        ("to_human_time_from_seconds(93784)", "1d2h3m4s"),
        ("to_human_time_from_seconds(5)", "5s"),
        ("from_yaml_string('a: [1, x]')", {"a": [1, "x"]}),
        ("yaml_parse('2024-01-01')", "2024-01-01"),
        ("to_yaml_string(ctx('v'))", "a:\n- b: 1\n- b: 2\n"),
        ("jsonpath_query(ctx('v'), '$.a[1].b')", [2]),
        ("jsonpath_query(ctx('v'), 'a[*].b')", [1, 2]),
        ("jsonpath_query(ctx('v'), '$..b')", [1, 2]),
        ("basename('/a/b.txt')", "b.txt"),
        ("dirname('/a/b.txt')", "/a"),
        ("regex_substring('a1b22', '[0-9]+', 1)", "22"),
    ],
)
def test_a_function_gives_the_same_in_jinja_and_in_yaql(call: str, expected: Any):
    v = {"a": [{"b": 1}, {"b": 2}]}

    values = [value("{{ " + call + " }}", v=v), value(f"<% {call} %>", v=v)]

    assert values == [expected, expected]


@pytest.mark.parametrize(
    "call", ["version_compare('x', '1.0.0')", "from_yaml_string('[')", "jsonpath_query(1, '$.a[?(@.b)]')"]
)
def test_what_cannot_be_read_is_an_error(call: str):
    with pytest.raises(ExpressionError):
        value("{{ " + call + " }}")


def test_a_yaml_text_cannot_grow_by_aliases():
    text = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"{chr(98 + i)}: &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(9)
    )

    with pytest.raises(ExpressionError, match="grows"):
        value("{{ from_yaml_string(ctx('t')) }}", t=text)
