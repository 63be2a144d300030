"""What readers see of a state: scopes of expressions, node states, waits, metrics, explanations, plans of a re-run."""

from typing import Any

import orjson
import pytest

from models.records import Effect
from services.engine import inputs as tell
from services.engine.compile import compile_definition
from services.engine.explain import explain
from services.engine.graph import ActionFacts, Limits
from services.engine.rerun import From, Plan, Refused, plan
from services.engine.scopes import Done, Functions, Names, Standpoint, View
from services.engine.statuses import Outcome, Phase
from services.engine.view import (
    effects,
    execution_path,
    final_variables,
    is_parkable,
    literal_actions,
    metrics,
    next_due,
    node_states,
    nodes_executed,
    trace,
    waiting_for,
)
from tests.support.engine_shell import Result, Shell, side_by_side, tasks

ACT = {"action": "x.y"}
FAILED: Result = (Outcome.FAILED, None)


def value_of(expression: Any, *, before: tuple[dict[str, Any], ...] = (), **top: Any) -> Any:
    """What an expression gives in the input of a task that runs after some others."""
    graph = tasks(*before, {"name": "reader", **ACT, "input": {"v": expression}}, **top)
    shell = Shell(graph, lambda command: (Outcome.COMPLETED, {"n": 5})).begin(
        {"p": 1}, config={"c": 2}, workflow={"id": "w", "ref": "x.flow", "version": "1.0"}
    )
    return shell.run().performed[-1].input["v"]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("{{ parameters.p }}", 1),
        ("{{ p }}", 1),
        ("{{ workflow.param.p }}", 1),
        ("{{ variables.p }}", 1),
        ("{{ variables.v }}", 3),
        ("{{ vars.v + workflow.v }}", 6),
        ("{{ v }}", 3),
        ("{{ ctx('v') }}", 3),
        ("{{ ctx().p }}", 1),
        ("{{ ctx('nothing') | default('none') }}", "none"),
        ("{{ config.c }}", 2),
        ("{{ system.execution_id | length }}", 36),
        ("{{ system.ref ~ system.workflow.version ~ system.attempt }}", "x.flow1.01"),
        ("{{ system.started_at }}", "2026-01-01T00:00:00Z"),
        ("{{ task.a.result.n }}", 5),
        ("{{ tasks.a.output.n }}", 5),
        ("{{ a.result.n }}", 5),
        ("{{ task.a.status }}", "completed"),
        ("{{ task_status('a') ~ task_status('nobody') }}", "completednull"),
        ("{{ task('a').result.n }}", 5),
        ("{{ task.a.error | default('none') }}", None),
        ("{{ task.a }}", {"result": {"n": 5}, "output": {"n": 5}, "status": "completed", "error": None}),
        ("{{ task | length }}", 1),
        ("{{ vars }}", {"v": 3}),
        ("{{ variables }}", {"p": 1, "v": 3}),
        ("{{ vars | length }}", 1),
        ("{{ error | default('none') }}", "none"),
        ("{{ error() | default('none', true) }}", "none"),
    ],
)
def test_a_scope_has_its_names(expression: str, expected: Any):
    assert value_of(expression, before=({"name": "a", **ACT},), vars={"v": 3}) == expected


@pytest.mark.parametrize(
    "expression",
    ["{{ nothing }}", "{{ task.nobody.result }}", "{{ task('nobody').result }}", "{{ result() }}", "{{ item() }}",
     "{{ task.a.items }}", "{{ system.nothing }}", "{{ ctx('nothing') }}", "{{ task() }}"],
)  # fmt: skip
def test_what_is_not_there_is_refused_or_fails_its_task(expression: str):
    document = {"tasks": [{"name": "a", **ACT, "next": "b"}, {"name": "b", **ACT, "input": {"v": expression}}]}

    graph = compile_definition(document).graph
    shell = None if graph is None else Shell(graph).begin().run()

    assert shell is None or (shell.phase, shell.outcomes()["b"]) == (Phase.FAILED, "failed")


def test_an_error_is_known_to_everything_behind_it():
    graph = tasks(
        {"name": "a", **ACT, "next": [{"when": "failed", "publish": {"m": "{{ error().message }}"}, "do": "b"}]},
        {"name": "b", **ACT, "input": {"m": "{{ error.message }}"}, "next": "c"},
        {"name": "c", **ACT, "input": {"n": "{{ error.node ~ error.attempt ~ error.type }}"}},
    )
    shell = Shell(graph, lambda command: FAILED if command.node == "a" else (Outcome.COMPLETED, 1)).begin().run()

    assert [command.input for command in shell.performed[1:]] == [{"m": "a failed"}, {"n": "a1execution"}]


def test_an_item_sees_itself_and_its_place():
    graph = tasks({"name": "a", **ACT, "with_items": ["x"], "input": {"v": "{{ item ~ index ~ item() }}"}})

    assert Shell(graph).begin().performed[0].input == {"v": "x0x"}


def test_the_outcome_of_the_current_task_is_known_in_its_transitions():
    names = ("succeeded", "failed", "timed_out", "cancelled", "completed")
    publish = {name: f"{{{{ {name}() }}}}" for name in names} | {
        "status": "{{ task.a.status }}",
        "me": "{{ task().status }}",
    }
    graph = tasks({"name": "a", **ACT, "next": [{"publish": publish, "do": "noop"}]}, output={"all": "{{ vars }}"})
    found = {}
    for outcome in (Outcome.COMPLETED, Outcome.FAILED, Outcome.TIMED_OUT, Outcome.CANCELLED):
        end = (outcome, None)
        found[outcome] = Shell(graph, lambda _, end=end: end).begin().run().state.output["all"]  # type: ignore[misc]

    assert [found[Outcome.COMPLETED][name] for name in names] == [True, False, False, False, True]
    assert [found[Outcome.TIMED_OUT][name] for name in names] == [False, True, True, False, True]
    assert [found[Outcome.CANCELLED][name] for name in names] == [False, False, False, True, True]
    assert (found[Outcome.FAILED]["status"], found[Outcome.FAILED]["me"]) == ("failed", "failed")


def test_a_running_task_says_so_and_a_list_shows_its_items():
    graph = side_by_side(
        {"name": "slow", **ACT},
        {"name": "list", **ACT, "with_items": [1, 2], "concurrency": 1},
        {"name": "wait", "wait": 5, "next": "read"},
        {"name": "read", **ACT, "input": {"s": "{{ task.slow.status }}", "i": "{{ task.list.items }}", "t": "{{ task('list').result }}"}},
    )  # fmt: skip
    shell = Shell(graph).begin()
    shell.end_task("list", (Outcome.COMPLETED, 7))
    shell.fire("wait/wait/0")

    seen = next(command.input for command in shell.performed if command.node == "read")

    assert seen["s"] == "running"
    assert [(item["status"], item["output"]) for item in seen["i"]] == [("completed", 7), ("pending", None)]
    assert seen["t"] == {"items": [{"status": "completed", "result": 7}, {"status": "pending", "result": None}]}


def test_views_of_a_scope_are_whole_objects():
    shell = Shell(tasks({"name": "a", **ACT}, vars={"v": 1})).begin({"p": 2}).run()
    at = Standpoint(shell.state, shell.state.root, shell.now)
    at.locals = {"item": {"k": 1}}
    assert "result" not in list(Functions(at))
    assert "item" not in list(Functions(Standpoint(shell.state, shell.state.root, shell.now)))
    at.done = Done(Outcome.COMPLETED, 1, None)
    assert "result" in list(Functions(at))
    at.done = None
    assert at.variable("item") == {"k": 1}
    names, functions = Names(at), Functions(at)

    assert {"v", "p", "item", "task", "system"} <= set(names)
    assert len(names) == len(set(names))
    assert list(functions) == ["ctx", "error", "now", "uuid", "task", "task_status", "item"]
    assert len(functions) == 7
    assert functions["item"]("k") == 1
    assert isinstance(names["task"], View)
    assert {name: len(names[name]) for name in ("task", "vars", "variables")} == {"task": 1, "vars": 1, "variables": 3}


def busy() -> Shell:
    graph = side_by_side(
        {"name": "done", **ACT, "next": [{"when": "{{ result().n > vars.least }}", "do": "never"}, {"do": "j"}]},
        {"name": "never", **ACT},
        {"name": "list", **ACT, "with_items": [1, 2, 3], "concurrency": 2, "input": {"v": "{{ item }}"}},
        {"name": "ask", "action": "core.inquiry", "timeout": 60, "next": "j"},
        {"name": "each", "action": "core.inquiry", "with_items": [1]},
        {"name": "rest", "wait": 30},
        {"name": "late", **ACT, "delay": 10},
        {"name": "later", **ACT, "with_items": [1], "delay": 20},
        {"name": "sub", "type": "workflow", "action": "x.flow"},
        {"name": "again", **ACT, "retry": {"count": 1, "delay": 5}},
        {"name": "skip", **ACT, "when": False},
        {"name": "j", **ACT, "join": "all"},
        {"name": "more", **ACT},
        vars={"least": 9},
    )
    shell = Shell(graph, limits=Limits(max_parallel_nodes=4)).begin()
    shell.end_task("done", (Outcome.COMPLETED, {"n": 5}))
    shell.end_task("again", FAILED)
    shell.end_task("list", (Outcome.COMPLETED, 1))
    return shell


def test_node_states_have_an_entry_for_every_run_and_item():
    states = node_states(busy().state)

    assert states["done"]["status"] == "completed"
    assert states["done"]["output_data"] == {"n": 5}
    assert states["list"]["metadata"]["items"] == 3
    assert [states[f"list[{n}]"]["metadata"]["item_index"] for n in (1, 2)] == [0, 1]
    assert (states["list[1]"]["output_data"], states["list[1]"]["input_data"]) == (1, {"v": 1})
    assert states["skip"]["status"] == "skipped"
    assert states["again"]["status"] == "running"
    assert orjson.dumps(states)


def test_a_paused_child_and_its_items_are_shown_as_paused():
    graph = side_by_side(
        {"name": "sub", "type": "workflow", "action": "x.flow"},
        {"name": "subs", "type": "workflow", "action": "x.flow", "with_items": [1]},
    )
    shell = Shell(graph).begin()
    for child in shell.children:
        shell.say(tell.ChildPaused(now=shell.now, child_id=child))

    states = node_states(shell.state)

    assert (states["sub"]["status"], states["subs[1]"]["status"]) == ("paused", "paused")


def test_tasks_that_wait_for_a_slot_are_ready():
    shell = Shell(side_by_side({"name": "a", **ACT}, {"name": "b", **ACT}), limits=Limits(max_parallel_nodes=1)).begin()

    assert node_states(shell.state)["b"]["status"] == "ready"
    assert any(
        fact["kind"] == "ready" and "MAX_PARALLEL_NODES is 1" in fact["text"]
        for fact in explain(shell.state, shell.now)
    )


def test_a_round_of_a_loop_has_a_key_of_its_own_and_what_was_undone_says_so():
    graph = tasks(
        {"name": "in", **ACT, "next": "a", "compensate": "x.undo"},
        {
            "name": "a",
            **ACT,
            "next": [{"when": "{{ result() < 1 }}", "do": "a"}, {"when": "{{ result() > 0 }}", "do": "fail"}],
        },
    )
    shell = Shell(graph, lambda command: (Outcome.COMPLETED, command.run)).begin().run()

    states = node_states(shell.state)

    assert list(states) == ["in", "a", "a[1]", "in.undo"]
    assert states["in.undo"]["metadata"]["undoes"] == "in"
    assert execution_path(shell.state) == ["in", "a", "a", "in.undo"]


def test_everything_that_is_waited_for_is_listed_with_its_time():
    shell = busy()

    waits = {(wait["kind"], wait["node_id"], wait["until"] is not None) for wait in waiting_for(shell.state)}

    assert waits == {
        ("inquiry", "ask", True), ("inquiry", "each", False), ("timer", "rest", True), ("delay", "late", True),
        ("delay", "later", True), ("child", "sub", False), ("retry", "again", True),
    }  # fmt: skip
    assert any(wait.get("item_index") == 0 for wait in waiting_for(shell.state))
    assert not is_parkable(shell.state)
    assert next_due(shell.state) == min(timer.due for timer in shell.state.timers.values())


def test_tasks_of_a_paused_execution_are_ready_and_say_why():
    shell = Shell(tasks(*CHAIN)).begin()
    shell.pause()
    shell.end_task("a")

    texts = [fact["text"] for fact in explain(shell.state, shell.now) if fact["kind"] == "ready"]

    assert texts == ["b may start, but the execution is paused"]


def test_nothing_is_due_when_nothing_is_waited_for():
    shell = Shell(tasks({"name": "a", **ACT})).begin().run()

    assert next_due(shell.state) is None
    assert is_parkable(shell.state)
    assert waiting_for(shell.state) == []


def test_an_explanation_names_what_runs_waits_is_missing_or_was_false():
    shell = busy()

    facts = explain(shell.state, shell.now)

    by_kind = {fact["kind"]: fact for fact in facts}
    assert {"status", "inquiry", "retry", "running", "join"} <= set(by_kind)
    assert (by_kind["join"]["arrived"], by_kind["join"]["missing"]) == (["done"], ["ask"])
    assert orjson.dumps(facts)


def test_an_explanation_shows_the_values_a_false_condition_saw():
    graph = tasks(
        {
            "name": "a",
            **ACT,
            "next": [{"when": "{{ result().n > vars.least and ctx('p') and item and parameters.zz }}", "do": "b"}],
        },
        {"name": "b", **ACT},
        {"name": "c", **ACT, "next": [{"when": "failed", "do": "b"}]},
        {"name": "d", **ACT, "decision": [{"when": "{{ 1 < 2 }}", "next": "end"}, {"default": "b"}], "join": 1},
        vars={"least": 9, "p": 1, "item": 0},
    )
    shell = Shell(graph, lambda _: (Outcome.COMPLETED, {"n": 5})).begin().run()

    texts = [fact for fact in explain(shell.state, shell.now) if fact["kind"] == "condition"]

    assert texts[0]["values"]["result()"] == {"n": 5}
    assert texts[0]["values"]["vars.least"] == 9
    assert texts[1]["when"] == "failed or timed_out"
    assert texts[-1]["when"] == "another choice"


def test_an_explanation_of_an_end_says_why():
    failed = Shell(tasks({"name": "a", **ACT}), lambda _: FAILED).begin().run()
    fresh = Shell(tasks({"name": "a", **ACT}))

    assert explain(failed.state, failed.now)[0]["text"] == "the execution is failed: a failed"
    assert explain(fresh.state, fresh.now)[0]["text"] == "the execution is pending"


def test_metrics_count_what_ran():
    graph = side_by_side({"name": "a", **ACT}, {"name": "b", **ACT, "when": False}, {"name": "c", **ACT}, vars={"v": 1})
    shell = (
        Shell(graph, lambda command: FAILED if command.node == "c" else (Outcome.COMPLETED, 1))
        .begin(workflow={"id": "w"})
        .run()
    )

    figures = metrics(shell.state, shell.now)

    assert (figures["nodes_executed"], figures["nodes_skipped"], figures["nodes_failed"]) == (2, 1, 1)
    assert (figures["workflow_id"], figures["node_count"], figures["variable_count"]) == ("w", 3, 1)
    assert figures["slowest_node_time_seconds"] >= figures["average_node_time_seconds"] > 0
    assert nodes_executed(shell.state) == 2
    assert final_variables(shell.state) == {"v": 1}
    assert metrics(Shell(graph).state, shell.now)["average_node_time_seconds"] == 0


def test_a_trace_has_what_every_run_got_and_gave():
    shell = Shell(tasks({"name": "a", **ACT, "input": {"x": 1}})).begin()
    during = trace(shell.state)[0]["status"]
    shell.end_task("a", FAILED)

    entry = trace(shell.state)[0]

    assert during == "running"
    assert (entry["input"], entry["error_type"], entry["duration_seconds"]) == ({"x": 1}, "execution", 1.0)


def test_the_actions_a_graph_names_and_their_effects():
    graph = tasks(
        {"name": "a", **ACT}, {"name": "b", "action": "{{ vars.ref }}"}, {"name": "c", "wait": 1}, vars={"ref": "x.z"}
    )

    assert literal_actions(graph) == ("x.y",)
    assert effects(graph, {"x.y": ActionFacts(effect=Effect.IRREVERSIBLE)}) == {"a": "irreversible"}


# -- re-run


CHAIN = [
    {"name": "a", **ACT, "next": [{"when": "succeeded", "publish": {"x": "{{ result() }}"}, "do": "b"}]},
    {"name": "b", **ACT, "input": {"x": "{{ vars.x }}"}, "next": [{"when": "succeeded", "do": "c"}]},
    {"name": "c", **ACT},
]


def ended(*fails: str, entries: list[dict[str, Any]] | None = None) -> Shell:
    graph = tasks(*(entries or CHAIN))
    return Shell(graph, lambda command: FAILED if command.node in fails else (Outcome.COMPLETED, 1)).begin().run()


def planned(shell: Shell, *start: From) -> Plan:
    made = plan(shell.state, shell.graph, start)
    assert isinstance(made, Plan), made
    return made


def test_a_re_run_starts_at_what_failed_with_the_variables_it_had():
    first = ended("b")
    second = Shell(first.graph).begin(reuse=planned(first).reuse)

    assert [(one.node, one.input) for one in second.performed] == [("b", {"x": 1})]
    assert second.run().check_fold().phase is Phase.COMPLETED
    assert node_states(second.state)["a"]["metadata"]["reused"] is True
    assert second.state.rerun_of == first.state.execution_id


def test_a_plan_lists_what_is_reused_and_which_effects_come_again():
    made = planned(ended("b"))

    assert [line["node"] for line in made.reused] == ["a"]
    assert [(line["node"], line["effect"], line["status"]) for line in made.effects] == [("b", "write", "failed")]


def test_a_named_task_is_repeated_with_everything_behind_it():
    made = planned(ended(), From(node="b"))

    assert [line["node"] for line in made.again] == ["b", "c"]


@pytest.mark.parametrize(
    ("start", "reason"),
    [
        ([], "nothing failed"),
        ([From(node="nobody")], "'nobody' never ran"),
        ([From(node="b", route="elsewhere")], "on route 'elsewhere'"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(start: list[From], reason: str):
    shell = ended()

    refused = plan(shell.state, shell.graph, start)

    assert isinstance(refused, Refused)
    assert reason in refused.reason


def test_a_running_execution_is_not_re_run():
    shell = Shell(tasks(*CHAIN)).begin()

    assert plan(shell.state, shell.graph) == Refused("the execution has not ended")


def test_a_re_run_may_go_onto_another_revision_as_long_as_what_is_reused_fits():
    shell = ended("b")
    fixed = tasks(CHAIN[0], {**CHAIN[1], "timeout": 5}, CHAIN[2], vars={"x": 0})
    moved = tasks({**CHAIN[0], "next": "c"}, {**CHAIN[1], "join": 1}, CHAIN[2], vars={"x": 0})
    gone = tasks(*CHAIN[1:], vars={"x": 0})

    assert isinstance(plan(shell.state, fixed), Plan)
    assert "changed what follows" in plan(shell.state, moved).reason  # type: ignore[union-attr]
    assert "changed what follows" in plan(shell.state, gone).reason  # type: ignore[union-attr]


def test_a_reused_run_that_is_reached_in_another_way_is_refused():
    shell = ended("c")
    split = tasks(CHAIN[0], {**CHAIN[1], "join": "each"}, {"name": "z", **ACT, "next": "b"}, CHAIN[2])

    refused = plan(shell.state, split)

    assert isinstance(refused, Refused)
    assert "reached in another way" in refused.reason


def test_what_led_to_fail_was_cancelled_or_undone_is_repeated():
    led = planned(ended(entries=[{"name": "a", **ACT, "next": [{"do": "fail"}]}]))
    undone = planned(ended("b", entries=[{**CHAIN[0], "compensate": "x.undo"}, *CHAIN[1:]]))
    cut = Shell(tasks(*CHAIN)).begin()
    cut.end_task("a")
    cut.cancel()
    cut.end_task("b", (Outcome.CANCELLED, None))

    assert [line["node"] for line in led.again] == ["a"]
    assert [line["node"] for line in undone.again] == ["a", "b"]
    assert [line["node"] for line in planned(cut).again] == ["b"]


def test_only_items_that_failed_are_repeated_unless_told_otherwise():
    graph = tasks({"name": "a", **ACT, "with_items": [1, 2, 3], "on_item_failure": "continue"})
    first = (
        Shell(graph, lambda command: FAILED if command.item == 1 else (Outcome.COMPLETED, command.item)).begin().run()
    )

    again = Shell(graph, lambda _: (Outcome.COMPLETED, 9)).begin(reuse=planned(first).reuse).run()
    anew = Shell(graph).begin(reuse=planned(first, From(node="a", reset_items=True)).reuse).run()

    assert [one.item for one in again.performed] == [1]
    assert again.check_fold().state.runs["a", 0].output == [0, 9, 2]
    assert node_states(again.state)["a[1]"]["metadata"]["reused"] is True
    assert len(anew.performed) == 3


def test_a_list_of_which_nothing_is_done_or_everything_is_starts_anew():
    graph = tasks({"name": "a", **ACT, "with_items": [1, 2], "on_item_failure": "continue"})
    none = Shell(graph, lambda _: FAILED).begin().run()
    every = Shell(graph).begin().run()

    assert planned(none).reuse.items == {}
    assert planned(every, From(node="a")).reuse.items == {}


def test_an_item_beyond_a_shorter_list_is_forgotten():
    first = (
        Shell(
            tasks({"name": "a", **ACT, "with_items": [1, 2, 3], "on_item_failure": "continue"}),
            lambda command: FAILED if command.item == 0 else (Outcome.COMPLETED, 7),
        )
        .begin()
        .run()
    )
    shorter = tasks({"name": "a", **ACT, "with_items": [1, 2], "on_item_failure": "continue"})
    made = plan(first.state, shorter)
    assert isinstance(made, Plan)

    second = Shell(shorter).begin(reuse=made.reuse).run()

    assert second.state.runs["a", 0].output == [None, 7]


def test_rounds_of_a_loop_that_went_well_are_kept():
    loop = [
        {"name": "in", **ACT, "next": "a"},
        {"name": "a", **ACT, "with_items": [1, 2], "on_item_failure": "continue", "next": [{"when": "succeeded", "do": "b"}]},
        {"name": "b", **ACT, "next": [{"when": "{{ result().again }}", "do": "a"}]},
    ]  # fmt: skip
    graph = tasks(*loop)
    mock = lambda command: (
        FAILED
        if (command.node, command.run, command.item) == ("a", 1, 0)
        else (Outcome.COMPLETED, {"again": command.run < 1})
    )
    first = Shell(graph, mock).begin().run()

    second = Shell(graph, lambda _: (Outcome.COMPLETED, {"again": False})).begin(reuse=planned(first).reuse).run()

    assert [(one.node, one.run, one.item) for one in second.performed] == [("a", 1, 0), ("b", 1, None)]


def test_tasks_that_were_staged_when_the_execution_ended_start_now():
    graph = side_by_side({"name": "a", **ACT}, {"name": "b", **ACT}, {"name": "c", "wait": 5, "when": "{{ 1 < 2 }}"})
    first = Shell(graph, limits=Limits(max_parallel_nodes=1)).begin()
    first.say(tell.LimitPassed(now=first.now, limit="WORKFLOW_TIMEOUT_SECONDS"))
    first.end_task("a")

    second = Shell(graph).begin(reuse=planned(first).reuse)

    assert second.flying == ["b"]
