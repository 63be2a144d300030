"""The YAQL subset: what it gives, what it reads, what it refuses by name."""

import pytest

from services.engine.expressions import ExpressionError, Scope, UndefinedName, compile_template

VARIABLES = {
    "vms": {"vm1": {"size": 1}, "vm2": {"size": 2}, "vm3": {"size": 3}},
    "names": ["b", "a"],
    "d": {"a": 1, "o": {"x": 1}, "l": [1]},
    "s": "Hello World",
    "n": None,
    "nested": [[1], [2, [3]]],
    "empty": [],
    "greeting": " hi ",
}


def ctx(name: str | None = None) -> object:
    return VARIABLES if name is None else VARIABLES[name]


def scope() -> Scope:
    def task(name: str = "me", route: int | None = None) -> dict:
        return {
            "task_id": name,
            "route": route,
            "result": {"items": [{"status": "succeeded", "result": {"stdout": "x"}}]},
        }

    functions = {
        "ctx": ctx,
        "task": task,
        "item": lambda key=None: {"m": 1} if key is None else {"m": 1}[key],
        "result": lambda: {"value": 7},
        "succeeded": lambda: True,
        "failed": lambda: False,
        "task_status": lambda name, route=None: "succeeded",
    }
    return Scope({}, functions)


def value(expression: str) -> object:
    return compile_template(f"<% {expression} %>", lang="yaql", text="python").evaluate(scope())


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("ctx(vms).get(vm1)", {"size": 1}),
        ("ctx().vms.get(vm2)", {"size": 2}),
        ("ctx(vms)[vm3]", {"size": 3}),
        ("ctx('vms')['vm3'].size", 3),
        ('ctx(vms).get(nope, "none")', "none"),
        ("ctx(vms)[nope, 5]", 5),
        ("ctx(vms).keys().orderBy($)", ["vm1", "vm2", "vm3"]),
        ("ctx(vms).values().where($.size > 1).select($.size).orderByDescending($)", [3, 2]),
        ("ctx(vms).values()[$.size > 2]", [{"size": 3}]),
        ("ctx(vms).values().size", [1, 2, 3]),
        ("ctx(vms).values().select($.size).sum()", 6),
        ("ctx(vms).items().where($[1].size = 2).select($[0]).first()", "vm2"),
        ("ctx(vms).len()", 3),
        ("len(ctx(names))", 2),
        ("ctx(names)[0]", "b"),
        ("ctx(names)[-1]", "a"),
        ("range(0,4)", [0, 1, 2, 3]),
        ("ctx(s).toUpper() + ctx(s).toLower()", "HELLO WORLDhello world"),
        ("ctx(s).split(' ').select($.toLower()).join('-')", "hello-world"),
        ("'-'.join(ctx(names))", "b-a"),
        ("ctx(greeting).trim()", "hi"),
        ("ctx(greeting).trimLeft() + ctx(greeting).trimRight()", "hi  hi"),
        ("ctx(s).replace(World, you)", "Hello you"),
        ("ctx(s).replace({Hello => bye, World => all})", "bye all"),
        ("ctx(s).substring(6) + ctx(s).substring(-5, 2) + ctx(s).substring(0, 1)", "WorldWoH"),
        ("ctx(s).startsWith(Hello, x) and ctx(s).endsWith(World)", True),
        ("ctx(s).indexOf(World) + ctx(s).lastIndexOf(o)", 13),
        ("ctx(s).rightSplit(' ', 1)", ["Hello", "World"]),
        ("ctx(s).matches('Hel+o')", True),
        ("'{0} {x} {{}} {}'.format(1, 2, 3, x => true)", "1 true {} 3"),
        ("ab.toCharArray()", ["a", "b"]),
        ("task(t1).result.items.select($.result.stdout)", ["x"]),
        ("task().task_id + '__' + str(task(x).route)", "me__null"),
        ('task("task9", route=>2).route', 2),
        ("task_status(task1)", "succeeded"),
        ("succeeded() and not a in list(b, c)", True),
        ("failed() or result().value", 7),
        ("item(m) = item().m", True),
        ("zip(ctx(names), [1, 2, 3], pad => 0)", [["b", 1], ["a", 2], [0, 3]]),
        ("json('[1, {\"a\": 2}]')", [1, {"a": 2}]),
        ("dict(a => 1, b => ctx(n))", {"a": 1, "b": None}),
        ("dict([[a, 1]])", {"a": 1}),
        ("dict(ctx(d)).a", 1),
        ("{a => [1, 2]}", {"a": [1, 2]}),
        ("[]", []),
        ("{}", {}),
        ("list(ctx(vms).keys())", ["vm1", "vm2", "vm3"]),
        ("list(1, [2])", [1, [2]]),
        ("switch(ctx(d).a > 5 => big, true => small)", "small"),
        ("switch(false => x)", None),
        ("coalesce(ctx(n), ctx(nope), 7)", 7),
        ("ctx(nested).flatten()", [1, 2, 3]),
        ("ctx(names).toDict($, len($))", {"b": 1, "a": 1}),
        ("ctx(vms).values().groupBy($.size mod 2, $.size)", [[1, [1, 3]], [0, [2]]]),
        ("ctx(vms).values().selectMany([$.size, $.size])", [1, 1, 2, 2, 3, 3]),
        ("[1, 2].selectMany($)", [1, 2]),
        ("7 / 2", 3),
        ("7.0 / 2", 3.5),
        ("7 mod 4", 3),
        ("-1 + +2 * 3", 5),
        ("(1 + 2) * 3", 9),
        ("2 >= 2 and 2 <= 2 and 1 != 2", True),
        ("null < 1 and not null > 1 and null <= null and null >= null", True),
        ("not(false)", True),
        ("ctx(d).set(b, 2).b + ctx(d).set({c => 3}).c", 5),
        ("(ctx(d) + {c => 3}).keys()", ["a", "o", "l", "c"]),
        ("ctx(d).delete(a, o)", {"l": [1]}),
        ("ctx(d).deleteAll([a, o])", {"l": [1]}),
        ("[1, 2, 3].delete(1)", [1, 3]),
        ("[1, 2, 3].delete(1, -1)", [1]),
        (
            "ctx(d).mergeWith({o => {y => 2}, l => [1, 2], a => 5, z => 1})",
            {"a": 5, "o": {"x": 1, "y": 2}, "l": [1, 2], "z": 1},
        ),
        ("ctx(d).containsKey(a) and ctx(d).containsValue(1)", True),
        ("ctx(names).append(c, d)", ["b", "a", "c", "d"]),
        ("ctx(names).insert(1, c)", ["b", "c", "a"]),
        ("ctx(names).replace(0, z)", ["z", "a"]),
        ("concat(ab, cd) + ab.concat(c)", "abcdabc"),
        ("concat()", []),
        ("[1].concat([2], [3])", [1, 2, 3]),
        ("ctx(n)?.foo", None),
        ("ctx(d)?.a", 1),
        ("ctx(names).first() + ctx(names).last() + ctx(empty).first(x) + ctx(empty).last(y)", "baxy"),
        ("[5].single()", 5),
        ("max(1, 5) + min([2, 1]) + [1, 9].max() + [4].min(3)", 18),
        ("sum([]) + sum([1, 2]) + [1].sum(10)", 14),
        ("[1, 1, 2].distinct()", [1, 2]),
        ("[{a => 1}, {a => 1}].distinct($.a).len()", 1),
        ("[1, 2, 3].any($ > 2) and [1].any() and [1, 2].all($ > 0) and not [].any()", True),
        ("[1, 2, 3, 1].takeWhile($ < 3) + [1, 2, 3, 1].skipWhile($ < 3)", [1, 2, 3, 1]),
        ("[1, 2, 3].skip(1).take(1) + [1, 2, 3].limit(1)", [2, 1]),
        ("[1, 2, 3].slice(2)", [[1, 2], [3]]),
        ("[a, b].enumerate()", [[0, "a"], [1, "b"]]),
        ("[a, b].zip([1, 2])", [["a", 1], ["b", 2]]),
        ("[a, b].indexOf(b) + [1, 2].indexWhere($ = 2) + [1].indexOf(7)", 1),
        ("[1, 2].reverse()", [2, 1]),
        ("[1, 2][coalesce($, 0) > 1]", [2]),
        ("[1, 1].toSet().len() + [1].toList().count()", 2),
        ("[1, 2].contains(2) and isEmpty([]) and ''.isEmpty()", True),
        ("int('3') + int(null) + abs(-2) + round(2.4) + pow(2, 3)", 15),
        ("float('1.5')", 1.5),
        ("bool(1)", True),
        ("str(true) + str(null) + str([1, a]) + str(1)", "truenull[1, 'a']1"),
        ("isString(a) and isInteger(1) and isNumber(1.5) and isBoolean(true) and isList([]) and isDict({})", True),
        ("isInteger(true) or isNumber(true)", False),
        ("to_json_string({a => 1})", '{"a":1}'),
        ("json_escape('a\"b')", 'a\\"b'),
        ("basename('/a/b') + dirname('/a/b')", "b/a"),
        ("regex_match(abc, 'a.') and regex_search(abc, 'b.') and abc =~ 'b' and abc !~ 'x'", True),
        ("regex_replace(abc, b, X) + regex_substring(abcabd, 'ab.', 1)", "aXcabd"),
        ("use_none(1)", 1),
        ("`a\\b`", "a\\b"),
        ('"q\\"x\\n\\z"', 'q"x\n\\z'),
        ("bare", "bare"),
        ("1.5e2", 150.0),
    ],
)
def test_yaql_gives_its_value(expression: str, expected: object):
    assert value(expression) == expected


def test_several_expressions_and_text_make_a_text():
    found = compile_template("first=<% ctx(vms).vm1.size %> <% ctx(n) %>!", lang="orquesta", text="python").evaluate(
        scope()
    )

    assert found == "first=1 None!"


@pytest.mark.parametrize(
    ("text", "expected"),
    [("no expression", "no expression"), ("{{ ctx('s') }}", "Hello World"), ("a < b %> c", "a < b %> c")],
)
def test_the_language_shows_in_the_delimiters(text: str, expected: str):
    assert compile_template(text, lang="orquesta", text="python").evaluate(scope()) == expected


def test_plain_text_is_no_yaql():
    assert compile_template("{{ x }}", lang="yaql").evaluate(scope()) == "{{ x }}"


def test_two_languages_in_one_text_are_refused():
    with pytest.raises(ExpressionError) as caught:
        compile_template({"a": "<% ctx() %> {{ ctx() }}"}, lang="orquesta")

    assert caught.value.problems[0].code == "mixed_expression_types"


@pytest.mark.parametrize(
    ("expression", "message", "position"),
    [
        ("1 +", "unexpected end of the expression", 6),
        ("<% succeeded()", "unexpected '%'", 4),
        ("a b", "unexpected 'b'", 5),
        ("a ; b", "unexpected ';'", 5),
        ("f(1", "unexpected end of the expression, expected ','", 6),
        ("(1", "unexpected end of the expression, expected ')'", 5),
        ("a.1", "unexpected '1', expected a name", 5),
        ("1 + and", "unexpected 'and'", 7),
        ("foo(1)", "there is no function foo() in our YAQL", 3),
        ("resul()", "there is no function resul() in our YAQL; did you mean 'result'?", 3),
        ("[].selekt($)", "there is no method selekt() in our YAQL; did you mean 'select'?", 6),
        ("$.x", "$ has no value here: $ is the element inside where, select and the like", 3),
        ("[1].where($x)", "$x has no value here: $ is the element inside where, select and the like", 13),
        ("len()", "len(): missing a required argument: 'value'", 3),
        ("{1}", "an object is written {key => value}", 4),
        ("switch(1)", "switch takes pairs: condition => value", 3),
        ("a[1, 2, 3]", "[] takes an index, a key or a condition", 13),
        ("zip(1 => 2)", "zip(): the name before => is a word", 7),
        ("+".join(["1"] * 200), "more than 100 operators in a row", 204),
        ("a" + ".b" * 200, "more than 100 steps in a row", 204),
        ("(" * 900 + "1" + ")" * 900, "an expression is nested at most 50 levels deep", 53),
        (",".join(["1"] * 1100), "an expression has at most 2,000 parts", 0),
        ("'" + "x" * 17000 + "'", "an expression has at most 16,384 characters", 0),
    ],
)
def test_bad_yaql_does_not_compile(expression: str, message: str, position: int):
    with pytest.raises(ExpressionError) as caught:
        compile_template(f"<% {expression} %>", lang="orquesta")

    assert (caught.value.message, caught.value.position) == (message, position)


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("abs(8).value", "'the value.value' is not defined: the value is a number"),
        ("ctx(nope)", "nope"),
        ("ctx().nope", "'ctx().nope' is not defined"),
        ("[].first()", "an empty list has neither first nor last"),
    ],
)
def test_what_is_missing_in_yaql_is_named(expression: str, message: str):
    with pytest.raises(UndefinedName) as caught:
        value(expression)

    assert caught.value.message == message


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("[1, 2].single()", "single: the list has 2 elements"),
        ("1.keys()", "a number is not an object"),
        ("{1 => 2}", "the key of an object is text, not a number"),
        ("[1].toDict($)", "the key of an object is text, not a number"),
        ("[1].slice(0)", "slice: the size is at least 1"),
        ("'{0.x}'.format(1)", "format: only {0}, {} and {name} are available"),
        ("'{1}'.format(1)", "format: nothing to put in {1}"),
        ("'{y}'.format(1)", "format: nothing to put in {y}"),
        ("int([])", "int: [] is not a number"),
        ("a * 3", "* needs two numbers, not text and a number"),
        ("[a, 1].orderBy($)", "text and numbers cannot be sorted together"),
        ("[1, a].select($.x)", "'the value.x' is not defined: the value is a number"),
        ("abc =~ '(?=x)'", "not a pattern: invalid perl operator: (?="),
        ("1 / 0", "division by zero"),
        ("ctx(d).containsKey([1])", "unhashable type: 'list'"),
        ("timed_out()", "timed_out() cannot be used here"),
    ],
)
def test_a_yaql_error_says_what_is_wrong(expression: str, message: str):
    with pytest.raises(ExpressionError) as caught:
        value(expression)

    assert caught.value.message.startswith(message)


@pytest.mark.parametrize(
    ("expression", "required", "optional"),
    [
        ("ctx(a).b + ctx('c') + ctx().d[0]", {("ctx", "a", "b"), ("ctx", "c"), ("ctx", "d", 0)}, set()),
        ("ctx().get(x)", set(), {("ctx", "x")}),
        ("ctx(vms).values().where($.size > ctx(limit))", {("ctx", "vms"), ("ctx", "limit")}, set()),
        ("coalesce(ctx(a), ctx(b))", set(), {("ctx", "a"), ("ctx", "b")}),
        ("switch(ctx(a) => ctx(b)) in {k => ctx(c)}", {("ctx", "a"), ("ctx", "b"), ("ctx", "c")}, set()),
        ("task(t1).result.x", set(), set()),
    ],
)
def test_yaql_knows_what_it_reads(expression: str, required: set, optional: set):
    template = compile_template(f"<% {expression} %>", lang="orquesta")

    assert (template.free_names, template.optional_names) == (required, optional)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<% ctx(s) %>", "Hello World"),
        ("<% ctx(s) %>!", "Hello World!"),
        ("a<% 1 %>b<% 2 %>", "a1b2"),
        ("<% a %><% b %>", "ab"),
    ],
)
def test_text_around_expressions_is_kept(text: str, expected: str):
    assert compile_template(text, lang="orquesta", text="python").evaluate(scope()) == expected


def test_a_text_that_grows_too_long_is_refused():
    with pytest.raises(ExpressionError, match="format: the text grows beyond"):
        compile_template("<% '{0}{0}'.format(ctx(long)) %>", lang="orquesta").evaluate(
            Scope({}, {"ctx": lambda _: "x" * 3_000_000})
        )
