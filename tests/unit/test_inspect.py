"""What the shape and the names of a graph say before it starts."""

from typing import Any

import pytest

from services.engine.assemble import Parts, build
from services.engine.expressions import compile_template
from services.engine.graph import Assignment, Items, Need, Node, Transition
from services.engine.inspect import inspect_graph
from services.engine.inspect_inputs import check_inputs
from services.engine.problems import Findings


def node(name: str, *targets: str, publish: dict[str, Any] | None = None, **more: Any) -> Node:
    if "input" in more:
        more["input"] = compile_template(more["input"])
    entries = tuple(Assignment(name=key, value=compile_template(value)) for key, value in (publish or {}).items())
    steps = tuple(Transition(do=(target,), publish=entries) for target in targets) or (Transition(publish=entries),)
    return Node(id=name, next=steps, action=compile_template("core.noop"), **more)


def inspected(*nodes: Node, variables: tuple[str, ...] = (), output: dict[str, Any] | None = None) -> Findings:
    parts = Parts(
        dialect="native",
        vars=tuple(Assignment(name=name, value=compile_template(1)) for name in variables),
        output=tuple(Assignment(name=name, value=compile_template(value)) for name, value in (output or {}).items()),
    )
    findings = Findings()
    inspect_graph(build(nodes, parts), findings)
    return findings


def errors(findings: Findings) -> list[tuple[str, str, str | None]]:
    return [(problem.code, problem.path, problem.subject) for problem in findings.errors]


def test_a_graph_that_only_goes_in_circles_cannot_start():
    findings = inspected(node("a", "b"), node("b", "a"))

    assert errors(findings) == [("no_start_task", "tasks", None)]


def test_a_task_nothing_leads_to_is_a_warning():
    findings = inspected(node("a"), node("b", "c"), node("c", "b"))

    assert {(warning.code, warning.task) for warning in findings.warnings if warning.code == "unreachable_task"} == {
        ("unreachable_task", "b"),
        ("unreachable_task", "c"),
    }


def test_a_loop_without_exit_is_a_warning():
    findings = inspected(node("a", "b"), node("b", "c"), node("c", "b"))

    assert [warning.code for warning in findings.warnings] == ["endless_loop"]


def test_a_loop_with_a_limit_of_its_own_is_fine():
    findings = inspected(node("a", "b"), node("b", "b", max_runs=3))

    assert findings.warnings == []


def test_a_join_cannot_need_more_tasks_than_lead_to_it():
    findings = inspected(node("a", "c"), node("b", "c"), node("c", join=3))

    assert errors(findings) == [("unreachable_join", "tasks.c", None)]


def test_a_join_across_instances_cannot_be_completed():
    findings = inspected(node("a", "s", "j"), node("b", "s"), node("s", "j", join=Need.EACH), node("j", join=Need.ALL))

    assert errors(findings) == [("unreachable_join", "tasks.j", None)]


def test_a_join_inside_one_instance_is_fine():
    findings = inspected(
        node("a", "s"),
        node("b", "s"),
        node("s", "l", "r", join=Need.EACH),
        node("l", "j"),
        node("r", "j"),
        node("j", join=Need.ALL),
    )

    assert errors(findings) == []


@pytest.mark.parametrize("text", ["{{ vars.y }}", "{{ workflow.y }}", "a {{ vars.y.z }}"])
def test_a_variable_that_nothing_assigns_is_reported(text: str):
    findings = inspected(node("a", input={"m": text}), variables=("x",))

    assert errors(findings) == [("undefined_variable", "tasks.a.input", "y")]


@pytest.mark.parametrize("text", ["{{ vars.x }}", "{{ vars.y | default(1) }}", "{{ workflow.param.y }}", "{{ y }}"])
def test_a_variable_that_may_be_there_is_not_reported(text: str):
    findings = inspected(node("a", input={"m": text}), variables=("x",))

    assert errors(findings) == []


def test_a_variable_published_on_the_way_may_be_used():
    findings = inspected(node("a", "b", publish={"y": 1}), node("b", input={"m": "{{ vars.y }}"}))

    assert errors(findings) == []


def test_a_variable_published_only_behind_a_task_may_not_be_used_in_it():
    findings = inspected(node("a", "b", input={"m": "{{ vars.y }}"}), node("b", publish={"y": 1}))

    assert errors(findings) == [("undefined_variable", "tasks.a.input", "y")]


def test_a_variable_published_in_the_loop_may_be_used_in_it():
    findings = inspected(node("a", "b"), node("b", "c", input={"m": "{{ vars.y }}"}), node("c", "b", publish={"y": 1}))

    assert errors(findings) == []


def test_the_output_may_use_what_any_task_publishes():
    findings = inspected(node("a", publish={"y": 1}), output={"y": "{{ vars.y }}", "z": "{{ vars.z }}"})

    assert errors(findings) == [("undefined_variable", "output.z", "z")]


def test_a_task_that_does_not_exist_is_reported_with_the_nearest():
    findings = inspected(node("fetch", "b"), node("b", input={"m": "{{ task.fecth.result }}"}))

    assert [(problem.subject, problem.hint) for problem in findings.errors] == [("fecth", "Did you mean 'fetch'?")]


def test_an_item_outside_a_list_is_reported():
    findings = inspected(node("a", input={"m": "{{ item }}"}))

    assert errors(findings) == [("item_outside_list", "tasks.a.input", "item")]


def test_an_item_inside_a_list_is_fine():
    findings = inspected(node("a", input={"m": "{{ item }}"}, items=Items(values=compile_template([1]))))

    assert errors(findings) == []


def checked(given: Any, schema: dict[str, Any] | None) -> Findings:
    findings = Findings()
    graph = build([node("a", input=given)], Parts(dialect="native"))
    check_inputs(graph, {} if schema is None else {"core.noop": schema}, findings, "tasks.{}".format)
    return findings


def test_an_unknown_action_is_a_warning():
    findings = checked({}, None)

    assert [(warning.code, warning.path) for warning in findings.warnings] == [("unknown_action", "tasks.a.action")]


def test_a_missing_input_is_an_error():
    findings = checked({"y": 1}, {"required": ["x"]})

    assert errors(findings) == [("missing_input", "tasks.a.input", "x")]


def test_an_unexpected_input_is_an_error_where_the_schema_is_closed():
    findings = checked({"mesage": 1}, {"properties": {"message": {}}, "additionalProperties": False})

    assert [(problem.code, problem.hint) for problem in findings.errors] == [
        ("unexpected_input", "Did you mean 'message'?")
    ]


def test_an_input_given_by_an_expression_is_left_alone():
    findings = checked("{{ vars.x | default({}) }}", {"required": ["x"]})

    assert errors(findings) == []
