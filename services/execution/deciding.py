"""From inputs to what is written: asks the engine, answers its questions, and adds the rows its commands need."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol
from uuid import UUID, uuid5

from msgspec import Struct, field

from models.journal import Unit
from models.journal_statements import CLOSE_INQUIRY, OPEN_INQUIRY, STATUS, WAKE
from services.engine.commands import (
    CloseInquiry,
    Decision,
    EngineCommand,
    Evaluate,
    OpenInquiry,
    Perform,
    StartChild,
    work_key,
)
from services.engine.decide import advance
from services.engine.events import Event
from services.engine.graph import ActionFacts
from services.engine.inputs import Evaluated, Input
from services.engine.questions import response_schema
from services.engine.statuses import PUBLIC
from services.execution.book import Book, Facts
from services.execution.endings import add_ending

MOST_EVENTS = 256
"""Results that ride along are folded into the same row up to this many events; then the row is written."""


class Evaluator(Protocol):
    """Answers what the engine cannot evaluate itself."""

    async def answers(self, requests: Sequence[Mapping[str, Any]]) -> Mapping[str, Mapping[str, Any]]:
        """The value or the error of each request, by its id."""
        ...

    async def facts(self, refs: Sequence[str], *, of: Facts) -> Mapping[str, ActionFacts]:
        """What is known of these actions; those that do not exist, or not for that execution, are left out."""
        ...


class Children(Protocol):
    """Starts child executions inside the parent's commit."""

    async def add_start(self, unit: Unit, parent: Book, command: StartChild) -> Input | None:
        """Add the rows of a child's start; the answer to one that cannot start."""
        ...


class Turn(Struct):
    """What some inputs led to; the book has been changed accordingly."""

    events: list[Event] = field(default_factory=list)
    commands: list[EngineCommand] = field(default_factory=list)
    refused: str | None = None
    status_before: str = ""
    later: list[Input] = field(default_factory=list)  # inputs that composing gave rise to


RideAlong = Callable[[Perform], Input | None]


def no_rides(_command: Perform) -> None:
    """Nothing is performed while deciding."""


class Decider:
    """Decides inputs on a book. Holds what questions are answered with."""

    def __init__(self, evaluator: Evaluator, children: Children) -> None:
        self._evaluator = evaluator
        self._children = children

    async def decide(
        self, book: Book, inputs: Sequence[Input], *, ride: RideAlong = no_rides, hold: bool = False
    ) -> Turn:
        """Fold what the inputs lead to into the book. An action that `ride` ends at once is decided on as well.

        `hold`: nothing is started; only who drives an execution, and is to go on with it, starts its tasks.
        """
        turn = Turn(status_before=PUBLIC[book.state.phase].value)
        waiting = deque(inputs)
        while waiting:
            decision = await self._decision(book, waiting.popleft(), hold)
            turn.refused = decision.refused
            turn.events += decision.events
            for command in decision.commands:
                ended = ride(command) if isinstance(command, Perform) and len(turn.events) < MOST_EVENTS else None
                if ended is None:
                    turn.commands.append(command)
                else:
                    waiting.append(ended)
        return turn

    async def _decision(self, book: Book, given: Input, hold: bool) -> Decision:
        decision = advance(book.graph, book.state, given, hold=hold)
        answers: dict[str, Mapping[str, Any]] = {}
        facts: dict[str, ActionFacts | None] = {}
        while len(decision.commands) == 1 and isinstance(asked := decision.commands[0], Evaluate):
            if asked.requests:
                answers |= await self._evaluator.answers(asked.requests)
            if asked.actions:
                facts |= dict.fromkeys(asked.actions)  # None: there is no such action
                facts |= await self._evaluator.facts(asked.actions, of=book.facts)
            decision = advance(book.graph, book.state, Evaluated(of=given, answers=answers, actions=facts), hold=hold)
        return decision

    async def compose(self, unit: Unit, book: Book, turn: Turn) -> None:
        """Add the rows that belong to the turn's commands, and what an ended execution leaves behind."""
        for command in turn.commands:
            if type(command) in ROWS:
                ROWS[type(command)](unit, book, command)
            elif isinstance(command, StartChild):
                answer = await self._children.add_start(unit, book, command)
                if answer is not None:
                    turn.later.append(answer)
        if book.state.ended:
            add_ending(unit, book.facts, book.state)
        elif PUBLIC[book.state.phase].value != turn.status_before:
            unit.add(STATUS, book.id, PUBLIC[book.state.phase].value, book.state.operations)
            if book.facts.parent_execution_id is not None:  # a parent looks whether its children are paused
                unit.add(WAKE, book.facts.parent_execution_id, book.last_at)


def inquiry_id(execution_id: str, node: str, run: int, item: int | None) -> UUID:
    """The id of an inquiry follows from what asked it, so that asking again finds the same row."""
    return uuid5(UUID(execution_id), f"inquiry/{work_key(node, run, item)}")


def _open(unit: Unit, book: Book, command: OpenInquiry) -> None:
    facts, given = book.facts, command.input
    assignees = given.get("assignees") or {"users": given.get("users") or [], "roles": given.get("roles") or []}
    unit.add(
        OPEN_INQUIRY,
        str(inquiry_id(facts.execution_id, command.node, command.run, command.item)),
        facts.execution_id,
        command.node,
        work_key(command.node, command.run, command.item),
        facts.workflow_id,
        facts.workflow_ref,
        facts.community_id,
        _text(given.get("prompt", given.get("message"))),
        assignees,
        response_schema(given),
        facts.triggered_by,
        bool(given.get("requester_may_respond", False)),
        book.last_at,
        command.expires_at,
        given.get("default_outcome", given.get("default")),
    )


def _close(unit: Unit, book: Book, command: CloseInquiry) -> None:
    id_ = str(inquiry_id(book.id, command.node, command.run, command.item))
    unit.add(CLOSE_INQUIRY, id_, command.reason, None, None, book.last_at)


def _text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else str(value)


ROWS: Mapping[type[Any], Callable[[Unit, Book, Any], None]] = {OpenInquiry: _open, CloseInquiry: _close}
