"""What the language promises, one behaviour after the other, through the whole engine."""

from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from models.records import Effect, ErrorType
from services.engine import commands as do
from services.engine import events as happened
from services.engine import inputs as tell
from services.engine.assemble import Parts, build
from services.engine.expressions import compile_template
from services.engine.graph import (
    ActionFacts,
    Assignment,
    Graph,
    Items,
    Kind,
    Limits,
    Need,
    Node,
    OnError,
    Profile,
    Retry,
    Scoping,
    Transition,
    Wait,
)
from services.engine.rebuild import context_before
from services.engine.rendering import child_id
from services.engine.statuses import SUCCESS, Outcome, Phase
from tests.support.engine_shell import EXECUTION, Result, Shell, irreversible, side_by_side, tasks, workflows

ACT = {"action": "x.y"}
FAILED: Result = (Outcome.FAILED, None)


def failing(*names: str) -> Any:
    return lambda command: FAILED if command.node in names else (Outcome.COMPLETED, {"n": 1})


def results(**by_task: Any) -> Any:
    return lambda command: (Outcome.COMPLETED, by_task.get(command.node))


def inputs_of(shell: Shell, node: str) -> list[Any]:
    return [command.input for command in shell.performed if command.node == node]


# -- flow


def test_only_the_first_choice_that_holds_is_taken():
    step = {"when": "{{ result().n > 0 }}", "next": "b"}
    graph = tasks(
        {"name": "a", **ACT, "decision": [step, {"when": "{{ 1 > 0 }}", "next": "c"}, {"default": "d"}]},
        *({"name": name, **ACT} for name in "bcd"),
    )

    shell = Shell(graph, failing()).begin().run()

    assert sorted(shell.outcomes()) == ["a", "b"]


def test_a_task_with_several_ways_in_runs_once_and_late_variables_still_reach_the_output():
    graph = tasks(
        {"name": "a", **ACT, "next": [{"publish": {"a": 1}, "do": "z"}]},
        {"name": "b", **ACT, "next": [{"publish": {"b": 1}, "do": "z"}]},
        {"name": "z", **ACT},
        output={"all": "{{ vars }}"},
    )

    shell = Shell(graph).begin().run()

    assert shell.state.counts["z"] == 1
    assert shell.state.output == {"all": {"a": 1, "b": 1}}


def test_a_join_of_some_in_a_loop_ignores_late_arrivals_of_its_round_only():
    graph = tasks(
        {"name": "enter", **ACT, "next": "fork"},
        {"name": "fork", **ACT, "next": ["p", "q"]},
        {"name": "p", **ACT, "next": "meet"},
        {"name": "q", **ACT, "next": "meet"},
        {"name": "meet", **ACT, "join": 1, "next": [{"when": "{{ result().again }}", "do": "fork"}]},
    )
    shell = Shell(graph, lambda command: (Outcome.COMPLETED, {"again": command.run < 2})).begin()

    for node in ("enter", "fork", "p", "meet", "q", "fork", "q", "meet", "p", "fork", "p", "q", "meet"):
        shell.end_task(node)

    assert shell.phase is Phase.COMPLETED
    assert shell.state.counts["meet"] == 3


def test_a_join_without_hope_fails_at_once_and_names_what_is_missing():
    graph = tasks(
        {"name": "a", **ACT, "next": "j"},
        {"name": "b", **ACT, "next": [{"when": "{{ result() }}", "do": "c"}]},
        {"name": "c", **ACT, "next": "j"},
        {"name": "slow", **ACT},
        {"name": "j", **ACT, "join": "all"},
    )
    shell = Shell(graph).begin()
    shell.end_task("a")

    shell.end_task("b")

    assert shell.phase is Phase.FAILING
    assert shell.state.fatal.details == {"join": "j", "route": "", "arrived": ["a"], "missing": ["c"]}  # type: ignore[union-attr]


def test_a_join_waits_while_a_loop_can_still_lead_to_it():
    graph = tasks(
        {"name": "a", **ACT, "next": "j"},
        {
            "name": "b",
            **ACT,
            "next": [{"when": "{{ result().again }}", "do": "b"}, {"when": "{{ not result().again }}", "do": "j"}],
        },
        {"name": "in", **ACT, "next": "b"},
        {"name": "j", **ACT, "join": "all"},
    )

    shell = Shell(graph, lambda command: (Outcome.COMPLETED, {"again": command.run < 3})).begin().run()

    assert shell.phase is Phase.COMPLETED
    assert shell.state.counts["b"] == 4


def test_instances_of_a_split_meet_in_joins_of_their_own():
    graph = tasks(
        {"name": "a", **ACT, "next": "s"},
        {"name": "b", **ACT, "next": "s"},
        {"name": "s", **ACT, "join": "each", "next": ["p", "q"]},
        {"name": "p", **ACT, "next": "j"},
        {"name": "q", **ACT, "next": [{"when": "{{ result().n > 0 }}", "do": "j"}]},
        {"name": "j", **ACT, "join": "all"},
    )
    mock = lambda command: (Outcome.COMPLETED, {"n": command.run})

    shell = Shell(graph, mock).begin().run()

    assert shell.phase is Phase.FAILED
    assert shell.state.fatal.details["route"] == "a"  # type: ignore[union-attr, index]


def test_a_group_fails_when_one_of_its_tasks_does_after_all_have_ended():
    group = {"name": "g", "type": "parallel", "tasks": [{"name": "p", **ACT}, {"name": "q", **ACT}]}
    graph = tasks({**group, "next": [{"when": "failed", "do": "fix"}]}, {"name": "fix", **ACT})

    shell = Shell(graph, failing("p")).begin().run()

    assert shell.phase is Phase.COMPLETED
    assert shell.outcomes() == {"p": "failed", "q": "completed", "g": "failed", "fix": "completed"}
    assert "failed in p" in shell.state.runs["g", 0].failure.message  # type: ignore[union-attr]


def test_global_variables_are_seen_by_every_branch():
    act, value = compile_template("x.y"), compile_template(1)
    publish = Transition(when=SUCCESS, publish=(Assignment(name="x", value=value),))
    reads = Node(id="c", action=act, input=compile_template({"x": "{{ vars.x }}"}))
    wait = Node(id="b", kind=Kind.WAIT, wait=Wait(seconds=compile_template(5)), next=(Transition(do=("c",)),))
    graph = build([Node(id="a", action=act, next=(publish,)), wait, reads], parts(scoping=Scoping.GLOBAL))
    shell = Shell(graph).begin()

    shell.end_task("a")
    shell.fire("wait/b/0")

    assert inputs_of(shell, "c") == [{"x": 1}]


def parts(**profile: Any) -> Parts:
    return Parts(dialect="test", profile=Profile(**profile), vars=(Assignment(name="x", value=compile_template(0)),))


# -- failures and ends


def test_conditions_and_publishes_may_forgive_errors_where_the_profile_says_so():
    act, broken = compile_template("x.y"), compile_template("{{ result().nothing.here }}")
    steps = (
        Transition(when=broken, do=("b",)),
        Transition(publish=(Assignment(name="x", value=broken), Assignment(name="z", value=compile_template(2)))),
    )
    profile = {"condition_error": OnError.AS_FALSE, "publish_error": OnError.IGNORE}
    graph = build([Node(id="a", action=act, next=steps), Node(id="b", action=act)], parts(**profile))

    shell = Shell(graph).begin().run()

    assert shell.phase is Phase.COMPLETED
    assert shell.state.leaves.values() == {"x": 0, "z": 2}  # type: ignore[union-attr]
    assert list(shell.outcomes()) == ["a"]


def test_a_publish_that_cannot_be_evaluated_fails_the_execution():
    graph = tasks(
        {"name": "a", **ACT, "next": [{"publish": {"v": "{{ result().x.y }}"}, "do": "b"}]}, {"name": "b", **ACT}
    )

    shell = Shell(graph).begin().run()

    assert shell.phase is Phase.FAILED
    assert [(trouble.kind, trouble.transition) for trouble in shell.state.troubles] == [("expression", 0)]


def test_fail_says_why():
    graph = tasks({"name": "a", **ACT, "next": [{"do": "fail", "message": "no {{ result().n }}"}]})

    shell = Shell(graph, failing()).begin().run()

    assert shell.state.failure.message == "no 1"  # type: ignore[union-attr]


@pytest.mark.parametrize(("mock", "message"), [(failing("a"), "a failed"), (failing(), "the task 'a' led to fail")])
def test_fail_without_message_names_the_cause(mock: Any, message: str):
    graph = tasks({"name": "a", **ACT, "next": [{"do": "fail"}]})

    shell = Shell(graph, mock).begin().run()

    assert shell.state.failure.message == message  # type: ignore[union-attr]


def test_failing_fast_interrupts_others_and_ends_what_waits():
    graph = side_by_side(
        {"name": "bad", **ACT},
        {"name": "other", **ACT},
        {"name": "rest", "wait": 60},
        {"name": "ask", "action": "core.inquiry", "timeout": 60},
        {"name": "late", **ACT, "delay": 5},
        {"name": "list", **ACT, "with_items": [1], "delay": 5},
        {"name": "sub", "type": "workflow", **ACT},
    )
    shell = Shell(graph).begin()

    decision = shell.end_task("bad", FAILED)

    kinds = {type(command).__name__ for command in decision.commands}
    assert kinds == {"InterruptAttempt", "ClearTimer", "CloseInquiry", "CancelChild"}
    assert shell.phase is Phase.FAILING
    shell.end_task("other", (Outcome.CANCELLED, None))
    shell.end_child(child_id(EXECUTION, ("sub", 0, None), 1), Outcome.CANCELLED)
    assert shell.phase is Phase.FAILED


def test_a_late_result_is_recorded_but_not_followed():
    graph = tasks({"name": "bad", **ACT}, {"name": "other", **ACT, "next": "more"}, {"name": "more", **ACT})
    shell = Shell(graph).begin()
    shell.end_task("bad", FAILED)

    shell.end_task("other", (Outcome.COMPLETED, 5))

    assert shell.state.runs["other", 0].output == 5
    assert "more" not in shell.state.counts
    assert shell.phase is Phase.FAILED


def test_a_cancelled_task_is_a_failure_unless_somebody_takes_it_up():
    graph = tasks(
        {"name": "a", **ACT},
        {"name": "b", **ACT, "next": [{"when": "cancelled", "do": "c"}]},
        {"name": "c", **ACT},
        on_failure="drain",
    )
    cancel_first = lambda command: (Outcome.CANCELLED if command.node != "c" else Outcome.COMPLETED, None)

    shell = Shell(graph, cancel_first).begin().run()

    assert shell.phase is Phase.FAILED
    assert shell.outcomes()["c"] == "completed"
    assert shell.state.failure.type is ErrorType.CANCELLED  # type: ignore[union-attr]


def test_clean_up_runs_to_its_end_while_other_branches_stop():
    graph = tasks(
        {"name": "bad", **ACT, "next": [{"when": "failed", "do": ["clean", "fail"]}]},
        {"name": "clean", **ACT, "retry": {"count": 1, "delay": 5}, "next": "more"},
        {"name": "more", **ACT, "with_items": [1, 2], "concurrency": 1},
        {"name": "other", **ACT},
    )
    shell = Shell(graph).begin()
    shell.end_task("bad", FAILED)
    shell.end_task("other", (Outcome.CANCELLED, None))
    shell.end_task("clean", FAILED)

    shell.run()

    assert shell.phase is Phase.FAILED
    assert shell.outcomes() == {"bad": "failed", "other": "cancelled", "clean": "completed", "more": "completed"}


def test_a_cancel_ends_clean_up_as_well():
    graph = tasks(
        {"name": "bad", **ACT, "next": [{"when": "failed", "do": ["clean", "fail"]}]}, {"name": "clean", **ACT, "next": "m"}, {"name": "m", **ACT}
    )  # fmt: skip
    shell = Shell(graph).begin()
    shell.end_task("bad", FAILED)

    shell.cancel()
    shell.run()

    assert shell.phase is Phase.CANCELLED
    assert "m" not in shell.state.counts


# -- compensation


def undoing(**more: Any) -> Graph:
    return tasks(
        {"name": "a", **ACT, "compensate": {"action": "x.undo", "input": {"of": "{{ result().n }}"}}, "next": "b"},
        {"name": "b", **ACT, "compensate": {"action": "x.undo", "timeout": 9}, "input": {"b": 1}, "next": "c"},
        {"name": "c", **ACT, "next": [{"when": "succeeded", "do": "end"}]},
        **more,
    )


def test_compensations_run_one_after_the_other_latest_first():
    shell = Shell(undoing(), failing("c")).begin()
    for node in ("a", "b", "c"):
        shell.end_task(node)

    assert shell.flying == ["b.undo"]
    shell.end_task("b.undo")
    assert shell.flying == ["a.undo"]
    shell.end_task("a.undo")

    assert shell.phase is Phase.FAILED
    assert [(one.node, one.input) for one in shell.performed[3:]] == [("b.undo", {"b": 1}), ("a.undo", {"of": 1})]


def test_an_undo_that_fails_is_noted_and_the_others_go_on():
    shell = Shell(undoing(), failing("c", "b.undo")).begin().run()

    assert shell.outcomes()["a.undo"] == "completed"
    assert [trouble.kind for trouble in shell.state.troubles][-1] == "undo_failed"


def test_an_undo_that_cannot_be_rendered_is_noted():
    graph = tasks(
        {"name": "a", **ACT, "compensate": {"action": "x.undo", "input": {"v": "{{ result().x.y }}"}}, "next": "b"},
        {"name": "b", **ACT},
    )

    shell = Shell(graph, failing("b")).begin().run()

    assert shell.outcomes()["a.undo"] == "failed"
    assert shell.phase is Phase.FAILED


def test_an_undo_may_be_a_task_without_action_or_a_workflow_but_keeps_its_depth():
    graph = tasks(
        {"name": "a", **ACT, "compensate": "note", "next": "b"},
        {"name": "b", **ACT, "compensate": "x.flow", "next": "c"},
        {"name": "c", **ACT},
        {"name": "note"},
    )
    facts = workflows("x.flow")

    shell = Shell(graph, failing("c"), actions=facts).begin().run()
    deep = Shell(graph, failing("c"), limits=Limits(max_loop_depth=1), actions=facts).begin().run()

    assert shell.outcomes()["b.undo"] == shell.outcomes()["note"] == "completed"
    assert deep.outcomes()["b.undo"] == "failed"


def test_a_cancel_undoes_and_leaves_a_running_undo_alone():
    shell = Shell(undoing(), failing()).begin()
    shell.end_task("a")
    shell.cancel()
    shell.end_task("b", (Outcome.CANCELLED, None))

    shell.cancel()

    assert shell.flying == ["a.undo"]
    assert shell.run().phase is Phase.CANCELLED


# -- items


def test_a_failed_item_stops_the_others():
    graph = tasks({"name": "a", **ACT, "with_items": [1, 2, 3, 4], "concurrency": 2, "on_item_failure": "stop"})
    shell = Shell(graph).begin()

    decision = shell.end(shell.in_flight[0], FAILED)
    shell.end(shell.in_flight[0], (Outcome.CANCELLED, None))

    assert [type(command).__name__ for command in decision.commands] == ["InterruptAttempt"]
    assert len(shell.performed) == 2
    assert shell.state.failure.details == {"item": 0, "failed_items": [0, 1]}  # type: ignore[union-attr]


def test_items_are_retried_one_by_one_and_wait_for_their_delay():
    graph = tasks(
        {"name": "a", **ACT, "with_items": [1, 2], "retry": {"count": 1, "delay": 5}, "input": {"v": "{{ item }}"}}
    )
    fails_once = lambda command: (
        FAILED if command.item == 0 and command.attempt == 1 else (Outcome.COMPLETED, command.item)
    )

    shell = Shell(graph, fails_once).begin().run()

    assert shell.phase is Phase.COMPLETED
    assert [(one.item, one.attempt) for one in shell.performed] == [(0, 1), (1, 1), (0, 2)]
    assert shell.state.runs["a", 0].output == [0, 1]


def test_an_item_that_cannot_be_rendered_has_failed():
    graph = tasks(
        {"name": "a", **ACT, "with_items": [{"x": 1}, {}], "on_item_failure": "continue", "input": {"v": "{{ item.x }}"},
         "next": [{"when": "failed", "publish": {"items": "{{ task.a.items }}"}, "do": "noop"}]},
        output={"items": "{{ vars.items }}"},
    )  # fmt: skip

    shell = Shell(graph, results(a=7)).begin().run()

    items = shell.state.output["items"]
    assert [(item["status"], item["output"]) for item in items] == [("completed", 7), ("failed", None)]
    assert items[1]["error"]["type"] == "validation"


def test_too_many_items_fail_the_execution():
    shell = Shell(tasks({"name": "a", **ACT, "with_items": [1, 2, 3]}), limits=Limits(max_items=2)).begin()

    assert shell.phase is Phase.FAILED
    assert "MAX_ITEMS=2" in shell.state.failure.message  # type: ignore[union-attr]


def test_an_items_sub_workflow_keeps_its_depth():
    graph = tasks({"name": "a", "type": "workflow", "action": "x.flow", "with_items": [1, 2]})

    fine = Shell(graph).begin().run()
    deep = Shell(graph, limits=Limits(max_loop_depth=3)).begin(depth=3).run()

    assert fine.state.runs["a", 0].output == [None, None]
    assert "MAX_LOOP_DEPTH=3" in deep.state.failure.message  # type: ignore[union-attr]


def test_elements_are_spread_over_names():
    graph = tasks(
        {"name": "a", **ACT, "with_items": "x, y in {{ vars.pairs }}", "input": {"x": "{{ x }}", "y": "{{ item.y }}"}},
        vars={"pairs": [[1, 2], [3], 5]},
    )

    shell = Shell(graph).begin().run()

    assert inputs_of(shell, "a") == [{"x": 1, "y": 2}, {"x": 3, "y": None}, {"x": 5, "y": None}]


def test_a_value_that_is_no_list_may_become_one():
    act = compile_template("x.y")
    items = Items(values=compile_template(5), wrap=True, names=("v",))
    graph = build([Node(id="a", action=act, items=items, input=compile_template({"v": "{{ v }}"}))], parts())

    assert inputs_of(Shell(graph).begin().run(), "a") == [{"v": 5}]


def test_a_repeated_list_starts_anew_after_its_delay():
    act = compile_template("x.y")
    retry = Retry(count=compile_template(1), delay=compile_template(7))
    node = Node(id="a", action=act, items=Items(values=compile_template([1, 2])), retry=retry)
    graph = build([node], parts(retry_whole_list=True, strict_numbers=True))
    fails = lambda command: (
        FAILED if command.item == 0 and shell.state.runs["a", 0].attempt == 1 else (Outcome.COMPLETED, 1)
    )
    shell = Shell(graph, lambda command: fails(command)).begin()

    shell.run()

    assert shell.phase is Phase.COMPLETED
    assert len(shell.performed) == 4
    assert shell.check_fold().state.runs["a", 0].attempt == 2


def test_a_cancelled_list_that_waits_ends_at_once():
    shell = Shell(tasks({"name": "a", **ACT, "with_items": [1], "delay": 60})).begin()

    shell.cancel()

    assert shell.phase is Phase.CANCELLED
    assert shell.outcomes() == {"a": "cancelled"}


def test_waiting_items_are_cancelled_with_their_list():
    shell = Shell(tasks({"name": "a", "action": "core.inquiry", "with_items": [1, 2]})).begin()

    decision = shell.cancel()

    assert shell.phase is Phase.CANCELLED
    assert sum(isinstance(command, do.CloseInquiry) for command in decision.commands) == 2


# -- attempts, timers, inquiries, children


def test_a_retry_backs_off_within_its_bound_and_jitter_shortens_it():
    retry = {"count": 3, "delay": 4, "backoff": "exponential", "max_delay": 10}
    plain = Shell(tasks({"name": "a", **ACT, "retry": retry}), failing("a")).begin().run()
    jittered = Shell(tasks({"name": "a", **ACT, "retry": {**retry, "jitter": True}}), failing("a")).begin().run()

    delays = [
        [event.retry_s for event in shell.log if isinstance(event, happened.AttemptEnded)]
        for shell in (plain, jittered)
    ]

    assert delays[0] == [4, 8, 10]
    assert all(long / 2 <= short < long for long, short in zip(delays[0], delays[1], strict=True))  # type: ignore[operator]


@pytest.mark.parametrize("count", ["{{ vars.nothing | default('x') }}", "{{ vars.nothing | default(1.5) }}"])
def test_a_retry_that_makes_no_sense_fails_the_task(count: str):
    shell = Shell(tasks({"name": "a", **ACT, "retry": {"count": count}}), failing("a")).begin().run()

    assert shell.state.failure.type is ErrorType.VALIDATION  # type: ignore[union-attr]


def test_a_retry_is_not_taken_when_its_condition_is_false_or_the_failure_is_final():
    graph = tasks({"name": "a", **ACT, "retry": {"count": 3, "when": "timed_out"}})

    plain = Shell(graph).begin()
    plain.end_task("a", FAILED)
    interrupted = Shell(tasks({"name": "a", **ACT, "retry": 3})).begin()
    interrupted.end_task("a", FAILED, error=ErrorType.INTERRUPTED)

    assert plain.phase is interrupted.phase is Phase.FAILED


def test_a_result_beyond_a_limit_fails_the_execution_even_when_failures_are_handled():
    graph = tasks({"name": "a", **ACT, "next": [{"when": "failed", "do": "b"}]}, {"name": "b", **ACT})
    shell = Shell(graph).begin()

    shell.end_task("a", FAILED, error=ErrorType.LIMIT)

    assert shell.run().phase is Phase.FAILED
    assert shell.state.failure.type is ErrorType.LIMIT  # type: ignore[union-attr]


def test_a_delayed_inquiry_and_a_delayed_wait_begin_after_their_delay():
    graph = side_by_side({"name": "a", "action": "core.inquiry", "delay": 5}, {"name": "b", "wait": 10, "delay": 5})
    shell = Shell(graph).begin()
    begin = shell.now

    shell.fire("delay/a/0")

    assert [one.node for one in shell.inquiries] == ["a"]
    assert shell.state.timers["wait/b/0"].due == begin + timedelta(seconds=15)
    assert shell.run().phase is Phase.COMPLETED


def test_a_timer_that_fires_early_is_set_again():
    shell = Shell(tasks({"name": "a", "wait": 60})).begin()

    decision = shell.say(tell.TimerFired(now=shell.now, id="wait/a/0"))

    assert not decision.events
    assert isinstance(decision.commands[0], do.SetTimer)


@pytest.mark.parametrize("default", [{"input": {"default": "no", "timeout": "1m"}}, {"input": {"timeout_seconds": 60}}])
def test_an_inquiry_nobody_answers_takes_its_default_or_times_out(default: dict[str, Any]):
    graph = tasks(
        {"name": "a", "action": "core.inquiry", **default,
         "next": [{"publish": {"r": "{{ result().response | default('none') }}"}, "do": "noop"}]},
        output={"r": "{{ vars.r }}"},
    )  # fmt: skip
    shell = Shell(graph).begin()

    decision = shell.fire("timeout/a/0")

    expected = "default" in default["input"]
    assert shell.outcomes()["a"] == ("completed" if expected else "timed_out")
    assert any(isinstance(command, do.CloseInquiry) and command.reason == "expired" for command in decision.commands)


def test_an_inquiry_with_a_timeout_that_is_no_duration_fails_and_asks_nobody():
    shell = Shell(tasks({"name": "a", "action": "core.inquiry", "input": {"timeout": "soon"}})).begin()

    assert shell.outcomes()["a"] == "failed"
    assert not shell.inquiries


def test_a_child_that_takes_too_long_is_cancelled_and_its_task_times_out():
    graph = tasks(
        {"name": "a", "type": "workflow", **ACT, "timeout": 60, "next": [{"when": "timed_out", "do": "noop"}]}
    )
    shell = Shell(graph).begin()

    decision = shell.fire("timeout/a/0")

    assert isinstance(decision.commands[0], do.CancelChild)
    assert shell.phase is Phase.COMPLETED


def test_a_retried_child_is_another_execution():
    shell = Shell(tasks({"name": "a", "type": "workflow", **ACT, "retry": 1})).begin()
    first = next(iter(shell.children))

    shell.end_child(first, Outcome.FAILED)

    second = next(iter(shell.children))
    assert second != first
    assert shell.end_child(second).events
    assert shell.phase is Phase.COMPLETED


def test_a_child_is_named_after_its_place_whatever_its_parent_is_called():
    assert child_id("not a uuid", ("a", 0, 1), 1) == child_id("not a uuid", ("a", 0, 1), 1)
    assert child_id(EXECUTION, ("a", 0, 1), 1) != child_id(EXECUTION, ("a", 0, 1), 2)


def test_a_paused_child_shows_and_an_operators_pause_is_passed_down():
    shell = Shell(tasks({"name": "a", "type": "workflow", **ACT})).begin()
    child = next(iter(shell.children))

    down = shell.pause()
    shell.say(tell.ChildPaused(now=shell.now, child_id=child))
    again = shell.resume()

    assert isinstance(down.commands[0], do.PauseChild)
    assert isinstance(again.commands[0], do.ResumeChild)
    assert shell.phase is Phase.RUNNING


def test_an_execution_is_paused_once_its_children_are():
    shell = Shell(tasks({"name": "a", "type": "workflow", **ACT})).begin()
    shell.pause()

    shell.say(tell.ChildPaused(now=shell.now, child_id=next(iter(shell.children))))

    assert shell.phase is Phase.PAUSED


def test_while_paused_retries_that_are_due_wait():
    shell = Shell(tasks({"name": "a", **ACT, "retry": {"count": 1, "delay": 5}}), failing("a")).begin()
    shell.end_task("a")
    shell.pause()

    shell.fire("retry/a/0")
    waiting = list(shell.flying)
    shell.resume()

    assert (waiting, shell.flying) == ([], ["a"])


def test_an_inquiry_pauses_the_execution_where_the_profile_says_so():
    ask = Node(id="a", kind=Kind.INQUIRY, action=compile_template("core.ask"), timeout=compile_template(60))
    other = Node(id="b", action=compile_template("x.y"), next=(Transition(do=("c",)),))
    graph = build([ask, other, Node(id="c", action=compile_template("x.y"))], parts(inquiry_pauses=True))
    shell = Shell(graph).begin()
    shell.end_task("b")
    paused = shell.phase

    shell.say(tell.InquiryExpired(now=shell.now, node="a", run=0))

    assert paused is Phase.PAUSED
    assert shell.phase is Phase.FAILING or shell.phase is Phase.FAILED


def test_a_task_that_cancels_itself_cancels_the_execution_where_the_profile_says_so():
    graph = build([Node(id="a", action=compile_template("x.y"))], parts(cancelled_task_cancels=True))
    shell = Shell(graph).begin()

    shell.end_task("a", (Outcome.CANCELLED, None))

    assert shell.phase is Phase.CANCELLED


# -- take-over


def test_after_a_take_over_everything_in_flight_is_asked_for_again():
    graph = side_by_side(
        {"name": "act", **ACT, "timeout": 5},
        {"name": "list", **ACT, "with_items": [1, 2]},
        {"name": "ask", "action": "core.inquiry", "timeout": 60},
        {"name": "quiet", "action": "core.inquiry"},
        {"name": "sub", "type": "workflow", **ACT},
        {"name": "rest", "wait": 60},
        {"name": "more", **ACT, "retry": {"count": 1, "delay": 9}},
    )
    shell = Shell(graph).begin()
    shell.end_task("more", FAILED)
    before = {(one.key, one.attempt) for one in shell.in_flight}

    decision = shell.lose_everything()

    assert not decision.events
    assert {(one.key, one.attempt) for one in shell.in_flight} == before
    assert set(shell.timers) == {"timeout/ask/0", "wait/rest/0", "retry/more/0"}
    assert {type(command).__name__ for command in decision.commands} == {
        "SetTimer",
        "Perform",
        "OpenInquiry",
        "StartChild",
    }


def test_an_irreversible_attempt_in_flight_is_not_repeated():
    graph = tasks(
        {"name": "a", "action": "x.once", "retry": 3, "next": [{"when": "failed", "do": "b"}]}, {"name": "b", **ACT}
    )
    shell = Shell(graph, actions=irreversible("x.once")).begin()

    shell.lose_everything()

    assert shell.flying == ["b"]
    assert shell.state.runs["a", 0].failure.type is ErrorType.INTERRUPTED  # type: ignore[union-attr]


def test_what_was_being_stopped_has_stopped_after_a_take_over():
    shell = Shell(side_by_side({"name": "a", **ACT}, {"name": "s", "type": "workflow", **ACT})).begin()
    shell.cancel()

    decision = shell.lose_everything()

    assert shell.outcomes() == {"a": "cancelled", "s": "None"}
    assert isinstance(decision.commands[-1], do.CancelChild)


def test_a_fatal_end_on_take_over_skips_what_it_stopped():
    graph = side_by_side(
        {"name": "a", "action": "x.once"}, {"name": "b", "wait": 60}, {"name": "c", "action": "core.inquiry"}
    )
    shell = Shell(graph, actions=irreversible("x.once")).begin()

    shell.lose_everything()

    assert shell.phase is Phase.FAILED


# -- begin, limits, output, values


def test_a_variable_that_cannot_be_evaluated_fails_before_any_task():
    graph = tasks({"name": "a", **ACT}, vars={"x": "{{ parameters.p.q }}", "y": 1, "z": "{{ vars.y + 1 }}"})

    shell = Shell(graph).begin({"p": 1})

    assert shell.phase is Phase.FAILED
    assert not shell.performed
    assert shell.state.root.values() == {"y": 1, "z": 2}


def test_inputs_take_what_is_given_their_default_or_null():
    inputs = tuple(
        Assignment(name=name, value=None if default is None else compile_template(default), required=name == "must")
        for name, default in (
            ("given", "{{ 1 }}"),
            ("default", "{{ ctx('given') }}"),
            ("nothing", None),
            ("must", None),
        )
    )
    profile = Profile(inputs_are_variables=True)
    graph = build([Node(id="a", action=compile_template("x.y"))], Parts(dialect="test", profile=profile, inputs=inputs))

    fine = Shell(graph).begin({"given": 5, "must": 6, "extra": 7}, context={"app": 1})
    short = Shell(graph).begin({})

    assert fine.state.root.values() == {"app": 1, "given": 5, "default": 5, "nothing": None, "must": 6}
    assert short.state.failure.message == "the input 'must' is missing"  # type: ignore[union-attr]


def test_parameters_keep_what_is_not_declared():
    inputs = (Assignment(name="x", value=compile_template(3)),)
    graph = build([Node(id="a", action=compile_template("x.y"))], Parts(dialect="test", inputs=inputs))

    assert Shell(graph).begin({"extra": 7}).state.parameters == {"extra": 7, "x": 3}


@pytest.mark.parametrize(
    ("limits", "name"),
    [
        (Limits(max_loop_iterations=3), "MAX_LOOP_ITERATIONS=3"),
        (Limits(max_total_operations=5), "MAX_TOTAL_OPERATIONS=5"),
        (Limits(max_context_bytes=40), "MAX_CONTEXT_BYTES=40"),
    ],
)
def test_a_limit_that_is_passed_is_named(limits: Limits, name: str):
    graph = tasks(
        {"name": "in", **ACT, "next": "a"},
        {"name": "a", **ACT, "next": [{"publish": {"s": "{{ (vars.s or '') ~ 'xxxxxxxxxx' }}"}, "do": "a"}]},
        vars={"s": ""},
    )

    shell = Shell(graph, limits=limits).begin().run()

    assert shell.state.failure.type is ErrorType.LIMIT  # type: ignore[union-attr]
    assert name in shell.state.failure.message  # type: ignore[union-attr]


def test_clean_up_that_passes_a_limit_stops_as_well():
    graph = tasks(
        {"name": "bad", **ACT, "next": [{"when": "failed", "do": ["clean", "fail"]}]},
        {"name": "clean", **ACT, "next": ["clean", "side"]},
        {"name": "side", **ACT, "delay": 60},
    )

    shell = Shell(graph, failing("bad"), limits=Limits(max_loop_iterations=3)).begin().run()

    assert shell.phase is Phase.FAILED
    assert shell.state.over_limit


def test_a_tasks_own_bound_on_rounds_counts():
    graph = tasks({"name": "in", **ACT, "next": "a"}, {"name": "a", **ACT, "max_iterations": 2, "next": "a"})

    assert Shell(graph).begin().run().state.counts["a"] == 2


def test_time_that_only_the_shell_can_measure_is_a_limit_too():
    shell = Shell(tasks({"name": "a", **ACT})).begin()

    shell.say(tell.LimitPassed(now=shell.now, limit="WORKFLOW_TIMEOUT_SECONDS"))
    shell.end_task("a", (Outcome.CANCELLED, None))
    other = Shell(tasks({"name": "a", "wait": 5})).begin()
    other.say(tell.LimitPassed(now=other.now, limit="DISK", message="no room"))

    assert "WORKFLOW_TIMEOUT_SECONDS=300" in shell.state.failure.message  # type: ignore[union-attr]
    assert other.state.failure.message == "no room (DISK)"  # type: ignore[union-attr]


def test_nothing_more_starts_than_there_are_slots():
    graph = side_by_side(*({"name": f"t{number}", **ACT} for number in range(5)), {"name": "free", "wait": 1})
    shell = Shell(graph, limits=Limits(max_parallel_nodes=2)).begin()

    assert shell.flying == ["t0", "t1"]
    assert "wait/free/0" in shell.timers
    assert shell.run().phase is Phase.COMPLETED


def test_a_retry_waits_for_a_slot():
    graph = side_by_side({"name": "a", **ACT, "retry": {"count": 1, "delay": 5}}, {"name": "b", **ACT})
    shell = Shell(graph, failing("a"), limits=Limits(max_parallel_nodes=1)).begin()
    shell.end_task("a")

    shell.fire("retry/a/0")
    assert shell.flying == ["b"]

    shell.end_task("b")
    assert shell.flying == ["a"]


def test_an_output_that_breaks_its_schema_fails_the_execution_and_lists_why():
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["m"]}
    shell = Shell(tasks({"name": "a", **ACT}, out_schema=schema, output={"n": "text"})).begin().run()

    assert shell.phase is Phase.FAILED
    assert len(shell.state.failure.details["violations"]) == 2  # type: ignore[union-attr, index]


def test_an_output_may_be_for_success_only():
    output = (Assignment(name="o", value=compile_template(1)),)
    profile = Profile(output_on_success_only=True)
    nodes = [Node(id="a", action=compile_template("x.y"))]
    graph = build(nodes, Parts(dialect="test", profile=profile, output=output))

    assert Shell(graph).begin().run().state.output == {"o": 1}
    assert Shell(graph, failing("a")).begin().run().state.output is None


def test_the_output_of_a_failure_sees_what_never_started():
    graph = tasks(
        {"name": "bad", **ACT},
        {"name": "a", **ACT, "next": [{"publish": {"x": 1}, "do": "b"}]},
        {"name": "b", **ACT},
        {"name": "p", **ACT, "next": [{"publish": {"y": 2}, "do": "j"}]},
        {"name": "j", **ACT, "depends_on": ["b"]},
        output={"all": "{{ vars }}"},
    )
    shell = Shell(graph, failing("bad"), limits=Limits(max_parallel_nodes=4)).begin()
    for node in ("p", "bad", "a"):
        shell.end_task(node)

    shell.run()

    assert shell.state.output == {"all": {"x": 1, "y": 2}}


def test_a_dynamic_action_is_looked_up_and_an_unknown_one_fails_its_task():
    graph = tasks({"name": "a", "action": "{{ parameters.ref }}"})
    flow = Shell(graph, actions=workflows("x.flow")).begin({"ref": "x.flow"})
    unknown = Shell(graph).begin({"ref": "x.nothing"})
    empty = Shell(graph).begin({"ref": 5})

    assert len(flow.children) == 1
    assert unknown.state.failure.message == "there is no action 'x.nothing'"  # type: ignore[union-attr]
    assert "not the name of an action" in empty.state.failure.message  # type: ignore[union-attr]


def test_the_engine_asks_for_everything_the_worker_must_evaluate_at_once():
    slow = "{% for x in vars.xs %}{{ x }}{% endfor %}"
    graph = side_by_side(
        {"name": "a", **ACT, "input": {"x": slow}}, {"name": "b", "action": "{{ parameters.ref }}"}, vars={"xs": [1, 2]}
    )
    shell = Shell(graph)
    begin = tell.Begin(now=shell.now, execution_id=EXECUTION, parameters={"ref": "x.dyn"})

    from services.engine.decide import decide

    first = decide(graph, shell.state, begin)
    question = first.commands[0]
    assert isinstance(question, do.Evaluate)
    answers = {request["id"]: {"value": "12"} for request in question.requests}
    facts = {"x.dyn": ActionFacts(effect=Effect.READ)}
    second = decide(graph, shell.state, tell.Evaluated(of=begin, answers=answers, actions=facts))

    assert not first.events
    assert (len(question.requests), question.actions) == (1, ("x.dyn",))
    assert [(one.action, one.input) for one in second.commands] == [("x.y", {"x": "12"}), ("x.dyn", {})]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "entry",
    [
        {"with_items": "{{ vars.xs }}", "input": {"x": "{% for y in [item] %}{{ y }}{% endfor %}"}},
        {"next": [{"when": "{% if result() %}{% endif %}", "do": "end"}, {"publish": {"v": "{% if 1 %}a{% endif %}"}}]},
    ],
)
def test_open_questions_hold_everything_back(entry: dict[str, Any]):
    shell = Shell(tasks({"name": "a", **ACT, **entry}, vars={"xs": [1, 2]}))

    shell.begin().run()

    assert shell.phase is Phase.FAILED
    assert "the worker is not here" in str(shell.state.troubles)


def test_an_output_or_variable_may_need_the_worker():
    shell = Shell(
        tasks({"name": "a", **ACT}, vars={"x": "{% if 1 %}a{% endif %}"}, output={"o": "{% if 1 %}b{% endif %}"})
    )

    shell.begin().run()

    assert shell.state.ended


def test_uuids_and_now_are_fixed_by_the_event():
    graph = tasks({"name": "a", **ACT, "input": {"one": "{{ uuid() }}", "two": "{{ uuid() }}", "at": "{{ now() }}"}})

    first, second = (Shell(graph).begin().performed[0].input for _ in range(2))

    assert first == second
    assert first["one"] != first["two"]
    assert first["at"] == "2026-01-01T00:00:00Z"


def test_an_action_gets_its_secrets_as_places():
    graph = tasks({"name": "a", **ACT, "input": {"token": "Bearer {{ secrets.KEY }}"}})

    performed = Shell(graph).begin().performed[0]

    assert performed.input == {"token": "Bearer [secret KEY]"}
    assert performed.secrets == ({"at": ["token"], "parts": ["Bearer ", {"secret": "KEY"}]},)


def test_an_input_that_is_no_object_fails_its_task():
    shell = Shell(tasks({"name": "a", **ACT, "input": "{{ parameters.p }}"})).begin({"p": 5})

    assert shell.state.failure.message == "the input of 'a' is not an object"  # type: ignore[union-attr]


def test_the_variables_a_run_started_from_can_be_worked_out_again():
    graph = tasks(
        {"name": "a", **ACT, "next": [{"publish": {"x": 1}, "do": ["b", "c"]}]},
        {"name": "b", **ACT, "next": [{"publish": {"y": 2}, "do": "j"}, {"publish": {"y": 3}, "do": "j"}]},
        {"name": "c", **ACT, "next": [{"publish": {"x": 4}, "do": "j"}]},
        {"name": "j", **ACT, "join": "all", "input": {"all": "{{ vars }}"}},
        vars={"v": 0},
    )

    shell = Shell(graph).begin().run()

    before = context_before(shell.state, shell.state.runs["j", 0]).values()
    assert [before] == [entry["all"] for entry in inputs_of(shell, "j")] == [{"v": 0, "x": 4, "y": 3}]
    assert context_before(shell.state, shell.state.runs["a", 0]).values() == {"v": 0}


def test_what_a_graph_with_each_inside_a_loop_does_is_bounded():
    node = Node(id="a", action=compile_template("x.y"), join=Need.EACH, next=(Transition(do=("a",)),))
    first = Node(id="in", action=compile_template("x.y"), next=(Transition(do=("a",)), Transition(do=("a",))))

    shell = Shell(build([first, node], parts()), limits=replace(Limits(), max_loop_iterations=3)).begin().run()

    assert shell.state.failure.type is ErrorType.LIMIT  # type: ignore[union-attr]


def test_two_ways_to_the_same_task_within_a_loop_are_one_start():
    again = {"when": "{{ result().again }}", "do": "a"}
    graph = tasks(
        {"name": "in", **ACT, "next": "a"},
        {"name": "a", **ACT, "next": [{**again, "publish": {"x": 1}}, {**again, "publish": {"y": 2}}]},
        output={"all": "{{ vars }}"},
    )

    shell = Shell(graph, lambda command: (Outcome.COMPLETED, {"again": command.run == 0})).begin().run()

    assert shell.state.counts["a"] == 2
    assert shell.state.output == {"all": {"x": 1, "y": 2}}


def test_what_may_finish_after_a_failure_is_not_retried():
    act = compile_template("x.y")
    nodes = [Node(id="a", action=act), Node(id="b", action=act, retry=Retry(count=compile_template(3)))]
    shell = Shell(build(nodes, parts(stop_running=False))).begin()
    shell.end_task("a", FAILED)

    shell.end_task("b", FAILED)

    assert shell.phase is Phase.FAILED


def test_a_group_with_a_condition_of_its_own_asks_its_tasks_as_well():
    members = [{"name": "p", **ACT, "when": "{{ vars.p }}"}, {"name": "q", **ACT}]
    graph = tasks({"name": "g", "type": "parallel", "when": "{{ vars.g }}", "tasks": members}, vars={"p": 0, "g": 1})

    shell = Shell(graph).begin().run()

    assert shell.outcomes() == {"p": "skipped", "q": "completed", "g": "completed"}


def test_an_item_that_cannot_be_rendered_fails_the_execution_where_the_profile_says_so():
    items = Items(values=compile_template([1]))
    node = Node(id="a", action=compile_template("x.y"), items=items, input=compile_template({"v": "{{ item.x }}"}))

    shell = Shell(build([node], parts(input_error_fails=True))).begin()

    assert shell.phase is Phase.FAILED
    assert [trouble.kind for trouble in shell.state.troubles] == ["expression", "task_failed"]


def test_failed_items_of_a_cancelled_list_are_noted_where_a_cancelled_task_cancels():
    items = Items(values=compile_template([1, 2]))
    node = Node(id="a", action=compile_template("x.y"), items=items)
    shell = Shell(build([node], parts(cancelled_task_cancels=True))).begin()

    shell.end_task("a", FAILED)
    shell.end_task("a", (Outcome.CANCELLED, None))

    assert shell.phase is Phase.CANCELLED
    assert [trouble.kind for trouble in shell.state.troubles] == ["attempt_failed"]


def test_a_list_that_repeats_at_once_and_after_a_success():
    retry = Retry(count=compile_template(1), when=compile_template("{{ true }}"))
    node = Node(id="a", action=compile_template("x.y"), items=Items(values=compile_template([1])), retry=retry)

    shell = Shell(build([node], parts(retry_whole_list=True))).begin().run()

    assert (shell.phase, len(shell.performed)) == (Phase.COMPLETED, 2)


def test_an_output_that_keeps_its_schema_completes():
    shell = Shell(tasks({"name": "a", **ACT}, out_schema={"type": "object"}, output={"n": 1})).begin().run()

    assert shell.phase is Phase.COMPLETED


def test_a_wait_may_end_at_a_time():
    shell = Shell(tasks({"name": "a", "wait": {"until": "{{ parameters.at }}"}})).begin({"at": "2026-01-01T01:00:00Z"})

    assert shell.state.timers["wait/a/0"].due.hour == 1


@pytest.mark.parametrize("known", [True, False])
def test_advance_decides_and_folds_in_one_go(known: bool):
    from services.engine.decide import advance

    shell = Shell(tasks({"name": "a", **ACT}, {"name": "b", "action": "{{ parameters.ref }}"}))
    begin = tell.Begin(now=shell.now, execution_id=EXECUTION, parameters={"ref": "x.y"})
    facts = {"x.y": ActionFacts()} if known else {}
    advance(shell.graph, shell.state, replace(begin, actions=facts))

    decision = advance(shell.graph, shell.state, tell.AttemptEnded(now=shell.now, node="a", run=0))

    assert isinstance(decision.commands[0], do.Perform if known else do.Evaluate)
    assert shell.state.runs["a", 0].outcome is (Outcome.COMPLETED if known else None)


def test_an_answer_is_on_record_and_resumes_what_it_paused():
    ask = Node(id="a", kind=Kind.INQUIRY, action=compile_template("core.ask"), next=(Transition(do=("b",)),))
    graph = build([ask, Node(id="b", action=compile_template("x.y"))], parts(inquiry_pauses=True))
    shell = Shell(graph).begin()
    paused = shell.phase

    shell.answer(shell.inquiries[0], {"ok": True})

    assert (paused, shell.flying) == (Phase.PAUSED, ["b"])
    assert [event.by for event in shell.log if isinstance(event, happened.InquiryAnswered)] == ["ann"]
    assert shell.state.runs["a", 0].output == {"response": {"ok": True}, "by": "ann", "outcome": "answered"}
