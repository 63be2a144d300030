"""Definitions in another dialect: untouched in their own, playable as native, refused with reasons."""

from typing import Any

import pytest

from services.engine.compile import compile_definition
from services.engine.export import Export, ExportRefused, export_definition
from tests.unit.play import Fails, play
from tests.unit.test_nodes import chat, graph, module, node, put, rule
from tests.unit.test_wpk import failing, handler, package

NODES = graph(
    "t > each", "each.loop > check", "check.true > say", "check.false > skip", "say > m", "skip > m", "each.exit > w",
    "w.success > wait", "w.error > sorry", "wait > p", "p > a", "p > b", "a > merge", "b > merge", "merge > end",
    each=node("loop_foreach", array_variable="users", item_variable="user"),
    check=node("condition_if", condition=[rule("user.age", "greater_than", 17)]), say=chat("Hi {{user.name}}"),
    skip=put(skipped="{{user.name}}"), m=node("flow_merge"), wait=node("action_delay", delay_ms=5),
    w=node("action_webhook", url="https://x.org", retry_count=1, headers={"A": "{{secrets.T}}"}, output_variable="got"),
    sorry=chat("sorry"), p=node("flow_parallel"), a=module("one"), b=module("two"), merge=node("flow_merge"),
    end=node("flow_end"),
)  # fmt: skip
NODES["global_variables"] = {"greeting": "hello"}
PACKAGE = package(
    handler("a-1", timeout="5s", retry={"max_attempts": 2, "backoff": "1s"}), handler("b", "api"),
    rollback={"handlers": [handler("undo")]}, parameters={"APP": {"default": "web"}},
)  # fmt: skip
ORQUESTA = {
    "version": 1.0,
    "description": "d",
    "input": ["names", {"n": 2}],
    "vars": [{"seen": []}],
    "tasks": {
        "start": {
            "action": "core.echo",
            "with": {"items": "x in {{ ctx('names') }}", "concurrency": 1},
            "input": {"message": "{{ item('x') }}"},
            "retry": {"count": 1, "delay": 1},
            "next": [{"when": "{{ succeeded() }}", "publish": [{"out": "{{ result() }}"}], "do": "a, b"}],
        },
        "a": {"action": "core.noop", "next": [{"do": "end_task"}]},
        "b": {"action": "core.noop", "delay": 1, "next": [{"do": "end_task"}]},
        "end_task": {"action": "core.echo", "join": "all", "input": {"message": "{{ ctx('n') }}"}},
    },
    "output": [{"out": "{{ ctx('out') }}"}],
}


def echo(command: Any) -> Any:
    return {"status": 200, "body": dict(command.input)}


def flaky(command: Any) -> Any:
    if command.node == "w":
        raise Fails("503")
    return echo(command)


@pytest.mark.parametrize("document", [NODES, PACKAGE, ORQUESTA, {"tasks": [{"name": "a", "action": "core.noop"}]}])
def test_a_definition_is_itself_in_its_own_dialect(document: dict):
    dialect = compile_definition(document).dialect

    assert export_definition(document, dialect) == Export(dialect=dialect, definition=document)


@pytest.mark.parametrize(
    ("document", "parameters", "act"),
    [
        (NODES, {"users": [{"name": "ann", "age": 20}, {"name": "bob", "age": 3}]}, echo),
        (NODES, {"users": []}, flaky),
        (PACKAGE, {}, failing("b")),
        (PACKAGE, {}, failing()),
        (ORQUESTA, {"names": ["x", "y"], "n": 2}, echo),
    ],
)
def test_what_is_written_as_native_does_the_same(document: dict, parameters: dict, act: Any):
    exported = export_definition(document, "native")

    compiled = compile_definition(exported.definition)
    assert compiled.errors == ()
    defaults = {
        name: entry["default"] for name, entry in exported.param_schema["properties"].items() if "default" in entry
    }
    native = play(compiled.graph, defaults | parameters, act)
    own = play(compile_definition(document).graph, parameters, act)
    assert (native.performed, native.status, native.output) == (own.performed, own.status, own.output)


def test_labels_positions_and_metadata_come_along():
    task = export_definition(NODES, "native").definition["tasks"]["say"]

    assert (task["label"], task["position"]) == ("L", {"x": 1, "y": 2})
    assert export_definition(NODES, "native").definition["metadata"] == {"name": "g"}


def test_what_is_different_is_said():
    notes = export_definition(NODES, "native").notes

    assert "Triggers are left out." in notes
    assert "The task 'end_' is called 'end_'." not in notes


def test_names_become_words():
    document = graph("t > a b", "a b > 1!", **{"a b": chat("x"), "1!": chat("y"), "a_b": chat("z")})
    document["connections"].append({"from_node_id": "t", "from_port_name": "output", "to_node_id": "a_b"})

    exported = export_definition(document, "native")

    assert set(exported.definition["tasks"]) == {"a_b", "a_b_2", "task_1_"}
    assert "The task 'a b' is called 'a_b_2'." in exported.notes


@pytest.mark.parametrize(
    ("document", "wanted", "reason"),
    [
        (NODES, "orquesta", "A nodes workflow can be written as nodes or native, not as orquesta."),
        (NODES, "bpmn", "There is no format 'bpmn'"),
        ({"nodes": {}, "connections": []}, "native", "The definition is not valid: "),
        ({**ORQUESTA, "output": [{"x": "<% ctx(n) %>"}]}, "native", "output.x is written in YAQL"),
        (
            {**ORQUESTA, "input": ["names", {"n": "{{ 1 + 1 }}"}]},
            "native",
            "the default of the input n is an expression",
        ),
    ],
)
def test_what_cannot_be_written_is_refused_with_the_reason(document: dict, wanted: str, reason: str):
    with pytest.raises(ExportRefused, match=reason.replace("(", r"\(")):
        export_definition(document, wanted)


def test_limits_and_retries_are_written_as_they_are():
    graph_document = {**NODES, "metadata": {"name": "g", "max_execution_time_seconds": 60}}
    orquesta = {
        "version": 1.0,
        "tasks": {
            "a": {
                "action": "core.echo", "with": "{{ ctx('xs') }}", "retry": {"count": 2, "when": "{{ completed() }}"},
                "input": {"message": "{{ item() }}"},
            },
            "b": {"action": "core.noop", "next": [{"do": "retry"}]},
        },
        "input": ["xs"],
    }  # fmt: skip

    assert export_definition(graph_document, "native").definition["limits"] == {"workflow_timeout_s": 60}
    tasks = export_definition(orquesta, "native").definition["tasks"]
    assert tasks["a"]["retry"] == {"count": 2, "when": "completed"}
    assert (tasks["a"]["with_items"], "next" in tasks["b"]) == ("{{ ctx('xs') }}", False)
