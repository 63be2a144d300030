"""A shell for engine tests: keeps what is in flight, carries out commands, and checks every promise at every step."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from models.records import Effect, ErrorType
from services.engine import commands as do
from services.engine import events as happened
from services.engine import inputs as tell
from services.engine.compile import compile_definition
from services.engine.decide import decide
from services.engine.evolve import evolve
from services.engine.graph import ActionFacts, Failure, Graph, Kind, Limits
from services.engine.replay import encode, fold
from services.engine.state import State
from services.engine.statuses import Outcome, Phase
from tests.scenarios.picture import different, picture

START = datetime(2026, 1, 1, tzinfo=UTC)
EXECUTION = "019b7000-0000-7000-8000-000000000001"
Result = tuple[Outcome, Any]
Mock = Callable[[do.Perform], Result]


def graph_of(document: Mapping[str, Any]) -> Graph:
    """The graph of a definition that must be valid."""
    compiled = compile_definition(document)
    assert compiled.graph is not None, [problem.to_json() for problem in compiled.errors]
    return compiled.graph


def tasks(*entries: Mapping[str, Any], **top: Any) -> Graph:
    """The graph of a native definition with these tasks."""
    return graph_of({"tasks": list(entries), **top})


def side_by_side(*entries: Mapping[str, Any], **top: Any) -> Graph:
    """The same with the tasks as a map, so that they are no sequence."""
    named = {entry["name"]: {key: value for key, value in entry.items() if key != "name"} for entry in entries}
    return graph_of({"tasks": named, **top})


def succeed(_: do.Perform) -> Result:
    """Every action succeeds without a result."""
    return Outcome.COMPLETED, None


@dataclass(eq=False)
class Shell:
    """One execution and everything in flight. `say` gives the engine one input and folds what it decides."""

    graph: Graph
    mock: Mock = succeed
    limits: Limits = field(default_factory=Limits)
    actions: Mapping[str, ActionFacts] = field(default_factory=dict)
    careful: bool = False
    """Compare the state before and after every decision, and feed every input twice."""
    hold: bool = False
    """Start nothing until `release`."""

    def __post_init__(self) -> None:
        self.state = State(self.graph)
        self.now = START
        self.rows: list[bytes] = []
        self.log: list[happened.Event] = []
        self.in_flight: list[do.Perform] = []
        self.children: dict[str, do.StartChild] = {}
        self.inquiries: list[do.OpenInquiry] = []
        self.timers: dict[str, datetime] = {}
        self.performed: list[do.Perform] = []
        self.commands: list[do.EngineCommand] = []

    # -- talking to the engine

    def begin(self, parameters: Mapping[str, Any] | None = None, **more: Any) -> Shell:
        facts = {ref: ActionFacts() for ref in literal_refs(self.graph)} | dict(self.actions)
        given = {"limits": self.limits, "actions": facts, **more}
        self.say(tell.Begin(now=self.now, execution_id=EXECUTION, parameters=parameters or {}, **given))
        return self

    def say(self, given: tell.Input) -> do.Decision:
        before = picture(self.state) if self.careful else {}
        decision = decide(self.graph, self.state, given, hold=self.hold)
        if self.hold:
            starts = (happened.NodeStarted, happened.AttemptStarted)
            assert not any(isinstance(event, starts) for event in decision.events), "started although held"
        if self.careful:
            assert not different(before, picture(self.state)), "decide changed the state"
        while any(isinstance(command, do.Evaluate) for command in decision.commands):
            given = self.answered(given, decision.commands[0])
            decision = decide(self.graph, self.state, given, hold=self.hold)
        self.fold(decision.events)
        self.commands += decision.commands
        for command in decision.commands:
            self.carry_out(command)
        if self.careful and not isinstance(given, tell.Recovered):
            again = decide(self.graph, self.state, given)
            assert not again.events, f"the same input twice: {again.events}"
        return decision

    def fold(self, decided: Iterable[happened.Event]) -> None:
        decided = tuple(decided)
        if decided:
            self.rows.append(orjson.dumps(encode(decided)))
        for event in decided:
            check_event(self.state, event)
            evolve(self.state, event)
            self.log.append(event)
        check_state(self.state)

    def answered(self, given: tell.Input, question: Any) -> tell.Input:
        facts = {ref: self.actions.get(ref) for ref in question.actions}
        answers = {request["id"]: {"error": "the worker is not here"} for request in question.requests}
        return tell.Evaluated(of=given, answers=answers, actions=facts)

    def carry_out(self, command: do.EngineCommand) -> None:
        match command:
            case do.Perform():
                same = [(one.node, one.run, one.item, one.attempt) for one in self.in_flight]
                if (command.node, command.run, command.item, command.attempt) not in same:
                    self.in_flight.append(command)
                self.performed.append(command)
            case do.StartChild():
                self.children[command.child_id] = command
            case do.OpenInquiry():
                self.inquiries = [one for one in self.inquiries if key(one) != key(command)] + [command]
            case do.CloseInquiry():
                self.inquiries = [one for one in self.inquiries if key(one) != key(command)]
            case do.SetTimer():
                self.timers[command.id] = command.at
            case do.ClearTimer():
                self.timers.pop(command.id, None)

    # -- what goes on in the world

    def end(self, command: do.Perform, result: Result | None = None, error: ErrorType | None = None) -> do.Decision:
        """An attempt ends, as mocked unless said otherwise."""
        self.in_flight = [one for one in self.in_flight if one is not command]
        self.now += timedelta(seconds=1)
        outcome, output = self.mock(command) if result is None else result
        failure = None if error is None else Failure(type=error, message=str(error))
        return self.say(
            tell.AttemptEnded(
                now=self.now, node=command.node, run=command.run, item=command.item, attempt=command.attempt,
                outcome=outcome, output=output, failure=failure,
            )
        )  # fmt: skip

    def end_task(self, node: str, result: Result | None = None, **more: Any) -> do.Decision:
        """The oldest attempt of a task ends."""
        return self.end(next(one for one in self.in_flight if one.node == node), result, **more)

    def end_child(self, child_id: str, outcome: Outcome = Outcome.COMPLETED, output: Any = None) -> do.Decision:
        self.children.pop(child_id, None)
        self.now += timedelta(seconds=1)
        return self.say(tell.ChildEnded(now=self.now, child_id=child_id, outcome=outcome, output=output))

    def fire(self, timer: str) -> do.Decision:
        """A timer fires when it is due."""
        self.now = max(self.now, self.timers.pop(timer))
        return self.say(tell.TimerFired(now=self.now, id=timer))

    def answer(self, inquiry: do.OpenInquiry, response: Any = None) -> do.Decision:
        self.inquiries = [one for one in self.inquiries if key(one) != key(inquiry)]
        self.now += timedelta(seconds=1)
        where = {"node": inquiry.node, "run": inquiry.run, "item": inquiry.item}
        return self.say(tell.InquiryAnswered(now=self.now, **where, response=response, by="ann"))

    def cancel(self) -> do.Decision:
        return self.say(tell.CancelRequested(now=self.now, by="ann"))

    def pause(self) -> do.Decision:
        return self.say(tell.PauseRequested(now=self.now, by="ann"))

    def resume(self) -> do.Decision:
        return self.say(tell.ResumeRequested(now=self.now, by="ann"))

    def release(self) -> do.Decision:
        self.hold = False
        return self.say(tell.Released(now=self.now))

    def run(self, pick: Callable[[list[Any]], Any] = lambda choices: choices[0]) -> Shell:
        """Let everything happen that can, one thing after the other as `pick` chooses, until nothing can."""
        for _ in range(20_000):
            choices = self.choices()
            if not choices:
                return self
            pick(choices)()
        raise AssertionError("no end")

    def choices(self) -> list[Callable[[], Any]]:
        """Everything that may happen next; of the timers only the earliest."""
        found: list[Callable[[], Any]] = [lambda one=one: self.end(one) for one in self.in_flight]
        found += [lambda child=child: self.end_child(child) for child in self.children]
        found += [lambda one=one: self.answer(one, {"ok": True}) for one in self.inquiries]
        due = {timer: at for timer, at in self.timers.items() if not timer.startswith("timeout/")}
        if due:
            first = min(due, key=lambda timer: (due[timer], timer))
            found.append(lambda: self.fire(first))
        return found

    # -- reading

    @property
    def phase(self) -> Phase:
        return self.state.phase

    @property
    def flying(self) -> list[str]:
        """Tasks in flight, `task` or `task[item]`."""
        return sorted(one.node if one.item is None else f"{one.node}[{one.item}]" for one in self.in_flight)

    def outcomes(self) -> dict[str, str]:
        """How the latest run of every task ended, by task and route."""
        return {
            f"{node}@{route}" if route else node: str(run.outcome) for (node, route), run in self.state.latest.items()
        }

    def refolded(self) -> State:
        """The state as the stored rows give it."""
        return fold(self.graph, [orjson.loads(row) for row in self.rows])

    def check_fold(self) -> Shell:
        wrong = different(picture(self.state), picture(self.refolded()))
        assert not wrong, wrong
        return self

    def lose_everything(self) -> do.Decision:
        """A crash: attempts and timers are gone (children and inquiries are rows); another driver takes over."""
        self.in_flight, self.timers = [], {}
        self.state = self.refolded()
        return self.say(tell.Recovered(now=self.now))


def key(command: Any) -> tuple[str, int, int | None]:
    return (command.node, command.run, command.item)


def literal_refs(graph: Graph) -> list[str]:
    refs = [node.action.source for node in graph.nodes.values() if node.action is not None]
    return [ref for ref in refs if isinstance(ref, str) and "{{" not in ref]


def irreversible(*refs: str) -> dict[str, ActionFacts]:
    return {ref: ActionFacts(effect=Effect.IRREVERSIBLE) for ref in refs}


def workflows(*refs: str) -> dict[str, ActionFacts]:
    return {ref: ActionFacts(kind=Kind.WORKFLOW, effect=Effect.NONE) for ref in refs}


def check_event(state: State, event: happened.Event) -> None:
    """What may never happen in a state."""
    assert not state.ended, f"{event} after the end"
    if isinstance(event, happened.NodeStarted):
        assert state.phase in (Phase.RUNNING, Phase.FAILING) or event.undoes, f"{event.node} starts while {state.phase}"
        if event.token is not None:
            token = state.staged[event.token]
            assert state.phase is Phase.RUNNING or token.cleanup or event.undoes
            assert all(state.runs[run].outcome is not None for run in token.inbound), f"{event.node} starts too early"
            join = state.graph.flow.joins.get(event.node)
            edges = {node for node, _ in token.inbound}
            if join is not None and edges & set(join.sources):
                assert len(edges & set(join.sources)) >= join.need
    if isinstance(event, happened.AttemptStarted):
        assert state.phase in (Phase.RUNNING, Phase.FAILING), f"{event.node} starts while {state.phase}"


def check_state(state: State) -> None:
    """What is true of every state."""
    in_slots = sum(work.in_slot for work in state.work.values())
    assert state.slots == in_slots <= state.limits.max_parallel_nodes
    assert state.operations <= state.limits.max_total_operations + len(state.undoable) + len(state.runs)
    for (node, run), items in state.lists.items():
        flying = sum((work.node, work.run) == (node, run) for work in state.work.values())
        assert items.active == flying
        assert items.concurrency is None or items.active <= items.concurrency
    for run in state.latest.values():
        assert run.undo or run.round <= state.limits.max_loop_iterations
    unfinished = sum(run.outcome is None for run in state.runs.values())
    assert state.alive == len(state.staged) + unfinished
