"""Templates: what they give, what they read, what they refuse."""

import inspect
import sys
from collections.abc import Sequence

import pytest

from services.engine.expressions import (
    ExpressionError,
    NeedsWorker,
    Scope,
    SecretRef,
    SecretText,
    UndefinedName,
    compile_template,
    extract_secrets,
    insert_secrets,
)

VARIABLES = {
    "a": {"b": [1, 2, 3]},
    "name": "ann",
    "n": 3,
    "none": None,
    "yes": True,
    "half": 0.5,
    "rows": [{"id": 1, "ok": True, "tags": ["x"]}, {"id": 2, "ok": False}, {"id": 3, "ok": True}],
    "empty": [],
    "items": "the key",
}


def ctx(name: str | None = None) -> object:
    if name is None:
        return VARIABLES
    if name not in VARIABLES:
        raise LookupError(f"ctx has no variable {name!r}")
    return VARIABLES[name]


def scope(**answers: object) -> Scope:
    functions = {
        "ctx": ctx,
        "result": lambda: {"body": {"rows": [{"id": 7}]}},
        "succeeded": lambda: True,
        "failed": lambda: False,
        "now": lambda: "2026-01-17T12:00:00Z",
        "item": lambda key=None: {"k": 1} if key is None else {"k": 1}[key],
    }
    return Scope({"vars": VARIABLES, "n": 3, "parameters": {"url": "http://x"}}, functions, answers)


def value(source: object, **options: object) -> object:
    return compile_template(source, **options).evaluate(scope())


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("plain", "plain"),
        ("", ""),
        (5, 5),
        (None, None),
        ("{ single }", "{ single }"),
        ("{{ vars.a.b }}", [1, 2, 3]),
        ("{{ vars.a.b }}\n", [1, 2, 3]),
        ("{{ vars['a']['b'][0] }}", 1),
        ("{{ vars.a.b[-1] }}", 3),
        ("{{ vars.a.b[vars.a.b[0]] }}", 2),
        ("{{ vars.a.b[1:] }}", [2, 3]),
        ("{{ vars.name[:2] }}", "an"),
        ("{{ vars.items }}", "the key"),
        ("{{ vars.n }}", 3),
        ("{{ 'text' }}", "text"),
        ("{{ true }}{{ none }}", "true"),
        ("{{ null }}", None),
        ("n is {{ vars.n }}", "n is 3"),
        ("{{ vars.n }}{{ vars.n }}", "33"),
        ("<{{ vars.none }}|{{ vars.yes }}|{{ vars.a }}|{{ vars.half }}>", '<|true|{"b":[1,2,3]}|0.5>'),
        ("{{ vars.n + 1 }}", 4),
        ("{{ 7 - 2 * 3 }}", 1),
        ("{{ 7 / 2 }}", 3.5),
        ("{{ 7 // 2 }}", 3),
        ("{{ 7 % 2 }}", 1),
        ("{{ 2 ** 10 }}", 1024),
        ("{{ -vars.n }}", -3),
        ("{{ +vars.n }}", 3),
        ("{{ 'a' + 'b' }}", "ab"),
        ("{{ [1] + [2] }}", [1, 2]),
        ("{{ 'n=' ~ vars.n ~ vars.a.b }}", "n=3[1,2,3]"),
        ("{{ 1 < vars.n <= 3 }}", True),
        ("{{ 1 < vars.n < 3 }}", False),
        ("{{ 'a' < 'b' }}", True),
        ("{{ vars.a == {'b': [1, 2, 3]} }}", True),
        ("{{ vars.a != {'b': [1, 2, 4]} }}", True),
        ("{{ 2 in vars.a.b }}", True),
        ("{{ 'b' in vars.a and 'nn' in vars.name }}", True),
        ("{{ 9 not in vars.a.b }}", True),
        ("{{ not vars.empty }}", True),
        ("{{ vars.empty or 'nothing' }}", "nothing"),
        ("{{ vars.none and vars.nope }}", None),
        ("{{ 'big' if vars.n > 2 else 'small' }}", "big"),
        ("{{ 'big' if vars.n > 5 }}", None),
        ("{{ [vars.n, (1, 2)] }}", [3, [1, 2]]),
        ("{{ {'k': vars.n} }}", {"k": 3}),
        ("{{ vars.missing | default('d') }}", "d"),
        ("{{ vars.missing.deeper | default(vars.n) }}", 3),
        ("{{ vars.empty | default('d', true) }}", "d"),
        ("{{ default(vars.missing, 1) }}", 1),
        ("{{ vars.missing is defined }}", False),
        ("{{ vars.missing is undefined }}", True),
        ("{{ vars.n is defined }}", True),
        ("{{ ctx().n }}", 3),
        ("{{ ctx('n') }}", 3),
        ("{{ ctx(n) }}", 3),
        ("{{ ctx('a').b[1] }}", 2),
        ("{{ result().body.rows[0].id }}", 7),
        ("{{ item('k') + item().k }}", 2),
        ("{{ succeeded() and not failed() }}", True),
        ("{{ now() }}", "2026-01-17T12:00:00Z"),
        ("{% raw %}{{ kept }}{% endraw %}", "{{ kept }}"),
        ({"k {{ vars.n }}": ["{{ vars.n }}", "lit"]}, {"k 3": [3, "lit"]}),
        ({"a": {"b": "lit"}, "c": [1]}, {"a": {"b": "lit"}, "c": [1]}),
    ],
)
def test_a_template_gives_its_value(source: object, expected: object):
    assert value(source) == expected


def test_the_orquesta_profile_writes_values_as_python_does():
    assert value("{{ vars.none }} {{ vars.yes }} {{ vars.rows[1] }}", text="python") == (
        "None True {'id': 2, 'ok': False}"
    )


def test_a_value_is_never_evaluated_again():
    found = compile_template("{{ vars.x }}").evaluate(Scope({"vars": {"x": "{{ vars.secret }}"}}))

    assert found == "{{ vars.secret }}"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{{ vars.missing }}", "'vars.missing' is not defined"),
        ("{{ vars.a.x.y }}", "'vars.a.x' is not defined"),
        ("{{ vars.name.first }}", "'vars.name.first' is not defined: vars.name is text"),
        ("{{ nowhere.x }}", "'nowhere' is not defined"),
        ("{{ nowhere }}", "'nowhere' is not defined"),
        ("{{ ctx('nope') }}", "ctx has no variable 'nope'"),
        ("{{ result().nope }}", "'result().nope' is not defined"),
        ("{{ vars.a.b[9] }}", "'vars.a.b.9' is not defined: vars.a.b is a list"),
        ("{{ vars.a[vars.name] }}", "a (an object) has no 'ann'"),
    ],
)
def test_what_is_not_defined_is_named(source: str, message: str):
    with pytest.raises(UndefinedName) as caught:
        value(source)

    assert caught.value.message == message
    assert caught.value.expression == source


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{{ 1 / 0 }}", "division by zero"),
        ("{{ 'a' + 1 }}", "+ needs two numbers, not text and a number"),
        ("{{ 'a' * 3 }}", "* needs two numbers, not text and a number"),
        ("{{ vars.rows < 1 }}", "< needs two numbers, not a list and a number"),
        ("{{ timed_out() }}", "timed_out() cannot be used here"),
        ("{{ {1: 2} }}", "the key of an object is text, not a number"),
        ("{{ 10 ** 30 }}", "the result is an integer beyond 64 bit"),
        ("{{ 1e308 * 10 }}", "the result inf is not a JSON number"),
        ("{{ (0 - 8) ** 0.5 }}", "a negative number has no such root"),
        ("{{ 1 in 2 }}", "in: nothing can be in a number"),
        ("{{ 1 in 'a' }}", "in: a number cannot be part of a text"),
    ],
)
def test_an_evaluation_error_says_what_is_wrong(source: str, message: str):
    with pytest.raises(ExpressionError) as caught:
        value(source)

    assert caught.value.message == message


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{{ 1 + }}", "unexpected 'end of print statement'"),
        ("{{ foo() }}", "there is no function foo()"),
        ("{{ resutl() }}", "there is no function resutl(); did you mean 'result'?"),
        ("{{ vars.x | lenght }}", "there is no filter 'lenght'; did you mean 'length'?"),
        ("{{ vars.x is strin }}", "there is no test 'strin'; did you mean 'string'?"),
        ("{{ secrets.TOKEN }}", "secrets can only be used in the input of an action"),
        ("{% include 'x' %}", "include is not available in a workflow"),
        (
            "{% for x in y %}{{ task(x) }}{% endfor %}",
            "task() takes only constants in a text with statements or unusual filters",
        ),
        ("{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}", "the expression is nested too deeply"),
        ("{{ " + "+".join(["1"] * 200) + " }}", "an expression is nested at most 100 levels deep"),
        ("{{ [" + ",".join(["1"] * 2100) + "] }}", "an expression has at most 2,000 parts"),
        ("{{ '" + "x" * 17000 + "' }}", "an expression has at most 16,384 characters"),
    ],
)
def test_a_bad_expression_does_not_compile(source: str, message: str):
    with pytest.raises(ExpressionError) as caught:
        compile_template(source)

    assert caught.value.message == message


def test_all_problems_of_a_value_are_reported_with_their_places():
    with pytest.raises(ExpressionError) as caught:
        compile_template({"a": "{{ 1 + }}", "b": ["ok", "text {{ x }} {{ y | }}"]})

    assert [(p.path, p.position) for p in caught.value.problems] == [(("a",), 0), (("b", 1), 13)]


@pytest.mark.parametrize(
    ("source", "required", "optional"),
    [
        ("{{ vars.a.b }}", {("vars", "a", "b")}, set()),
        ("{{ ctx().x.y + ctx('z') + ctx(w) }}", {("ctx", "x", "y"), ("ctx", "z"), ("ctx", "w")}, set()),
        ("{{ ctx() }}", {("ctx",)}, set()),
        ("{{ ctx()['a.b'].c }}", {("ctx", "a.b", "c")}, set()),
        ("{{ vars.x | default(vars.y) }}", {("vars", "y")}, {("vars", "x")}),
        ("{{ vars.x if vars.x is defined else 1 }}", set(), {("vars", "x")}),
        ("{{ ctx().get('x') }}", set(), {("ctx", "x")}),
        ("{{ vars.rows[vars.i].name }}", {("vars", "rows"), ("vars", "i")}, set()),
        ("{{ vars.a | join(parameters.b) }}", {("vars", "a"), ("parameters", "b")}, set()),
        ("{% for x in vars.rows %}{{ x.y }}{{ ctx('z') }}{% endfor %}", {("vars", "rows"), ("ctx", "z")}, set()),
        ("{% if vars.x %}{{ vars.y }}{% endif %}", set(), {("vars", "x"), ("vars", "y")}),
        ({"{{ k }}": "{{ v }}"}, {("k",), ("v",)}, set()),
    ],
)
def test_a_template_knows_what_it_reads(source: object, required: set, optional: set):
    template = compile_template(source)

    assert (template.free_names, template.optional_names) == (required, optional)


def test_a_template_knows_its_functions_and_their_constant_arguments():
    template = compile_template("{{ task('load').result and succeeded() and task(vars.x) }}")

    assert template.functions == {"task", "succeeded"}
    assert ("task", ("load",)) in template.calls


def test_a_literal_is_known_as_such():
    template = compile_template({"a": ["b", {"c": 1}]})

    assert (template.is_literal, template.safe) == (True, True)


def test_everything_that_needs_the_worker_is_asked_for_at_once():
    template = compile_template(
        {"a": "{% for x in vars.a.b %}{{ x }}{% endfor %}", "b": ["{{ vars.name.center(9) }}", "{{ vars.n }}"]}
    )

    with pytest.raises(NeedsWorker) as caught:
        template.evaluate(scope())

    assert [request["names"] for request in caught.value.requests] == [
        {"vars": {"a": {"b": [1, 2, 3]}}},
        {"vars": {"name": "ann"}},
    ]


def test_the_answers_of_the_worker_are_used():
    template = compile_template({"a": "{% for x in vars.a.b %}{{ x }}{% endfor %}", "b": "{{ vars.n }}"})
    with pytest.raises(NeedsWorker) as caught:
        template.evaluate(scope())
    (request,) = caught.value.requests

    found = template.evaluate(scope(**{request["id"]: {"value": "123"}}))

    assert found == {"a": "123", "b": 3}


def test_an_error_of_the_worker_is_an_expression_error():
    template = compile_template("{{ vars.name.center(9) }}")
    with pytest.raises(NeedsWorker) as caught:
        template.evaluate(scope())
    (request,) = caught.value.requests

    with pytest.raises(ExpressionError, match="took too long"):
        template.evaluate(scope(**{request["id"]: {"error": "took too long"}}))


def test_secrets_stay_references():
    rendered = value(
        {
            "headers": {"Authorization": "Bearer {{ secrets.TOKEN }}"},
            "key": "{{ secrets['K'] }}",
            "n": ["{{ 'x' ~ secrets.A }}"],
        },
        secrets=True,
    )

    assert rendered == {
        "headers": {"Authorization": SecretText(("Bearer ", SecretRef("TOKEN")))},
        "key": SecretText((SecretRef("K"),)),
        "n": [SecretText(("x", SecretRef("A")))],
    }


def test_secrets_are_taken_out_of_a_value_and_put_back():
    rendered = value({"a": "Bearer {{ secrets.T }}", "list": ["{{ secrets.U }}", "{{ vars.n }}"]}, secrets=True)

    masked, places = extract_secrets(rendered)

    assert masked == {"a": "Bearer [secret T]", "list": ["[secret U]", 3]}
    assert insert_secrets(masked, places, {"T": "tt", "U": "uu"}.__getitem__) == {"a": "Bearer tt", "list": ["uu", 3]}


@pytest.mark.parametrize(
    "source",
    [
        "{{ secrets.A | upper }}",
        "{{ secrets.A == 'x' }}",
        "{{ secrets }}",
        "{{ secrets[vars.name] }}",
        "{% if secrets.A %}x{% endif %}",
        "{{ secrets.A[0] }}",
        "{{ [secrets.A] }}",
        "{{ result(secrets.A) }}",
    ],
)
def test_nothing_is_computed_from_a_secret(source: str):
    with pytest.raises(ExpressionError):
        compile_template(source, secrets=True)


def test_compiling_runs_no_part_of_a_template(monkeypatch: pytest.MonkeyPatch):
    def run(*args: object, **kwargs: object) -> None:
        raise AssertionError("Jinja generated code in this process")

    monkeypatch.setattr("jinja2.compiler.CodeGenerator.__init__", run)

    assert compile_template("{% set x = 'a' | center(10 ** 9) %}{{ x }}{{ 'b'.ljust(5) }}").safe is False


def test_names_that_a_text_sets_itself_are_not_read_from_outside():
    template = compile_template("{% set x = vars.y %}{% macro m(a) %}{{ a }}{{ x }}{% endmacro %}{{ m(1) }}{{ loop }}")

    assert template.free_names == {("vars", "y"), ("loop",)}


@pytest.mark.parametrize(
    "source",
    [
        "{% filter upper %}a{% endfilter %}",
        "{{ vars.rows[0](1) }}",
        "{{ vars.name | center(5) }}",
        "{% if vars.x.y and vars %}{{ zip(a=1) }}{{ task('a') }}{% endif %}",
        "{{ zip(*vars.rows) }}",
        "{{ vars.n | default(1, vars.yes) }}",
        "{{ vars.name | map('center', 3) }}",
        "{% for k in vars.rows %}{{ k['id'] }}{{ k.id | default('d') }}{% endfor %}{{ vars.rows[0]['id'] }}",
        "{% call(x) m() %}{{ x }}{% endcall %}{% macro m() %}{{ caller(1) }}{% endmacro %}",
        "{% set x = vars.n is defined %}{{ json('1') }}{{ length('a') }}{{ item(vars.n) }}{{ ctx(name='x') }}",
    ],
)
def test_what_only_jinja_can_do_is_left_to_the_worker(source: str):
    assert compile_template(source).safe is False


def test_a_secret_can_be_put_together_with_plus_and_tilde():
    rendered = value(
        {"a": "{{ 'x' + secrets.A }}", "b": "{{ secrets.A ~ vars.n ~ 'y' }}", "c": "{{ 'a' + 'b' }}"}, secrets=True
    )

    assert rendered == {
        "a": SecretText(("x", SecretRef("A"))),
        "b": SecretText((SecretRef("A"), "3", "y")),
        "c": "ab",
    }
    assert str(rendered["b"]) == "[secret A]3y"


@pytest.mark.parametrize(
    "source",
    ["{{ vars.x ~ secrets.A | upper }}", "{{ secrets.A + 1 if true else 2 }}", "{{ (secrets.A ~ 'x') | length }}"],
)
def test_a_secret_inside_a_computation_is_refused(source: str):
    with pytest.raises(ExpressionError):
        compile_template(source, secrets=True)


def test_an_answer_that_is_missing_is_asked_for_again():
    template = compile_template("{{ vars.name.center(9) }}")

    with pytest.raises(NeedsWorker, match="1 expressions need the worker"):
        template.evaluate(scope(other={"value": 1}))


def test_calls_with_lists_are_functions_but_no_constants():
    template = compile_template("{{ task(['a']) and task({'b': 1}) and item(vars.k) }}")

    assert (template.functions, template.calls) == ({"task", "item"}, frozenset())


def test_values_nested_too_deeply_to_walk_are_refused():
    names = {"vars": {"a": {}, "b": {}}}
    inner, other = names["vars"]["a"], names["vars"]["b"]
    for _ in range(5_000):
        inner["k"], other["k"] = {}, {}
        inner, other = inner["k"], other["k"]

    with pytest.raises(ExpressionError, match="nested too deeply"):
        compile_template("{{ vars.a == vars.b }}").evaluate(Scope(names))


def deep_inside(frames: int, source: str) -> object:
    """Evaluate with little of the stack left."""
    return value(source, lang="orquesta") if frames == 0 else deep_inside(frames - 1, source)


@pytest.mark.parametrize(
    "source", ["{{ " + "(" * 40 + "1" + ")" * 40 + " }}", "<% " + "(" * 45 + "1" + ")" * 45 + " %>"]
)
def test_a_stack_that_is_used_up_is_an_error_of_the_expression(source: str):
    depth = sys.getrecursionlimit() - len(inspect.stack()) - 60

    with pytest.raises(ExpressionError, match="nested too deeply"):
        deep_inside(depth, source)


def test_evaluating_with_a_stack_that_is_used_up_is_an_error_too():
    template = compile_template("{{ " + "+".join(["1"] * 90) + " }}")

    def down(frames: int) -> object:
        return template.evaluate(scope()) if frames == 0 else down(frames - 1)

    with pytest.raises(ExpressionError, match="nested too deeply"):
        down(sys.getrecursionlimit() - len(inspect.stack()) - 40)


def test_an_error_keeps_the_expression_it_was_found_in():
    error = ExpressionError("broken", expression="{{ x }}")

    assert error.within("{{ y }}") is error


def test_half_characters_cannot_be_written():
    with pytest.raises(ExpressionError, match="cannot be written as JSON"):
        compile_template("{{ vars.a | tojson }}").evaluate(Scope({"vars": {"a": ["\ud800"]}}))


@pytest.mark.parametrize("source", ["{% if x %}{{ foo() }}{% endif %}", "{% if x %}{{ y | foo }}{% endif %}"])
def test_unknown_functions_and_filters_are_found_in_texts_for_the_worker(source: str):
    with pytest.raises(ExpressionError, match="there is no"):
        compile_template(source)


def test_the_whole_of_a_name_is_sent_where_more_than_its_keys_are_read():
    template = compile_template("{% for k in vars %}{{ vars.a }}{{ vars[0] }}{% endfor %}")

    with pytest.raises(NeedsWorker) as caught:
        template.evaluate(Scope({"vars": {"a": 1, "b": 2}}))

    assert caught.value.requests[0]["names"] == {"vars": {"a": 1, "b": 2}}


def test_lazy_lists_are_sent_too():
    class Rows(Sequence):
        def __len__(self) -> int:
            return 2

        def __getitem__(self, index: int) -> int:
            return [1, 2][index]

    with pytest.raises(NeedsWorker) as caught:
        compile_template("{% for r in rows %}{{ r }}{% endfor %}").evaluate(Scope({"rows": Rows()}))

    assert caught.value.requests[0]["names"] == {"rows": [1, 2]}
    with pytest.raises(ExpressionError, match="is not JSON"):
        compile_template("{% for r in rows %}{{ r }}{% endfor %}").evaluate(Scope({"rows": {1, 2}}))


def test_an_index_of_several_parts_is_left_to_the_worker():
    assert compile_template("{{ vars.rows[1:2, 3] }}").safe is False


def test_a_secret_is_a_value_and_not_a_key():
    with pytest.raises(ExpressionError, match="secrets can only be used"):
        compile_template({"headers": {"{{ secrets.TOKEN }}": "x"}}, secrets=True)

    assert compile_template({"{{ vars.name }}": "{{ secrets.TOKEN }}"}, secrets=True).secrets == {"TOKEN"}
