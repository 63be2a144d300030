"""The worker process: what it evaluates, what it survives, and that hostile input ends as a clear error."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from services.adapters.expression_worker import ExpressionWorker
from services.engine.expressions import ExpressionError, NeedsWorker, Scope, compile_template
from services.errors import Overloaded, Unavailable

VARIABLES = {
    "numbers": [3, 1, 2],
    "name": "ann",
    "rows": [{"k": 1, "n": "a"}, {"k": 2, "n": "b"}, {"k": 1, "n": "c"}],
    "o": {"items": "the key", "none": None},
    "big": "x" * 100_000,
    "list": list(range(5_000)),
}


@pytest.fixture
async def worker() -> AsyncIterator[ExpressionWorker]:
    worker = ExpressionWorker(deadline_s=1.0)
    yield worker
    await worker.stop()


def scope() -> Scope:
    def ctx(name: str | None = None) -> Any:
        return VARIABLES if name is None else VARIABLES[name]

    functions = {"ctx": ctx, "now": lambda: "NOW", "item": lambda key=None: {"m": 1} if key is None else {"m": 1}[key]}
    return Scope({"vars": VARIABLES}, functions)


async def value(worker: ExpressionWorker, source: Any, **options: Any) -> Any:
    """The value, by way of the worker where the server does not evaluate it itself."""
    template, seen = compile_template(source, **options), scope()
    try:
        return template.evaluate(seen)
    except NeedsWorker as need:
        seen.answers = await worker.evaluate(need.requests)
        return template.evaluate(seen)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("{% for x in vars.numbers %}{{ x }}{% if not loop.last %}, {% endif %}{% endfor %}", "3, 1, 2"),
        ("{{ vars.name.center(7) }}", "  ann  "),
        ("{{- vars.name.center(5) -}}", " ann "),
        ("[{{ vars.name | center(5) }}]", "[ ann ]"),
        (
            "{{ vars.rows | groupby('k') }}",
            [[1, [VARIABLES["rows"][0], VARIABLES["rows"][2]]], [2, [VARIABLES["rows"][1]]]],
        ),
        ("{{ vars.numbers | batch(2) | list }}", [[3, 1], [2]]),
        ("{{ vars.rows | map(attribute='n') | map('center', 3) }}", [" a ", " b ", " c "]),
        ("{% set total = vars.numbers | sum %}{{ total + 1 }}", "7"),
        ("{% for k, v in vars.o.items() if v is none %}{{ k }}{% endfor %}", None),
        ("{% macro twice(x) %}{{ x }}{{ x }}{% endmacro %}{{ twice('a') }}", "aa"),
        ("{% for x in vars.numbers | sort %}{{ ctx('name') }}{{ now() }}{{ item('m') }}{{ x }}{% endfor %}", None),
        ("{% for key in ['name'] %}{{ ctx(key) }}{{ item(key) | default('-') }}{% endfor %}", "ann-"),
        ("{{ vars.nope | default('none') | center(6) }}", " none "),
        ("{{ vars.nope.deeper | default('none') | center(6) }}", " none "),
        ("{{ vars.name | e }}", "ann"),
        ("{% if true %}{{ [none, true, {'a': 1}] }}|{{ none }}{% endif %}", '[null,true,{"a":1}]|'),
    ],
)
async def test_the_worker_gives_what_jinja_gives(worker: ExpressionWorker, source: str, expected: Any):
    if expected is None:
        expected = {"{% for k": None, "{% for x": "annNOW11annNOW12annNOW13"}[source[:8]]
    if expected is None:
        with pytest.raises(ExpressionError):
            await value(worker, source)
        return

    assert await value(worker, source) == expected


async def test_the_orquesta_profile_reaches_the_worker(worker: ExpressionWorker):
    assert (
        await value(worker, "{% if true %}{{ [none, 'x'] }}{{ none }}{% endif %}", text="python") == "[None, 'x']None"
    )


def nested_loops(depth: int) -> str:
    return "{% for x in range(9999) %}" * depth + "{% endfor %}" * depth


HOSTILE = [
    # the 27 of the notes: escapes, growth by operators, growth by filters and methods, time
    "{{ ''.__class__ }}",
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ vars.name.__init__.__globals__ }}",
    "{{ '{0.__class__}'.format(1) }}",
    "{{ '%s' | format(''.__class__) }}",
    "{{ vars | attr('__class__') }}",
    "{{ vars.rows | map(attribute='__class__') | list }}",
    "{{ vars.numbers.append(1) }}",
    "{{ vars.o.update({'x': 1}) }}",
    "{{ range(100000000) }}",
    "{% macro m(n) %}{{ m(n) }}{% endmacro %}{{ m(1) }}",
    "{{ " + "(" * 500 + "1" + ")" * 500 + " }}",
    "{{ 'a' * 10 ** 9 }}",
    "{{ [0] * 10 ** 9 }}",
    "{{ '%1000000000d' % 1 }}",
    "{{ '{:>1000000000}'.format(1) }}",
    "{{ 'a' | center(1000000000) }}",
    "{{ 'a'.ljust(1000000000) }}",
    "{{ 'a\nb' | indent(1000000000) }}",
    "{{ 'aaaaaaaaaa'" + ".replace('a', 'aaaaaaaaaa')" * 9 + " }}",
    "{% set ns = namespace(x='ab') %}{% for i in range(99) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}{{ ns.x }}",
    nested_loops(3),
    nested_loops(5),
    "{{ ([[0] * 9999] * 9999) | tojson }}",
    "{{ 9 ** 9 ** 9 ** 9 }}",
    "{{ lipsum(100000) }}",
    "{{ cycler('a').__init__.__globals__.os.system('id') }}",
    # 30 of our own
    "{{ joiner().__init__ }}",
    "{{ dict(a=1).__class__ }}",
    "{{ self.__init__ }}",
    "{{ vars.big" + ".replace('x', 'xx')" * 20 + " }}",
    "{{ vars.big" + " ~ vars.big" * 90 + " }}",
    "{{ (vars.big | list)" + " | sort" * 90 + " }}",
    "{{ vars.list" + " | reverse" * 90 + " | map('string') | join | length > vars.nope }}",
    "{{ [vars.list, vars.list, vars.list] | map('sort') | map('sort') | map('tojson') | map('fromjson') | sum | fail }}",
    "{{ vars.big | join(vars.big) }}",
    "{{ 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!' | regex_search('(?=(a+)+$)') }}",
    "{{ 'x' | regex_search('(((a{1,100}){1,100}){1,100}){1,100}') }}",
    "{{ 'x' | regex_search('[') }}",
    "{{ 1 | round(10 ** 9) }}",
    "{{ 10 ** 64 ** 2 }}",
    "{{ " + "9 ** 9 * " * 90 + "1 }}",
    "{{ " + "-" * 900 + "1 }}",
    "{{ " + "not " * 900 + "1 }}",
    "{{ vars" + ".a" * 3000 + " }}",
    "{{ " + "[" * 200 + "]" * 200 + " }}",
    "{{ '" + "9" * 4000 + "' | int ** 9 }}",
    "{% for a in vars.list %}{% for b in vars.list %}{{ a ~ b ~ vars.big }}{% endfor %}{% endfor %}",
    "{% set x %}{% for a in range(9999) %}{{ vars.big }}{% endfor %}{% endset %}{{ x }}",
    "{% for a in range(9999) recursive %}{{ loop(range(9999)) }}{% endfor %}",
    "{% include '/etc/passwd' %}",
    "{% import 'os' as os %}",
    "{% extends 'x' %}",
    "{{ caller() }}",
    "{{ loop.__class__ }}",
    "{{ '{x.__class__}'.format_map({'x': 1}) }}",
    "{{ vars.numbers.sort() or vars.numbers.__reduce__() }}",
    "{% filter center(1000000000) %}a{% endfilter %}",
    "{{ ['a'] | map('center', 1000000000) | list }}",
    "{{ vars.rows | groupby('__class__') }}",
    "{{ 'a' | wordwrap(1, wrapstring=vars.big) | center(900000000) }}",
]


def test_there_are_enough_hostile_inputs():
    assert len(HOSTILE) >= 57


@pytest.mark.parametrize("source", HOSTILE, ids=range(len(HOSTILE)))
async def test_hostile_input_ends_as_a_clear_error(worker: ExpressionWorker, source: str):
    with pytest.raises(ExpressionError) as caught:
        await value(worker, source)

    assert caught.value.message
    assert await value(worker, "{{ 'still'.center(7) }}") == " still "


async def test_a_killed_worker_is_replaced(worker: ExpressionWorker):
    await value(worker, "{{ 'a'.center(3) }}")
    before = worker.process_ids

    with pytest.raises(ExpressionError, match="took longer than 1 s"):
        await value(worker, nested_loops(4))

    assert await value(worker, "{{ 'a'.center(3) }}") == " a "
    assert set(worker.process_ids).isdisjoint(before)


async def test_a_worker_that_died_while_idle_harms_nobody(worker: ExpressionWorker):
    await value(worker, "{{ 'a'.center(3) }}")
    (child,) = worker._idle
    child.process.kill()
    await child.process.wait()

    assert await value(worker, "{{ 'a'.center(3) }}") == " a "


async def test_a_cancelled_request_leaves_no_answer_behind(worker: ExpressionWorker):
    async with asyncio.TaskGroup() as tasks:
        started = tasks.create_task(value(worker, nested_loops(4)))
        while not worker.process_ids:
            await asyncio.sleep(0)
        started.cancel()

    assert await value(worker, "{{ 'b'.center(3) }}") == " b "


async def test_requests_of_several_executions_are_answered_side_by_side(worker: ExpressionWorker):
    async with asyncio.TaskGroup() as tasks:
        found = [tasks.create_task(value(worker, f"{{{{ '{n}'.center(3) }}}}")) for n in range(9)]

    assert [task.result() for task in found] == [f" {n} " for n in range(9)]
    assert len(worker.process_ids) <= 2


async def test_a_worker_ends_when_it_is_idle():
    worker = ExpressionWorker(idle_s=0.0)
    assert await value(worker, "{{ 'a'.center(3) }}") == " a "
    (child,) = worker._children

    await child.ended()

    assert worker.process_ids == []
    await worker.stop()


async def test_a_stopped_worker_refuses_work():
    worker = ExpressionWorker()
    await worker.stop()

    with pytest.raises(Unavailable):
        await value(worker, "{{ 'a'.center(3) }}")


async def test_stopping_ends_requests_in_flight():
    worker = ExpressionWorker(deadline_s=30)

    async def expectation() -> None:
        with pytest.raises(Unavailable):
            await value(worker, nested_loops(5))

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(expectation())
        while not any(child.asked for child in worker._children):
            await asyncio.sleep(0)
        await worker.stop()

    assert worker.process_ids == []


async def test_too_many_waiting_requests_are_refused():
    worker = ExpressionWorker(max_waiting=0)

    with pytest.raises(Overloaded):
        await value(worker, "{{ 'a'.center(3) }}")

    await worker.stop()


async def test_too_much_data_is_not_sent(worker: ExpressionWorker):
    request = {"id": "1", "names": {"x": "y" * 26_000_000}}

    answers = await worker.evaluate([request])

    assert answers == {"1": {"error": "the expression reads too much data"}}
