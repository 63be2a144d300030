"""Plays a compiled definition to its end: actions answer at once from a function, timers fire, people answer."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from models.records import Effect, ErrorType
from services.engine import commands as do
from services.engine import inputs as tell
from services.engine.decide import decide
from services.engine.evolve import evolve
from services.engine.graph import ActionFacts, Failure, Graph, Kind, Limits
from services.engine.state import State
from services.engine.statuses import Outcome

NOW = datetime(2026, 1, 1, tzinfo=UTC)
Act = Callable[[do.Perform], Any]


class Fails(Exception):
    """Raised by a mock: the action fails."""


@dataclass
class Played:
    """What happened."""

    state: State
    performed: list[tuple[str, Any]] = field(default_factory=list)
    asked: list[do.OpenInquiry] = field(default_factory=list)

    @property
    def order(self) -> list[str]:
        return [node for node, _ in self.performed]

    @property
    def status(self) -> str:
        return str(self.state.phase)

    @property
    def output(self) -> Any:
        return self.state.output


def play(
    graph: Graph, parameters: Mapping[str, Any] | None = None, act: Act = lambda _: {}, answer: Any = None
) -> Played:
    """Run the graph until nothing is left to do."""
    state = State(graph)
    played = Played(state)
    refs = {node.action.source for node in graph.nodes.values() if node.action is not None}
    facts = {
        ref: ActionFacts(kind=Kind.INQUIRY if ref == "core.inquiry" else Kind.ACTION, effect=Effect.WRITE)
        for ref in refs
        if isinstance(ref, str)
    }
    waiting: list[tell.Input] = [
        tell.Begin(
            now=NOW, execution_id="e", parameters=dict(parameters or {}), workflow={"ref": "w", "version": "1"},
            limits=Limits(), actions=facts,
        )
    ]  # fmt: skip
    for _ in range(2_000):
        if not waiting:
            return played
        decision = decide(graph, state, waiting.pop(0))
        assert decision.refused is None, decision.refused
        for event in decision.events:
            evolve(state, event)
        for command in decision.commands:
            waiting += _carry_out(command, played, act, answer)
    raise AssertionError("no end")


def _carry_out(command: Any, played: Played, act: Act, answer: Any) -> list[tell.Input]:
    match command:
        case do.Perform():
            played.performed.append((command.node, command.input))
            return [_ended(command, act)]
        case do.SetTimer() if played.state.timers[command.id].purpose in {"delay", "retry", "wait"}:
            return [tell.TimerFired(now=command.at, id=command.id)]
        case do.OpenInquiry():
            played.asked.append(command)
            return [] if answer is None else [_answered(command, answer)]
        case do.Evaluate():
            raise AssertionError(f"outside the safe subset: {command}")
    return []


def _answered(command: do.OpenInquiry, answer: Any) -> tell.Input:
    return tell.InquiryAnswered(now=NOW, node=command.node, run=command.run, response=answer, by="ann")


def _ended(command: do.Perform, act: Act) -> tell.Input:
    where = {"now": NOW, "node": command.node, "run": command.run, "item": command.item, "attempt": command.attempt}
    try:
        return tell.AttemptEnded(**where, outcome=Outcome.COMPLETED, output=act(command))
    except Fails as failure:
        problem = Failure(type=ErrorType.EXECUTION, message=str(failure))
        return tell.AttemptEnded(**where, outcome=Outcome.FAILED, failure=problem)
