"""The native front end: every way to write a task, and every problem with its place."""

from typing import Any

import pytest

from services.engine.compile import compile_definition
from services.engine.graph import Backoff, Command, Entry, ItemPolicy, Kind, Need
from services.engine.statuses import ANY_END, FAILURE, SUCCESS, Outcome
from tests.support.engine_shell import graph_of, tasks

NOOP = {"action": "core.noop"}


def problems(*entries: Any, **top: Any) -> list[tuple[str, str]]:
    found = compile_definition({"tasks": list(entries), **top}).errors
    return [(problem.code, problem.path) for problem in found]


def warnings(*entries: Any, **top: Any) -> list[tuple[str, str]]:
    return [(problem.code, problem.path) for problem in compile_definition({"tasks": list(entries), **top}).warnings]


def task(**keys: Any) -> dict[str, Any]:
    return {"name": "a", **NOOP, **keys}


def test_a_transition_may_be_a_name_a_map_or_a_list_of_both():
    graph = tasks(
        task(next="b"),
        {"name": "b", **NOOP, "next": {"when": "failed", "do": ["c", "noop"]}},
        {"name": "c", **NOOP, "next": ["d", {"do": "d, end"}]},
        {"name": "d", **NOOP},
    )

    steps = {name: [(step.when, step.do) for step in node.next] for name, node in graph.nodes.items()}

    assert steps["a"] == [(SUCCESS, ("b",))]
    assert steps["b"] == [(FAILURE, ("c", Command.NOOP))]
    assert steps["c"] == [(SUCCESS, ("d",)), (None, ("d", Command.END))]


@pytest.mark.parametrize(
    ("word", "outcomes"),
    [
        ("succeeded", SUCCESS),
        ("{{ failed() }}", FAILURE),
        ("timed_out", frozenset({Outcome.TIMED_OUT})),
        ("cancelled", frozenset({Outcome.CANCELLED})),
        ("completed", ANY_END),
        (True, None),
        (False, frozenset()),
    ],
)
def test_words_of_a_condition_are_sets_of_outcomes(word: Any, outcomes: Any):
    graph = tasks(task(next=[{"when": word, "do": "b"}]), {"name": "b", **NOOP})

    assert graph.nodes["a"].next[0].when == outcomes


def test_an_expression_stays_an_expression():
    graph = tasks(task(next=[{"when": "{{ result() > 1 }}", "do": "b"}]), {"name": "b", **NOOP})

    assert graph.nodes["a"].next[0].when.source == "{{ result() > 1 }}"  # type: ignore[union-attr]


def test_a_decision_takes_the_first_that_holds_and_its_default_last():
    graph = tasks(
        task(decision=[{"default": "d"}, {"when": "{{ result() }}", "next": "b", "publish": {"x": 1}}]),
        {"name": "b", **NOOP},
        {"name": "d", **NOOP},
    )

    steps = graph.nodes["a"].next

    assert [(step.do, step.choice, step.on) for step in steps] == [(("b",), 0, SUCCESS), (("d",), 0, SUCCESS)]
    assert steps[1].when is None


def test_attunes_default_and_do_are_understood_in_a_decision():
    graph = tasks(
        task(decision=[{"when": "{{ 1 > 2 }}", "do": "b"}, {"next": "b", "default": True}]), {"name": "b", **NOOP}
    )

    assert [step.do for step in graph.nodes["a"].next] == [("b",), ("b",)]


def test_a_tasks_own_publish_goes_along_all_ways_after_success():
    graph = tasks(task(publish={"x": 1}), {"name": "b", **NOOP, "publish": ["y"]}, {"name": "c", **NOOP})

    names = {name: [entry.name for step in node.next for entry in step.publish] for name, node in graph.nodes.items()}

    assert names == {"a": ["x"], "b": ["y"], "c": []}


def test_a_tasks_own_publish_goes_along_the_first_way_or_one_of_its_own():
    graph = tasks(
        task(publish={"x": 1}, next=[{"do": "b"}, {"when": "failed", "do": "b"}]),
        {"name": "b", **NOOP, "join": 1, "merge": {"y": {}}},
    )

    steps = {name: [[entry.name for entry in step.publish] for step in node.next] for name, node in graph.nodes.items()}

    assert steps == {"a": [["x"], []], "b": [["y"]]}


def test_depends_on_is_edges_on_success_and_a_join_of_all():
    graph = tasks(task(), {"name": "b", **NOOP}, {"name": "c", **NOOP, "depends_on": ["a", "b"]})

    assert graph.flow.joins["c"].sources == ("a", "b")
    assert graph.nodes["a"].next[0].when == SUCCESS
    assert graph.flow.starts == ("a", "b")


def test_every_key_of_a_task_finds_its_place():
    graph = tasks(
        task(
            input={"x": 1}, timeout="5m", delay=3, when="{{ 1 < 2 }}", max_iterations=7, label="A", position=[1, 2],
            retry={"count": 3, "delay": "2s", "backoff": "linear", "max_delay": 9, "jitter": True, "when": "timed_out"},
            with_items={"items": [1], "concurrency": 2, "names": "x, y"}, on_item_failure="stop", next="b",
        ),
        {"name": "b", **NOOP, "retry": 2, "with_items": "x in {{ vars.xs }}", "join": "all"},
        vars={"xs": []},
    )  # fmt: skip

    node, retry, items = graph.nodes["a"], graph.nodes["a"].retry, graph.nodes["a"].items
    assert retry is not None
    assert items is not None

    assert (node.max_runs, node.labels) == (7, {"label": "A", "position": [1, 2]})
    assert (retry.backoff, retry.jitter, retry.when) == (Backoff.LINEAR, True, frozenset({Outcome.TIMED_OUT}))
    assert (items.names, items.policy) == (("x", "y"), ItemPolicy.STOP)
    assert graph.nodes["b"].items.names == ("x",)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("entry", "kind"),
    [
        ({"action": "core.inquiry"}, Kind.INQUIRY),
        ({"action": "core.ask"}, Kind.INQUIRY),
        ({"wait": 5}, Kind.WAIT),
        ({"wait": {"until": "2026-01-01T00:00:00Z"}}, Kind.WAIT),
        ({"action": "core.sleep", "input": {"seconds": "5s"}}, Kind.WAIT),
        ({"action": "core.wait", "input": {"duration": 5}}, Kind.WAIT),
        ({"workflow": "other.flow"}, Kind.WORKFLOW),
        ({"type": "workflow", "action": "other.flow"}, Kind.WORKFLOW),
        ({"action": "core.workflow", "input": {"workflow": "other.flow", "inputs": {"x": 1}}}, Kind.WORKFLOW),
        ({"action": "core.workflow", "input": {"ref": "other.flow"}}, Kind.WORKFLOW),
        ({}, Kind.PASS),
        ({"action": "any.thing"}, Kind.ACTION),
    ],
)
def test_what_a_task_does_is_read_from_its_action(entry: dict[str, Any], kind: Kind):
    graph = tasks({"name": "a", **entry})

    assert graph.nodes["a"].kind is kind


def test_tasks_may_be_a_map():
    graph = graph_of({"tasks": {"a": {**NOOP, "next": "b"}, "b": NOOP}})

    assert list(graph.nodes) == ["a", "b"]


def test_a_parallel_group_is_entered_by_its_members_and_left_by_its_join():
    group = {"name": "g", "type": "parallel", "when": "{{ 1 < 2 }}", "next": "z", "depends_on": "a"}
    members = {"p": {**NOOP, "when": "{{ 2 < 3 }}"}, "q": {"type": "parallel", "tasks": [{"name": "r", **NOOP}]}}

    graph = tasks(task(), {**group, "tasks": members}, {"name": "z", **NOOP})

    assert graph.nodes["a"].next[0].do == ("p", "r")
    assert graph.nodes["g"].gather == ("p", "q")
    assert graph.flow.joins["g"].sources == ("p", "q")
    assert graph.nodes["p"].guard.source == ["{{ 1 < 2 }}", "{{ 2 < 3 }}"]  # type: ignore[union-attr]
    assert graph.nodes["r"].guard.source == "{{ 1 < 2 }}"  # type: ignore[union-attr]


def test_compensation_is_a_task_or_an_action_with_the_tasks_own_input():
    graph = tasks(
        task(compensate="undo", input={"x": 1}),
        {"name": "b", **NOOP, "compensate": "pack.undo", "compensate_on": "failed", "input": {"y": 2}},
        {"name": "c", **NOOP, "compensate": {"action": "pack.undo", "input": {"z": 3}, "timeout": 5}},
        {"name": "undo", **NOOP},
    )

    assert graph.nodes["a"].compensation.node == "undo"  # type: ignore[union-attr]
    assert graph.nodes["b"].compensation.on == frozenset({Outcome.FAILED})  # type: ignore[union-attr]
    assert graph.nodes["b.undo"].input.source == {"y": 2}  # type: ignore[union-attr]
    assert graph.nodes["c.undo"].input.source == {"z": 3}  # type: ignore[union-attr]
    assert graph.flow.starts == ("a",)


def test_limits_may_be_lowered_by_either_name():
    graph = tasks(task(), limits={"MAX_ITEMS": 5, "max_parallel_nodes": 2, "WORKFLOW_TIMEOUT_SECONDS": 9})

    assert graph.limits == {"max_items": 5, "max_parallel_nodes": 2, "workflow_timeout_s": 9}


def test_attunes_ignored_keys_are_only_warned_about():
    assert ("ignored_key", "tasks[0].affinity") in warnings(task(affinity={}))
    assert ("repeated_target", "tasks[0].next[0].do[1]") in warnings(
        task(next=[{"do": ["b", "b"]}]), {"name": "b", **NOOP}
    )


WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"nxt": "b"}, "unknown_key", ".nxt"),
    ({"next": 5}, "wrong_type", ".next"),
    ({"next": [5]}, "wrong_type", ".next[0]"),
    ({"next": [{"do": ""}]}, "undefined_task", ".next[0].do"),
    ({"next": [{"do": 5}]}, "wrong_type", ".next[0].do"),
    ({"next": [{"do": [5]}]}, "wrong_type", ".next[0].do[0]"),
    ({"next": ["nobody"]}, "undefined_task", ".next[0]"),
    ({"on_success": "nobody"}, "undefined_task", ""),
    ({"next": [{"when": "maybe", "do": "end"}]}, "bad_condition", ".next[0].when"),
    ({"next": [{"when": 5, "do": "end"}]}, "wrong_type", ".next[0].when"),
    ({"next": [{"publish": 5}]}, "wrong_type", ".next[0].publish"),
    ({"next": [{"publish": [5]}]}, "wrong_type", ".next[0].publish[0]"),
    ({"next": [{"publish": {"__x": 5}}]}, "private_variable", ".next[0].publish.__x"),
    ({"next": [{"publish": {5: 5}}]}, "bad_name", ".next[0].publish.5"),
    ({"next": [{"publish": [{"": 5}]}]}, "bad_name", ".next[0].publish[0]."),
    ({"decision": 5}, "wrong_type", ".decision"),
    ({"decision": [5]}, "wrong_type", ".decision[0]"),
    ({"decision": [{"when": "{{ 1 }}"}]}, "missing_key", ".decision[0]"),
    ({"decision": [{"next": "end"}]}, "missing_key", ".decision[0]"),
    ({"depends_on": "nobody"}, "undefined_task", ".depends_on"),
    ({"join": 0}, "wrong_type", ".join"),
    ({"join": "some"}, "wrong_type", ".join"),
    ({"when": "always"}, "bad_condition", ".when"),
    ({"type": "strange"}, "wrong_type", ".type"),
    ({"action": 5}, "wrong_type", ".action"),
    ({"action": None, "type": "workflow"}, "missing_key", ""),
    ({"wait": 5}, "wrong_type", ".wait"),
    ({"action": None, "wait": "soon"}, "bad_duration", ".wait"),
    ({"action": None, "wait": {"until": "soon"}}, "wrong_type", ".wait.until"),
    ({"action": None, "wait": {}}, "missing_key", ".wait"),
    ({"action": "core.workflow"}, "missing_input", ".input"),
    ({"input": 5}, "wrong_type", ".input"),
    ({"timeout": -1}, "bad_duration", ".timeout"),
    ({"timeout": True}, "bad_duration", ".timeout"),
    ({"delay": [1]}, "bad_duration", ".delay"),
    ({"retry": "often"}, "wrong_type", ".retry"),
    ({"retry": {}}, "missing_key", ".retry"),
    ({"retry": {"count": -1}}, "wrong_type", ".retry.count"),
    ({"retry": {"count": 1, "backoff": "wild"}}, "wrong_type", ".retry.backoff"),
    ({"retry": {"count": 1, "jitter": 5}}, "wrong_type", ".retry.jitter"),
    ({"retry": {"count": 1, "tries": 5}}, "unknown_key", ".retry.tries"),
    ({"with_items": 5}, "wrong_type", ".with_items"),
    ({"with_items": {"item": []}}, "unknown_key", ".with_items.item"),
    ({"action": None, "with_items": [1]}, "items_without_action", ".with_items"),
    ({"concurrency": 5}, "missing_key", ".concurrency"),
    ({"with_items": [1], "concurrency": 1.5}, "wrong_type", ".concurrency"),
    ({"with_items": [1], "on_item_failure": "cry"}, "wrong_type", ".on_item_failure"),
    ({"max_iterations": 0}, "wrong_type", ".max_iterations"),
    ({"compensate": "nobody"}, "undefined_task", ".compensate"),
    ({"compensate": 5}, "undefined_task", ".compensate"),
    ({"compensate": "a"}, "bad_compensation", ".compensate"),
    ({"compensate": "b"}, "bad_compensation", ".compensate"),
    ({"compensate": {"action": "x.y", "input": {}, "when": 1}}, "unknown_key", ".compensate.when"),
    ({"compensate_on": "failed"}, "missing_key", ".compensate_on"),
    ({"compensate": "x.y", "compensate_on": "always"}, "wrong_type", ".compensate_on"),
    ({"input": {"x": "{{ 1 + }}"}}, "bad_expression", ".input.x"),
    ({"type": "parallel", "action": None, "tasks": []}, "missing_key", ".tasks"),
    ({"type": "parallel", "tasks": [{"name": "p"}]}, "wrong_type", ""),
    ({"type": "parallel", "action": None, "tasks": [{"name": "p", "next": "b"}]}, "wrong_type", ".tasks[0].next"),
    ({"type": "parallel", "action": None, "tasks": [5]}, "wrong_type", ".tasks[0]"),
    ({"type": "parallel", "action": None, "tasks": {"fail": {}}}, "reserved_task_name", ".tasks.fail"),
]


@pytest.mark.parametrize(("keys", "code", "place"), WRONG, ids=[f"{code} {keys}" for keys, code, _ in WRONG])
def test_a_problem_of_a_task_is_reported_where_it_stands(keys: dict[str, Any], code: str, place: str):
    plain = {key: value for key, value in task(**keys).items() if value is not None}

    found = problems(plain, {"name": "b", **NOOP, "delay": 1, "join": 1})

    assert (code, f"tasks[0]{place}") in found


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({}, ("missing_key", "tasks")),
        ({"tasks": 5}, ("wrong_type", "tasks")),
        ({"tasks": []}, ("missing_key", "tasks")),
        ({"tasks": [5]}, ("wrong_type", "tasks[0]")),
        ({"tasks": [{"action": "x.y"}]}, ("missing_key", "tasks[0]")),
        ({"tasks": [{"name": "a b"}]}, ("bad_task_name", "tasks[0]")),
        ({"tasks": [{"name": "fail"}]}, ("reserved_task_name", "tasks[0]")),
        ({"tasks": [{"name": "a"}, {"name": "a"}]}, ("duplicate_task_name", "tasks[1]")),
        ({"tasks": {"a": 5}}, ("wrong_type", "tasks.a")),
        ({"tasks": [{"name": "a"}], "taks": []}, ("unknown_key", "taks")),
        ({"tasks": [{"name": "a"}], "on_failure": "cry"}, ("wrong_type", "on_failure")),
        ({"tasks": [{"name": "a"}], "limits": 5}, ("wrong_type", "limits")),
        ({"tasks": [{"name": "a"}], "limits": {"MAX": 5}}, ("unknown_key", "limits.MAX")),
        ({"tasks": [{"name": "a"}], "limits": {"MAX_ITEMS": True}}, ("wrong_type", "limits.MAX_ITEMS")),
        ({"tasks": [{"name": "a"}], "out_schema": 5}, ("wrong_type", "out_schema")),
        ({"tasks": [{"name": "a"}], "vars": 5}, ("wrong_type", "vars")),
    ],
)
def test_a_problem_of_the_document_is_reported_where_it_stands(document: dict[str, Any], expected: tuple[str, str]):
    found = [(problem.code, problem.path) for problem in compile_definition(document).errors]

    assert expected in found


def test_groups_nested_without_end_are_refused():
    group: dict[str, Any] = {"name": "g0", "type": "parallel", "tasks": [{"name": "x"}]}
    for level in range(1, 12):
        group = {"name": f"g{level}", "type": "parallel", "tasks": [group]}

    found = {code for code, _ in problems(group)}

    assert "missing_key" in found


def test_an_edge_back_into_a_join_starts_its_next_round():
    graph = tasks(
        task(next="j"),
        {"name": "b", **NOOP, "next": "j"},
        {"name": "j", **NOOP, "join": "all", "next": "k"},
        {"name": "k", **NOOP, "next": [{"when": "failed", "do": "j"}]},
    )

    entries = {edge.id: edge.entry for edge in graph.flow.edges.values()}

    assert graph.flow.joins["j"].sources == ("a", "b")
    assert entries["k:0:j"] is Entry.START
    assert entries["a:0:j"] is Entry.JOIN


def test_a_join_that_only_itself_leads_to_is_no_join():
    found = problems({"name": "a", **NOOP, "next": "a", "join": "all"})

    assert found == [("no_start_task", "tasks")]


def test_ids_and_hash_do_not_depend_on_the_order_of_tasks():
    one = graph_of({"tasks": {"a": {**NOOP, "next": "b"}, "b": NOOP}})
    other = graph_of({"tasks": {"b": NOOP, "a": {**NOOP, "next": "b"}}})

    assert sorted(one.flow.edges) == sorted(other.flow.edges)
    assert one.nodes["a"].join is not Need.ALL
