"""Filters, tests and methods of expressions, and the bounds they keep."""

from collections.abc import Mapping

import pytest

from services.engine.expressions import ExpressionError, NeedsWorker, Scope, UndefinedName, compile_template
from services.engine.expressions_filters import FILTERS
from services.engine.expressions_scope import MAX_STEPS
from services.engine.expressions_values import MAX_TEXT, MAX_VALUE_BYTES

VARIABLES = {
    "n": 3,
    "text": "a-b",
    "o": {"b": 1, "a": 2},
    "deep": [[1], [2, [3]]],
    "rows": [{"id": 2, "tag": "X"}, {"id": 1, "tag": "x"}, {"id": 3}],
    "mixed": [3, 1, 2],
    "words": ["b", "A", "a"],
    "empty": [],
    "none": None,
    "huge": list(range(MAX_STEPS + 1)),
    "long": "x" * (MAX_TEXT // 2 + 1),
}


def value(expression: str, **options: str) -> object:
    return compile_template("{{ " + expression + " }}", **options).evaluate(Scope({"vars": VARIABLES}))


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("vars.text | upper | lower | capitalize | title", "A-B"),
        ("' a ' | trim", "a"),
        ("vars.text | replace('-', '+') | replace('z', '')", "a+b"),
        ("'aaa' | replace('a', 'b', 2)", "bba"),
        ("'a,b' | split(',') | join('/')", "a/b"),
        ("vars.rows | join('-', attribute='id')", "2-1-3"),
        ("'hello world' | truncate(8)", "hello..."),
        ("'hello world' | truncate(8, true, '')", "hello wo"),
        ("'hi' | truncate(8)", "hi"),
        ("vars.text | startswith('a') and vars.text.endswith('b')", True),
        ("'7' | int + ('x' | int(5)) + ('2.9' | int) + ('ff' | int(0, 16)) + (none | int)", 269),
        ("'1.5' | float + ('x' | float)", 1.5),
        ("['yes' | bool, 'no' | bool, 1 | bool, none | bool]", [True, False, True, False]),
        ("(-5) | abs", 5),
        ("2.567 | round(1)", 2.6),
        ("2.1 | round(0, 'ceil') + (2.9 | round(0, 'floor'))", 5.0),
        ("vars.mixed | first + (vars.mixed | last)", 5),
        ("'abc' | first ~ ('abc' | last) ~ (vars.o | first)", "acb"),
        ("vars.o | list", ["b", "a"]),
        ("'ab' | list", ["a", "b"]),
        ("vars.mixed | sum + (vars.rows | sum('id', 10))", 22),
        ("vars.mixed | sort", [1, 2, 3]),
        ("vars.words | sort", ["A", "a", "b"]),
        ("vars.words | sort(true, true)", ["b", "a", "A"]),
        ("vars.rows | sort(attribute='id') | map(attribute='id')", [1, 2, 3]),
        ("vars.mixed | min + (vars.mixed | max)", 4),
        ("vars.words | unique", ["b", "A"]),
        ("vars.words | unique(true)", ["b", "A", "a"]),
        ("[1, true, {'a': 1}, {'a': 1}] | unique", [1, True, {"a": 1}]),
        ("vars.mixed | reverse", [2, 1, 3]),
        ("'abc' | reverse", "cba"),
        ("vars.o | keys + (vars.o | values)", ["b", "a", 1, 2]),
        ("vars.o | items", [["b", 1], ["a", 2]]),
        ("vars.o | dictsort", [["a", 2], ["b", 1]]),
        ("vars.o | dictsort(by='value', reverse=true)", [["a", 2], ["b", 1]]),
        ("vars.o | get('a') + (vars.o | get('z', 5)) + vars.o.get('z', 1)", 8),
        ("vars.o | tojson | fromjson", {"b": 1, "a": 2}),
        ("json('[1]') | length", 1),
        ("vars.deep | flatten", [1, 2, 3]),
        ("vars.deep | flatten(1)", [1, 2, [3]]),
        ("vars.words | map('upper')", ["B", "A", "A"]),
        ("vars.words | map('replace', 'a', 'z')", ["b", "A", "z"]),
        ("vars.rows | map(attribute='tag', default='-')", ["X", "x", "-"]),
        ("vars.deep | map(attribute='0')", [1, 2]),
        ("vars.mixed | select('gt', 1)", [3, 2]),
        ("vars.mixed | reject('odd')", [2]),
        ("[0, 1, none] | select", [1]),
        ("vars.rows | selectattr('tag') | map(attribute='id')", [2, 1]),
        ("vars.rows | rejectattr('tag', 'eq', 'x') | map(attribute='id')", [2, 3]),
        ("'a1b22' | regex_findall('[0-9]+')", ["1", "22"]),
        ("'a1b2' | regex_findall('([a-z])([0-9])')", [["a", "1"], ["b", "2"]]),
        ("'a1b22' | regex_replace('[0-9]+', '#')", "a#b#"),
        ("'abc' is match('b') or 'abc' is search('b')", True),
        ("range(3) + range(1, 3) + range(3, 0, -2)", [0, 1, 2, 1, 2, 3, 1]),
        ("zip([1], [2, 3])", [[1, 2], [None, 3]]),
        ("vars.n is odd and not vars.n is even and 6 is divisibleby(3)", True),
        ("vars.none is none and vars.n is number and vars.n is integer and 1.5 is float", True),
        ("true is boolean and true is true and false is false and not 1 is true", True),
        ("vars.o is mapping and vars.mixed is sequence and 'x' is iterable and 'x' is string", True),
        ("'a' is lower and 'A' is upper and 1 is in([1]) and true is not integer", True),
        ("1 is eq(1) and 1 is ne(2) and 1 is lt(2) and 1 is le(1) and 2 is gt(1) and 2 is ge(2)", True),
        ("vars.text.upper() ~ vars.text.find('b') ~ '-'.join(['x', 'y'])", "A-B2x-y"),
        ("vars.text | string ~ (vars.none | string) ~ str(true)", "a-btrue"),
        ("length(vars.text) + len([1])", 4),
        ("vars.o == {'a': 2, 'b': 1} and vars.deep != [[1], [2, [4]]] and [1] != [1, 2]", True),
        ("{'a': [1]} in [1, {'a': [1]}] and not 'z' in vars.o and 5 not in vars.o", True),
        ("(2 ** -1) * 4", 2.0),
    ],
)
def test_a_filter_gives_its_value(expression: str, expected: object):
    assert value(expression) == expected


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("5 | length", "a number has no length"),
        ("5 | list", "a number has no elements"),
        ("vars.empty | first", "an empty list has neither first nor last"),
        ("vars.n | keys", "a number is not an object"),
        ("vars.o | upper", "an object is not text"),
        ("[1, 'a'] | sort", "text and numbers cannot be sorted together"),
        ("[none] | sort", "null cannot be sorted"),
        ("vars.rows | map(attribute='tag')", "an object has no 'tag'"),
        ("[1] | map(vars.text)", "there is no filter 'a-b'"),
        ("[1] | select(vars.text)", "there is no test 'a-b'"),
        ("'{' | fromjson", "not JSON: "),
        ("1 | round(99)", "round: the precision is at most 30 digits"),
        ("1 | round(1, 'up')", "round: the method is common, ceil or floor"),
        ("'x' | strip", "there is no filter 'strip'"),
        ("vars.text.strip(vars.o)", "strip: texts or numbers are expected"),
        ("vars.text | upper(1, 2)", "str.upper() takes no arguments (2 given)"),
        ("range(1.5)", "range takes one to three integers, the third not 0"),
        ("range(1, 2, 0)", "range takes one to three integers, the third not 0"),
        ("range(0, 99999)", "range gives at most 10,000 numbers"),
        ("5 is search('x')", "a pattern is matched against text, not a number and text"),
        ("'x' | regex_replace('x', 5)", "a replacement is text, not a number"),
        ("'x' | regex_substring('y')", "the pattern has no match number 0"),
        ("'x' is search('" + "a" * 1001 + "')", "a pattern has at most 1,000 characters"),
        ("1 is holds('like', 2)", "there is no operator 'like'"),
        ("-'a'", "- needs two numbers, not text and text"),
        ("5[1:]", "a number has no parts"),
        ("1e300 ** 64", "the exponent or the base is too large"),
        ("1e9 ** 64", "the number is too large"),
        ("vars.long + vars.long", f"the text grows beyond {MAX_TEXT:,} characters"),
        ("vars.long ~ vars.long", f"the text grows beyond {MAX_TEXT:,} characters"),
        ("'aa' | replace('a', vars.long)", f"replace: the text grows beyond {MAX_TEXT:,} characters"),
        ("[vars.long, vars.long, 'x', vars.long, vars.long] | join", f"join: the text grows beyond {MAX_TEXT:,} characters"),
        ("[vars.long, vars.long, vars.long, vars.long, vars.long]", f"the value grows beyond {MAX_VALUE_BYTES:,} bytes"),
        ("(9 ** 64) * (9 ** 64) * (9 ** 64) * (9 ** 64) * (9 ** 64) * (9 ** 64) * (9 ** 64) * (9 ** 64) * (9 ** 64)"
         " * (9 ** 64) * (9 ** 64) * (9 ** 64) * (9 ** 64) * (9 ** 64) * (9 ** 64) * (9 ** 64) * (9 ** 64) * (9 ** 64)"
         " * (9 ** 64) * (9 ** 64) * (9 ** 64)", "the integer is too large"),
    ],
)  # fmt: skip
def test_a_filter_that_cannot_be_applied_says_why(expression: str, message: str):
    with pytest.raises(ExpressionError) as caught:
        value(expression)

    assert caught.value.message.startswith(message)


def test_more_data_than_the_server_works_on_goes_to_the_worker():
    template = compile_template("{{ vars.huge | sort | first }} of {{ vars.n }}")

    with pytest.raises(NeedsWorker) as caught:
        template.evaluate(Scope({"vars": VARIABLES}))

    (request,) = caught.value.requests
    assert (request["whole"], set(request["names"]["vars"])) == (False, {"huge", "n"})
    answers = {request["id"]: {"value": "0 of 3"}}
    assert template.evaluate(Scope({"vars": VARIABLES}, {}, answers)) == "0 of 3"


def test_yaql_over_too_much_data_is_an_error():
    with pytest.raises(ExpressionError, match="too much work"):
        compile_template("<% ctx(huge).orderBy($) %>", lang="orquesta").evaluate(
            Scope({}, {"ctx": lambda name: VARIABLES[name]})
        )


def test_a_text_with_a_secret_never_leaves_the_server():
    template = compile_template("{{ secrets.T }} {{ vars.huge | sort | first }}", secrets=True)

    with pytest.raises(ExpressionError, match="too much work"):
        template.evaluate(Scope({"vars": VARIABLES}))


def test_the_worker_gets_no_more_than_a_value_may_be():
    names = {"vars": {"rows": ["x" * 1_000_000] * 9, "odd": {1: 2}}}

    with pytest.raises(ExpressionError, match="reads too much data"):
        compile_template("{% for x in vars.rows %}{{ x }}{% endfor %}").evaluate(Scope(names))
    with pytest.raises(ExpressionError, match="what the expression reads is not JSON"):
        compile_template("{% for x in vars.odd %}{{ x }}{% endfor %}").evaluate(Scope(names))


def test_the_worker_gets_what_lazy_views_hold():
    class View(Mapping):
        def __getitem__(self, name):
            return {"rows": (1, 2)}[name]

        def __iter__(self):
            return iter(["rows"])

        def __len__(self):
            return 1

    with pytest.raises(NeedsWorker) as caught:
        compile_template("{% for x in vars.rows %}{{ vars }}{% endfor %}").evaluate(Scope({"vars": View()}))

    assert caught.value.requests[0]["names"] == {"vars": {"rows": [1, 2]}}


def test_functions_of_the_scope_are_answered_before_the_worker_is_asked():
    def ctx(name=None):
        if name == "bad":
            raise LookupError("no variable 'bad'")
        if name == "worse":
            raise LookupError
        return {"a": 1}

    def item(key=None):
        raise ExpressionError("no item here")

    source = "{% if true %}{{ ctx('bad') }}{{ ctx('worse') }}{{ ctx() }}{{ item() }}{{ now() }}{{ fail(x) }}{% endif %}"
    with pytest.raises(NeedsWorker) as caught:
        compile_template(source.replace("{{ fail(x) }}", "{{ length(x) }}{{ ctx(x.y) }}")).evaluate(
            Scope({"x": {"y": "a"}}, {"ctx": ctx, "item": item})
        )

    outcomes = {(name, *args): outcome for name, args, outcome in caught.value.requests[0]["calls"]}
    assert outcomes == {
        ("ctx", "bad"): {"error": "no variable 'bad'"},
        ("ctx", "worse"): {"error": "ctx() found nothing"},
        ("ctx",): {"value": {"a": 1}},
        ("item",): {"error": "no item here"},
        ("now",): {"error": "now() cannot be used here"},
    }


def test_every_filter_survives_every_kind_of_value():
    values = ["none", "true", "5", "1.5", "'text'", "[1, 'a', none]", "{'a': 1}", "[]", "''"]
    odd: list[str] = []

    for name in FILTERS:
        for given in values:
            try:
                value(f"{given} | {name}")
            except ExpressionError:
                continue
            except Exception as error:  # everything else would end a worker lease, not an expression
                odd.append(f"{given} | {name}: {error!r}")

    assert odd == []


def test_values_from_outside_become_plain_data():
    class Lazy(dict):
        pass

    scope = Scope({"vars": {"lazy": Lazy(a=1), "tuple": (1, 2), "set": {1}}})

    assert type(compile_template("{{ vars.lazy }}").evaluate(scope)) is dict
    assert compile_template("{{ [vars.tuple] }}").evaluate(scope) == [[1, 2]]
    with pytest.raises(ExpressionError, match="set is not a JSON value"):
        compile_template("{{ vars.set }}").evaluate(scope)


def test_a_value_is_at_most_fifty_levels_deep():
    deep: object = 1
    for _ in range(60):
        deep = [deep]

    with pytest.raises(ExpressionError, match="nested deeper than 50 levels"):
        compile_template("{{ [vars.deep] }}").evaluate(Scope({"vars": {"deep": deep}}))
    with pytest.raises(ExpressionError, match="nested deeper than 50 levels"):
        compile_template(deep)


def test_comparing_endless_values_ends():
    loop: list = []
    loop.append(loop)
    other: list = []
    other.append(other)

    with pytest.raises(ExpressionError):
        compile_template("{{ vars.a == vars.b }}").evaluate(Scope({"vars": {"a": loop, "b": other}}))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({"vars": {"k": {1: 2}}}, "the key 1 of an object is not text"),
        ({"vars": {"k": b"x"}}, "bytes is not a JSON value"),
    ],
)
def test_what_is_no_json_is_refused(names: dict, message: str):
    with pytest.raises(ExpressionError, match=message):
        compile_template("{{ [vars.k] }}").evaluate(Scope(names))


def test_rendered_keys_are_texts():
    template = compile_template({"{{ vars.k }}": 1})

    assert template.evaluate(Scope({"vars": {"k": "a"}})) == {"a": 1}
    with pytest.raises(ExpressionError, match="the key 5 of an object is not text"):
        template.evaluate(Scope({"vars": {"k": 5}}))


def test_an_unknown_language_is_a_mistake_of_the_caller():
    with pytest.raises(ValueError, match="there is no expression language 'perl'"):
        compile_template("x", lang="perl")


def test_missing_things_inside_of_things_are_named():
    with pytest.raises(UndefinedName, match="rows \\(a list\\) has no 9"):
        value("vars.rows[vars.n * 3]")


def test_a_template_shows_what_it_is():
    assert repr(compile_template("{{ x }}")) == "Template('{{ x }}')"
