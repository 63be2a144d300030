"""What an execution may have done behind a point of its log: what was in flight, and everything that was ahead."""

from datetime import UTC, datetime
from typing import Any

from models.records import Effect
from services.engine import commands as do
from services.engine import inputs as tell
from services.engine.decide import decide
from services.engine.evolve import evolve
from services.engine.graph import ActionFacts, Kind, Limits
from services.engine.outlook import Outlook, outlook
from services.engine.state import State
from services.engine.statuses import Outcome
from tests.support.engine_shell import tasks

NOW = datetime(2026, 1, 1, tzinfo=UTC)
FACTS = {
    "x.write": ActionFacts(effect=Effect.WRITE),
    "x.send": ActionFacts(effect=Effect.IRREVERSIBLE),
    "x.read": ActionFacts(effect=Effect.READ),
    "x.flow": ActionFacts(kind=Kind.WORKFLOW),
    "core.inquiry": ActionFacts(kind=Kind.INQUIRY, effect=Effect.NONE),
}


def begun(*entries: Any, end: tuple[str, ...] = ()) -> State:
    """An execution that has started; attempts of the tasks in `end` have completed, the others are in flight."""
    graph = tasks(*entries)
    state = State(graph)
    waiting: list[tell.Input] = [
        tell.Begin(now=NOW, execution_id="e", parameters={}, workflow={}, limits=Limits(), actions=FACTS)
    ]
    while waiting:
        decision = decide(graph, state, waiting.pop())
        for event in decision.events:
            evolve(state, event)
        waiting += [completed(c) for c in decision.commands if isinstance(c, do.Perform) and c.node in end]
    return state


def completed(command: do.Perform) -> tell.Input:
    where = {"node": command.node, "run": command.run, "item": command.item, "attempt": command.attempt}
    return tell.AttemptEnded(now=NOW, **where, outcome=Outcome.COMPLETED, output=None)


def told(state: State) -> list[tuple[str, str, str, bool, bool]]:
    return [(entry.node, entry.effect, entry.key, entry.in_flight, entry.repeats) for entry in outlook(state)]


def test_what_was_in_flight_comes_first_then_what_was_ahead():
    state = begun(
        {"name": "a", "action": "x.write", "next": ["b", "c"]},
        {"name": "b", "action": "x.send"},
        {"name": "c", "action": "x.read"},
    )

    assert outlook(state) == [
        Outlook(node="a", action="x.write", effect="write", key="e/a/0", in_flight=True),
        Outlook(node="b", action="x.send", effect="irreversible", key="e/b/0", in_flight=False),
    ]


def test_what_is_over_is_not_told_again():
    state = begun(
        {"name": "a", "action": "x.write", "next": "b"}, {"name": "b", "action": "x.write", "next": "c"},
        {"name": "c", "action": "x.write"}, end=("a",),
    )  # fmt: skip

    assert told(state) == [("b", "write", "e/b/0", True, False), ("c", "write", "e/c/0", False, False)]


def test_branches_that_may_not_be_taken_are_told_too():
    state = begun(
        {"name": "ask", "action": "core.inquiry", "next": [{"when": "failed", "do": "no"}, {"do": "yes"}]},
        {"name": "yes", "action": "x.write"},
        {"name": "no", "action": "x.send"},
    )

    assert sorted(entry.node for entry in outlook(state)) == ["no", "yes"]


def test_items_and_loops_may_have_been_done_more_than_once():
    items = begun({"name": "a", "action": "x.write", "with_items": [1, 2, 3], "concurrency": 1})
    loop = begun(
        {"name": "s", "action": "x.read", "next": "a"},
        {"name": "a", "action": "core.inquiry", "next": "b"},
        {"name": "b", "action": "x.write", "next": [{"when": "failed", "do": "a"}]},
        end=("s",),
    )

    assert told(items) == [("a", "write", "e/a/0/0", True, False), ("a", "write", "e/a/0/1", False, True)]
    assert told(loop) == [("b", "write", "e/b/0", False, True)]


def test_a_sub_workflow_and_an_action_that_an_expression_chooses_are_told_as_what_they_are():
    state = begun(
        {"name": "a", "action": "core.inquiry", "next": ["b", "c"]},
        {"name": "b", "action": "x.flow"},
        {"name": "c", "action": "{{ parameters.ref }}"},
    )

    assert [(entry.node, entry.action, entry.effect) for entry in outlook(state)] == [
        ("b", "x.flow", "workflow"),
        ("c", "{{ parameters.ref }}", "unknown"),
    ]


def test_what_would_undo_a_completed_task_is_ahead():
    state = begun(
        {"name": "a", "action": "x.read", "compensate": {"action": "x.write"}, "next": "b"},
        {"name": "b", "action": "core.inquiry"},
        end=("a",),
    )

    assert [(entry.action, entry.effect) for entry in outlook(state)] == [("x.write", "write")]


def test_an_ended_execution_has_nothing_ahead():
    assert outlook(begun({"name": "a", "action": "x.write"}, end=("a",))) == []
