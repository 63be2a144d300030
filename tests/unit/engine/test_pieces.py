"""The small pure pieces: durations, contexts, undo, shapes, graph as JSON, stored events."""

from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from msgspec.structs import replace

from models.records import Effect, ErrorType
from services.engine import events, inputs, replay
from services.engine.commands import Decision, Perform
from services.engine.contexts import Context, Histories, Write, merged_value, weigh
from services.engine.durations import later, moment, seconds, whole
from services.engine.evolve import evolve
from services.engine.graph import ActionFacts, Backoff, Failure, Kind, Limits
from services.engine.graph_json import graph_hash, to_json
from services.engine.replay import GraphMismatch, apply, decode, encode, fold, load_time
from services.engine.retry import backed_off, fraction
from services.engine.shape import dominates, dominators
from services.engine.state import State
from services.engine.statuses import Change, Outcome, Phase
from services.engine.undo import Log
from tests.support.engine_shell import EXECUTION, START, Shell, tasks

AT = datetime(2026, 1, 17, 12, tzinfo=UTC)
WRONG = Failure(type=ErrorType.EXECUTION, message="broken", details={"x": 1}, node="a", attempt=2)


@pytest.mark.parametrize(
    ("value", "expected"), [(5, 5), (1.5, 1.5), ("30", 30), ("30s", 30), (" 5 m ", 300), ("2h", 7200), ("250ms", 0.25)]
)
def test_durations_are_numbers_or_text_with_a_unit(value: Any, expected: float):
    assert seconds(value) == expected


@pytest.mark.parametrize("value", [-1, True, None, "soon", "5 weeks", "", [5], 1e12, float("nan")])
def test_anything_else_is_no_duration(value: Any):
    with pytest.raises(ValueError, match="duration"):
        seconds(value)


@pytest.mark.parametrize("value", [-1, True, "5", 1.5, None])
def test_a_count_is_a_whole_number(value: Any):
    with pytest.raises(ValueError, match="whole number"):
        whole(value)


def test_a_time_without_zone_is_utc():
    assert moment("2026-01-17T12:00:00") == moment("2026-01-17T12:00:00Z") == AT
    assert later(AT, 1.5).microsecond == 500_000
    with pytest.raises(ValueError, match="RFC 3339"):
        moment(5)


def test_a_branch_that_did_not_touch_a_variable_never_resets_it():
    histories = Histories(Log())
    root = histories.published(Context(), {"x": 1, "y": 1})
    root.shared = True
    left, right = histories.published(root, {"x": 2}), histories.published(root, {"y": 2})

    joined = histories.joined(left, right)

    assert joined.values() == {"x": 2, "y": 2}
    assert root.values() == {"x": 1, "y": 1}
    assert (list(joined), joined["x"], "z" in joined) == (["x", "y"], 2, False)


def test_of_two_writers_the_later_arrival_wins_however_often_they_meet():
    histories = Histories(Log())
    root = histories.published(Context(), {"x": 1})
    root.shared = True
    left, right = histories.published(root, {"x": 2}), histories.published(root, {"x": 3})
    right.shared = True
    joined = histories.joined(left, right)

    again = histories.joined(joined, histories.published(right, {"z": 1}))

    assert again.values() == {"x": 3, "z": 1}


def test_a_branch_that_saw_the_others_write_wins():
    histories = Histories(Log())
    early = histories.published(Context(), {"x": 1})
    early.shared = True
    late = histories.published(early, {"x": 2})

    assert histories.joined(histories.owned(early), late).values() == {"x": 2}


def test_merged_objects_of_two_branches_keep_both_and_what_was_before():
    histories = Histories(Log())
    root = histories.published(Context(), {"o": {"a": 1, "b": 1}})
    root.shared = True
    left = histories.published(root, {"o": {"a": 2}}, ("o",))
    right = histories.published(histories.published(root, {"o": {"c": 3}}, ("o",)), {"o": {"d": 4}}, ("o",))

    joined = histories.joined(left, right)

    assert joined["o"] == {"a": 2, "b": 1, "c": 3, "d": 4}


def test_a_merge_into_nothing_and_a_replacement_beside_a_merge():
    histories = Histories(Log())
    root = histories.published(Context(), {"p": 1})
    root.shared = True
    left = histories.published(root, {"o": {"a": 1}}, ("o",))
    right = histories.published(histories.published(root, {"o": {"b": 1}}), {"o": {"c": 1}}, ("o",))

    joined = histories.joined(left, right)

    assert joined["o"] == {"b": 1, "c": 1}
    assert histories.joined(None, joined) is joined


def test_merges_of_branches_that_met_before_count_once():
    histories = Histories(Log())
    root = histories.published(Context(), {"o": {}})
    root.shared = True
    one, two, three = (histories.published(root, {"o": {key: 1}}, ("o",)) for key in "abc")
    met = histories.joined(one, two)

    joined = histories.joined(three, met)

    assert joined["o"] == {"a": 1, "b": 1, "c": 1}


def test_objects_merge_deeply_and_everything_else_is_replaced():
    assert merged_value({"a": {"b": 1}, "c": [1]}, {"a": {"d": 2}, "c": [2]}) == {"a": {"b": 1, "d": 2}, "c": [2]}
    assert merged_value(5, {"a": 1}) == {"a": 1}


def test_a_value_weighs_about_what_its_json_does():
    value = {"text": "x" * 100, "list": [1, 2, None], "object": {"k": True}}

    assert 0.5 < weigh(value) / len(orjson.dumps(value)) < 2


def test_a_write_knows_what_it_came_after():
    first = Write(1, ())
    second = Write(2, (first,))
    third = Write(3, (first, second))

    assert third.after(first)
    assert third.after(third)
    assert not first.after(second)


def test_every_change_can_be_taken_back():
    log, mapping, entries, owner = Log(), {"a": 1}, [1, 2], Context()
    log.open()
    log.put(mapping, "a", 2)
    log.put(mapping, "b", 3)
    log.drop(mapping, "a")
    log.drop(mapping, "nothing")
    log.push(entries, 3)
    log.take(entries, 0)
    log.set(owner, "size", 9)
    log.count(mapping, "n", 1)
    log.count(mapping, "n", -1)

    log.take_back()

    assert (mapping, entries, owner.size) == ({"a": 1}, [1, 2], 0)


def test_rehearsals_do_not_nest():
    log = Log()
    log.open()

    with pytest.raises(RuntimeError, match="open already"):
        log.open()


def test_dominators_tell_what_every_way_leads_through():
    following = {"a": ["b", "c"], "b": ["d"], "c": ["d"], "d": ["e", "b"], "e": [], "lost": ["e"]}

    parents = dominators(following, ("a",))

    assert dominates(parents, "d", "e")
    assert dominates(parents, "a", "b")
    assert not dominates(parents, "b", "d")
    assert not dominates(parents, "a", "lost")


def test_the_graph_for_drawing_has_nodes_edges_entries_and_joins():
    graph = tasks(
        {"name": "a", "action": "x.y", "next": "j", "retry": 1, "timeout": 5, "with_items": [1]},
        {"name": "b", "action": "x.y", "next": [{"when": "{{ result() }}", "do": "j"}], "compensate": "x.z"},
        {"name": "j", "action": "x.y", "join": "all"},
        vars={"v": 1},
        output={"o": "{{ vars.v }}"},
    )

    drawn = to_json(graph)

    assert drawn["entry"] == ["a", "b"]
    assert drawn["joins"] == {"j": {"need": 2, "sources": ["a", "b"]}}
    assert {"id": "b:0:j", "from": "b", "to": "j", "entry": "join", "when": "{{ result() }}"} in drawn["edges"]
    assert orjson.loads(orjson.dumps(drawn))["hash"] == graph.hash == graph_hash(graph)


def test_the_hash_changes_with_whatever_decides_what_the_graph_does():
    base = {"name": "a", "action": "x.y", "input": {"n": 1}}
    graphs = [
        tasks({**base, **change}) for change in ({}, {"timeout": 5}, {"input": {"n": 2}}, {"when": "{{ 1 > 0 }}"})
    ]

    assert len({graph.hash for graph in graphs}) == 4
    assert tasks(base).hash == tasks(dict(reversed(base.items()))).hash


EVERY: list[Any] = [
    events.Started(
        at=AT, execution_id="e", engine="1", graph="h", parameters={"p": 1}, variables={}, workflow={}, config={},
        limits={"max_items": 5}, actions={"x.y": ActionFacts(kind=Kind.WORKFLOW, effect=Effect.READ)},
        reused=(
            events.Reused(
                node="a", route="", run=0, inbound=(("b", 1),), outcome=Outcome.FAILED, at=AT, started_at=AT,
                failure=WRONG, fired=(events.Fired(0, {"v": 1}, ("v",)),),
            ),
        ),
    ),
    events.NodeStarted(
        token=None, node="a", run=0, route="r", at=AT, kind=Kind.ACTION, undoes=("b", 1), items=(1, 2), secrets=({},)
    ),
    events.AttemptStarted(node="a", run=0, item=None, attempt=2, at=AT, kind=Kind.WORKFLOW, effect=Effect.WRITE),
    events.AttemptEnded(node="a", run=0, item=3, attempt=2, at=AT, outcome=Outcome.TIMED_OUT, retry_s=0.0),
    events.ListRestarted(node="a", run=0, attempt=2, at=AT, retry_s=1.0),
    events.ListClosed(node="a", run=0, at=AT),
    events.NodeEnded(
        node="a", run=0, at=AT, outcome=Outcome.FAILED, failure=WRONG, fired=(events.Fired(1),), handled=False
    ),
    events.TimerSet(id="t", at=AT, node="a", run=0, item=None, purpose="wait", due=AT),
    events.TimerFired(id="t", at=AT),
    events.InquiryAnswered(node="a", run=0, item=None, at=AT, by="ann"),
    events.ChildPaused(child_id="c", at=AT, paused=True),
    events.Changed(change=Change.FAIL, at=AT, by="ann", reason="because"),
    events.StopRequested(node="a", run=0, item=1, at=AT),
    events.Troubled(kind="limit", at=AT, failure=WRONG, transition=0, fatal=True),
    events.Claimed(driver="d", epoch=3, at=AT),
    events.Finished(phase=Phase.FAILED, at=AT, output={"x": 1}, failure=WRONG),
]  # fmt: skip


@pytest.mark.parametrize("event", EVERY, ids=lambda event: type(event).__name__)
def test_every_event_comes_back_from_its_json_form(event: Any):
    stored = orjson.loads(orjson.dumps(encode([event])))

    assert decode(stored) == [event]


def test_what_a_default_says_is_not_stored():
    stored = encode([events.ListClosed(node="a", run=0, at=AT), EVERY[6]])

    assert set(stored[0]) == {"e", "node", "run", "at"}
    assert "output" not in stored[1]


def test_a_stored_time_without_zone_is_utc():
    assert load_time("2026-01-17T12:00:00") == AT


def test_rows_of_an_older_format_are_brought_up_to_date(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(replay, "UPCASTERS", {0: lambda row: [{**entry, "e": "list_closed"} for entry in row]})

    assert decode([{"e": "list_ended", "node": "a", "run": 0, "at": AT.isoformat()}], version=0) == [EVERY[5]]


def test_events_of_another_graph_are_refused():
    shell = Shell(tasks({"name": "a", "action": "x.y"})).begin()
    other = tasks({"name": "a", "action": "x.z"})

    with pytest.raises(GraphMismatch):
        fold(other, [orjson.loads(row) for row in shell.rows])


def test_another_drivers_claim_means_nothing_to_the_engine():
    shell = Shell(tasks({"name": "a", "action": "x.y"})).begin()

    apply(shell.state, events.Claimed(driver="other", epoch=2, at=shell.now))
    evolve(shell.state, events.TimerFired(id="unknown", at=shell.now))

    assert shell.run().phase is Phase.COMPLETED


def test_limits_are_lowered_but_never_raised():
    limits = Limits(max_items=10, max_parallel_nodes=5).lowered({"max_items": 20, "max_parallel_nodes": 2.0})

    assert (limits.max_items, limits.max_parallel_nodes) == (10, 2)


def test_only_a_decision_of_harmless_actions_may_wait():
    act = Perform(
        node="a", run=0, item=None, attempt=1, action="x.y", input={}, secrets=(), timeout_s=None, effect=Effect.NONE
    )

    assert Decision(commands=(act,)).deferrable
    assert not Decision(commands=(act, replace(act, effect=Effect.READ))).deferrable
    assert not Decision().deferrable
    assert (act.key, replace(act, item=3).key) == ("a/0", "a/0/3")


def test_backoff_grows_and_is_bounded():
    assert [backed_off(kind, 2, 3) for kind in Backoff] == [2, 6, 8]
    assert backed_off(Backoff.EXPONENTIAL, 1, 10_000) == 2.0**40
    assert fraction("x") == fraction("x") != fraction("y")


def test_nothing_is_decided_before_the_beginning_or_twice():
    shell = Shell(tasks({"name": "a", "action": "x.y"}))

    before = shell.say(inputs.Recovered(now=START))
    shell.begin()
    again = shell.say(inputs.Begin(now=START, execution_id=EXECUTION))

    assert not before.events
    assert not again.events
    assert State(shell.graph).tokens([], 0) is not None
