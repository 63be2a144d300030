"""Orquesta documents: what is read, what is compiled away, and everything that is reported."""

from typing import Any

import pytest

from services.engine.compile import Compiled, compile_definition
from services.engine.dialects.orquesta_inline import inline_parameters, split_action
from services.engine.graph import Command, Graph, ItemPolicy, Kind, Need
from services.engine.statuses import Outcome


def compiled(tasks: Any, **more: Any) -> Compiled:
    return compile_definition({"version": 1.0, "tasks": tasks, **more})


def graph_of(tasks: Any, **more: Any) -> Graph:
    graph = compiled(tasks, **more).graph
    assert graph is not None
    return graph


def problems(tasks: Any, **more: Any) -> set[tuple[str, str]]:
    return {(problem.code, problem.path) for problem in compiled(tasks, **more).errors}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a=1", 1),
        ("a=-2.5", -2.5),
        ("a=TRUE", True),
        ("a=null", None),
        ('a="3"', "3"),
        ("a='true'", "true"),
        ('a=""', ""),
        ("a=[1, 2]", [1, 2]),
        ('a=[1,"x"]', '[1,"x"]'),
        ('a={{ ctx("x") }}', '{{ ctx("x") }}'),
        ("a=<% ctx(x) %>", "<% ctx(x) %>"),
        ("""a='{"k": 1}'""", {"k": 1}),
    ],
)
def test_an_inline_value_gets_its_type(text: str, value: Any):
    parameters = inline_parameters(text)

    assert parameters == [("a", value)]


def test_anything_may_stand_between_inline_parameters():
    parameters = inline_parameters("x=1,y=2; z=<% ctx().z %> and the rest")

    assert parameters == [("x", 1), ("y", 2), ("z", "<% ctx().z %>")]


def test_a_text_without_parameters_is_an_action_as_a_whole():
    assert split_action("core.noop") == ("core.noop", None)


def test_inline_parameters_win_over_the_input():
    graph = graph_of({"a": {"action": "core.echo message='x'", "input": {"message": "y", "other": 1}}})

    assert graph.nodes["a"].input.source == {"message": "x"}


def test_a_task_without_action_is_passed():
    graph = graph_of({"a": {"next": [{"do": "b"}]}, "b": {}})

    assert [node.kind for node in graph.nodes.values()] == [Kind.PASS, Kind.PASS]


def test_an_inquiry_waits_as_many_minutes_as_it_says():
    graph = graph_of({"a": {"action": "core.ask", "input": {"ttl": 2}}})

    assert (graph.nodes["a"].kind, graph.nodes["a"].timeout.source) == (Kind.INQUIRY, 120)


def test_the_common_conditions_need_no_evaluation():
    graph = graph_of({"a": {"next": [{"when": "<% failed()  %>", "do": "b"}]}, "b": {}})

    assert graph.nodes["a"].next[0].when == frozenset({Outcome.FAILED, Outcome.TIMED_OUT})


def test_do_retry_becomes_the_retry_of_the_task():
    graph = graph_of(
        {"a": {"action": "x.y", "next": [{"when": "<% failed() %>", "do": "retry"}, {"do": "b"}]}, "b": {}}
    )

    task = graph.nodes["a"]
    assert (task.retry.count.source, task.retry.when) == (3, frozenset({Outcome.FAILED, Outcome.TIMED_OUT}))
    assert [step.when for step in task.next] == [frozenset(), None]


def test_commands_are_targets():
    graph = graph_of({"a": {"next": [{"do": "noop, continue"}, {"do": ["fail"]}]}})

    assert [step.do for step in graph.nodes["a"].next] == [(Command.NOOP, Command.END), (Command.FAIL,)]


def test_a_task_with_two_inbound_transitions_is_split():
    graph = graph_of({"a": {"next": [{"do": "c"}]}, "b": {"next": [{"do": "c"}]}, "c": {}})

    assert graph.nodes["c"].join is Need.EACH


def test_a_task_in_a_cycle_is_not_split():
    graph = graph_of({"a": {"next": [{"do": "b"}]}, "b": {"next": [{"do": "b"}]}})

    assert graph.nodes["b"].join is None


def test_tasks_that_nothing_leads_to_are_left_out_with_a_warning():
    result = compiled({"a": {}, "b": {"next": [{"do": "c"}]}, "c": {"next": [{"do": "b"}]}})

    assert list(result.graph.nodes) == ["a"]
    assert {(warning.code, warning.task) for warning in result.warnings} == {
        ("unreachable_task", "b"),
        ("unreachable_task", "c"),
    }


def test_items_have_names_and_a_limit():
    graph = graph_of(
        {"a": {"action": "x.y", "with": {"items": "k, v in <% ctx(xs) %>", "concurrency": 2}}}, input=["xs"]
    )

    items = graph.nodes["a"].items
    assert (items.values.source, items.names, items.concurrency.source) == ("<% ctx(xs) %>", ("k", "v"), 2)
    assert items.policy is ItemPolicy.WHILE_ACTIVE


def test_an_unknown_key_names_the_nearest_known_one():
    [problem] = compiled({"a": {"acton": "core.noop"}}).errors

    assert (problem.code, problem.path, problem.hint) == ("unknown_key", "tasks.a.acton", "Did you mean 'action'?")


@pytest.mark.parametrize(
    ("task", "path"),
    [
        (7, "tasks.a"),
        ({"action": ""}, "tasks.a.action"),
        ({"input": []}, "tasks.a.input"),
        ({"join": True}, "tasks.a.join"),
        ({"join": "some"}, "tasks.a.join"),
        ({"delay": -1}, "tasks.a.delay"),
        ({"retry": 3}, "tasks.a.retry"),
        ({"retry": {"count": 1.5}}, "tasks.a.retry.count"),
        ({"with": 3, "action": "x.y"}, "tasks.a.with"),
        ({"with": "just text", "action": "x.y"}, "tasks.a.with.items"),
        ({"next": {"do": "b"}}, "tasks.a.next"),
        ({"next": ["b"]}, "tasks.a.next[0]"),
        ({"next": [{"do": []}]}, "tasks.a.next[0].do"),
        ({"next": [{"do": ["b", "b"]}]}, "tasks.a.next[0].do"),
        ({"next": [{"publish": [{"a": 1, "b": 2}]}]}, "tasks.a.next[0].publish"),
    ],
)
def test_a_wrong_type_is_reported_at_its_place(task: Any, path: str):
    assert ("wrong_type", path) in problems({"a": task})


@pytest.mark.parametrize(
    ("more", "path"),
    [
        ({"input": []}, "input"),
        ({"input": [{"a": 1, "b": 2}]}, "input[0]"),
        ({"input": ["a", "a"]}, "input"),
        ({"vars": ["a"]}, "vars[0]"),
        ({"output": {"a": 1}}, "output"),
        ({"tags": [1]}, "tags[0]"),
        ({"description": ""}, "description"),
    ],
)
def test_a_wrong_shape_of_the_workflow_is_reported(more: dict[str, Any], path: str):
    assert ("wrong_type", path) in problems({"a": {}}, **more)


def test_two_languages_in_one_text_are_reported():
    assert problems({"a": {"action": "x.y", "input": {"k": "<% 1 %> {{ 2 }}"}}}) == {
        ("mixed_expression_types", "tasks.a.input")
    }


def test_a_variable_published_on_any_way_to_a_task_may_be_used():
    tasks = {
        "a": {"next": [{"do": "c"}, {"publish": [{"x": 1}], "do": "b"}]},
        "b": {"next": [{"do": "c"}]},
        "c": {"join": "all", "action": "core.echo", "input": {"m": "<% ctx(x) %>"}},
    }

    assert problems(tasks) == set()


def test_a_variable_published_in_a_loop_may_be_used_in_it():
    tasks = {
        "a": {"next": [{"do": "b"}]},
        "b": {"action": "core.echo", "input": {"m": "<% ctx(x) %>"}, "next": [{"do": "c"}]},
        "c": {"next": [{"publish": [{"x": 1}], "do": "b"}]},
    }

    assert problems(tasks) == set()


def test_a_publish_sees_what_stands_above_it_but_not_what_another_transition_publishes():
    tasks = {
        "a": {
            "next": [
                {"publish": [{"x": 1}, {"y": "<% ctx(x) %>"}], "do": "noop"},
                {"publish": [{"z": "<% ctx(x) %>"}], "do": "noop"},
            ]
        }
    }

    assert problems(tasks) == {("undefined_variable", "tasks.a.next[1].publish[0]")}


@pytest.mark.parametrize(
    ("definition", "code"),
    [
        ([], "wrong_type"),
        ({"dialect": "natve"}, "unknown_dialect"),
        ({"version": 1.0, "tasks": {f"t{i}": {} for i in range(2001)}}, "too_many_tasks"),
        ({"version": 1.0, "tasks": {}, **{f"k{i}": 1 for i in range(5001)}}, "too_many_keys"),
    ],
)
def test_what_is_no_definition_is_refused_with_a_reason(definition: Any, code: str):
    result = compile_definition(definition)

    assert [problem.code for problem in result.errors] == [code]


def test_a_definition_nested_too_deeply_is_refused():
    deep: Any = 1
    for _ in range(100_000):
        deep = [deep]

    result = compile_definition({"version": 1.0, "tasks": {"a": {"input": {"x": deep}}}})

    assert [problem.code for problem in result.errors] == ["too_deep"]


def test_aliases_that_multiply_are_refused():
    bomb: Any = ["x"] * 10
    for _ in range(20):
        bomb = [bomb] * 10

    result = compile_definition({"version": 1.0, "tasks": {"a": {"input": {"x": bomb}}}})

    assert [problem.code for problem in result.errors] == ["too_large"]
