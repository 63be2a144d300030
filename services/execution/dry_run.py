"""A workflow run without touching the world: real decisions, simulated effects, a clock that jumps over waits."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from models.records import Effect, ErrorType
from services.access.actor import Actor
from services.actions.catalogue import Catalogue, Runner
from services.actions.outcome import ActionFailed, Call, Outcome
from services.actions.runners import Runners, check_input
from services.actions.secrets import Secrets
from services.engine import view
from services.engine.commands import EngineCommand, OpenInquiry, Perform, SetTimer, StartChild
from services.engine.graph import Failure
from services.engine.inputs import AttemptEnded, ChildEnded, Input, InquiryAnswered, InquiryExpired, TimerFired
from services.engine.state import State
from services.engine.statuses import PUBLIC, Phase
from services.engine.statuses import Outcome as End
from services.errors import ExecutionTimedOut, Invalid, MillraceError
from services.execution.book import Book
from services.execution.deciding import Decider
from services.execution.mocks import NOTHING, Mocks, example
from services.execution.starting import Order, Starter
from services.registry.caller import Caller
from services.registry.versions import PinnedWorkflow, Versions

DEFAULT_LIMIT_S = 30.0
NO_EFFECT = frozenset([Effect.NONE])
READS = frozenset([Effect.NONE, Effect.READ])
Place = tuple[str, int, int | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class TestRequest:
    """What to try. `mocks`: by task, an output, `{"error": …}`, or a list with one of these per attempt (or item).

    `execute_reads`: actions that only read are performed for real, too.
    """

    identifier: str
    variables: Mapping[str, Any] = field(default_factory=dict)
    metadata: Any = None
    community_id: int | None = None
    mocks: Mapping[str, Any] = field(default_factory=dict)
    execute_reads: bool = False
    timeout_s: float = DEFAULT_LIMIT_S


@dataclass(slots=True, kw_only=True)
class DryRun:
    """Tries workflows. Nothing of it is stored."""

    versions: Versions
    starter: Starter
    decider: Decider
    runners: Runners
    catalogue: Catalogue
    secrets: Secrets
    now: Callable[[], datetime]

    async def run(self, request: TestRequest, *, by: Actor) -> dict[str, Any]:
        """Run it to its end. Raises ExecutionTimedOut when it does not come to one in time."""
        caller = Caller(actor=by, community_id=request.community_id)
        pinned = await self.versions.load_for_execution(request.identifier, caller)
        _check_mocks(request.mocks, pinned)
        began = self.now()
        order = Order(
            pinned=pinned,
            parameters=request.variables,
            at=began,
            triggered_by=by.user_id,
            metadata=request.metadata,
            by=by,
        )
        stage = _Stage(self, Mocks(request.mocks), by, real=READS if request.execute_reads else NO_EFFECT)
        try:
            async with asyncio.timeout(request.timeout_s):
                book = await stage.play(order)
        except TimeoutError:
            raise ExecutionTimedOut(f"The test did not end within {request.timeout_s:g} seconds") from None
        return _report(book, stage, pinned, (self.now() - began).total_seconds())


def _check_mocks(mocks: Mapping[str, Any], pinned: PinnedWorkflow) -> None:
    errors = [
        {"loc": ["mocks", name], "message": f"the workflow has no task {name!r}", "type": "unknown_task"}
        for name in sorted(mocks.keys() - pinned.graph.nodes.keys())
    ]
    if errors:
        raise Invalid("Mocks are for tasks of the workflow", errors=errors)


class _Stage:
    """One try: what is due, what was simulated, and the clock."""

    def __init__(
        self, tools: DryRun, mocks: Mocks, by: Actor, *, real: frozenset[Effect], clock: datetime | None = None
    ) -> None:
        self._tools = tools
        self._mocks = mocks
        self._by = by
        self._real = real
        self._timers: dict[str, datetime] = {}
        self._inputs: deque[Input] = deque()
        self._clock = clock or tools.now()
        self.simulated: set[tuple[str, int]] = set()
        self.lines: dict[Place, list[Any]] = {}

    async def play(self, order: Order) -> Book:
        book, begin = await self._tools.starter.prepared(order, rehearsal=True)
        self._inputs.append(begin)
        while not book.state.ended:
            if not self._inputs and not self._jump():
                break
            turn = await self._tools.decider.decide(book, [self._inputs.popleft()])
            for command in turn.commands:
                await self._obey(command)
            await asyncio.sleep(0)
        return book

    def _jump(self) -> bool:
        """Nothing happens any more until the next timer: let it be that time."""
        if not self._timers:
            return False
        timer = min(self._timers, key=lambda name: self._timers[name])
        self._clock = max(self._clock, self._timers.pop(timer))
        self._inputs.append(TimerFired(now=self._clock, id=timer))
        return True

    async def _obey(self, command: EngineCommand) -> None:
        if isinstance(command, Perform):
            self._inputs.append(await self._perform(command))
        elif isinstance(command, SetTimer):
            self._timers[command.id] = command.at
        elif isinstance(command, OpenInquiry):
            self._answer(command)
        elif isinstance(command, StartChild):
            self._inputs.append(await self._child(command))

    async def _perform(self, command: Perform) -> AttemptEnded:
        outcome = await self._outcome(command)
        failure = None
        if outcome.error is not None:
            kind, message = ErrorType(outcome.error["type"]), str(outcome.error["message"])
            failure = Failure(type=kind, message=message, node=command.node, attempt=command.attempt)
        ends = {None: End.COMPLETED, ErrorType.TIMEOUT: End.TIMED_OUT}
        return AttemptEnded(
            now=self._clock,
            node=command.node,
            run=command.run,
            item=command.item,
            attempt=command.attempt,
            outcome=ends.get(failure.type if failure else None, End.FAILED),
            output=outcome.output,
            failure=failure,
        )

    async def _outcome(self, command: Perform) -> Outcome:
        place = (command.node, command.run, command.item)
        call = Call(
            ref=command.action,
            input=command.input,
            attempt=command.attempt,
            node=command.node,
            timeout_s=command.timeout_s,
        )
        mocked = self._mocks.of(command.node, attempt=command.attempt, item=command.item)
        if mocked is NOTHING and self._is_harmless(command):
            outcome = self._scrubbed(await self._tools.runners.perform(call, timeout_s=command.timeout_s))
            self.lines.setdefault(place, []).extend(outcome.logs)
            return outcome
        self.simulated.add((command.node, command.run))
        spec = self._tools.catalogue.get(command.action)
        try:
            if spec is not None and not command.secrets:
                check_input(spec, command.input)
        except ActionFailed as failure:
            return failure.outcome([])
        return example(spec) if mocked is NOTHING else mocked

    def _is_harmless(self, command: Perform) -> bool:
        """Whether the action may be performed for real: its effect is one of those, it may run here and does not wait."""
        spec = self._tools.catalogue.get(command.action)
        waits = spec is not None and spec.runner is Runner.BUILTIN and not self._tools.runners.is_immediate(spec.ref)
        return command.effect in self._real and not waits and not self._tools.starter.actions.forbids(command.action)

    def _scrubbed(self, outcome: Outcome) -> Outcome:
        """An action has secrets of its own also in a rehearsal."""
        scrub = self._tools.secrets.scrub
        return Outcome(output=scrub(outcome.output), error=scrub(outcome.error), logs=tuple(map(scrub, outcome.logs)))

    def _answer(self, command: OpenInquiry) -> None:
        """People are simulated, too: by a mock, the default outcome, or an answer that fits the schema."""
        self.simulated.add((command.node, command.run))
        mocked = self._mocks.of(command.node, attempt=1, item=command.item)
        if mocked.error is not None:
            expired = InquiryExpired(now=self._clock, node=command.node, run=command.run, item=command.item)
            self._inputs.append(expired)
            return
        given = command.input
        response = mocked.output if mocked is not NOTHING else given.get("default_outcome", given.get("default"))
        if response is None:
            response = Mocks.from_schema(given.get("response_schema", given.get("schema")))
        self._inputs.append(
            InquiryAnswered(
                now=self._clock, node=command.node, run=command.run, item=command.item, response=response, by="test"
            )
        )

    async def _child(self, command: StartChild) -> ChildEnded:
        """A sub-workflow is tried as well, unless a mock stands for it."""
        mocked = self._mocks.of(command.node, attempt=1, item=command.item)
        if mocked is NOTHING:
            return await self._tried(command)
        self.simulated.add((command.node, command.run))
        if mocked.error is None:
            return self._child_ended(command, End.COMPLETED, mocked.output)
        failure = Failure(type=ErrorType(mocked.error["type"]), message=str(mocked.error["message"]))
        return self._child_ended(command, End.FAILED, mocked.output, failure)

    async def _tried(self, command: StartChild) -> ChildEnded:
        stage = _Stage(self._tools, Mocks({}), self._by, real=self._real, clock=self._clock)
        try:
            pinned = await self._tools.versions.load_for_execution(command.workflow, Caller(actor=self._by))
            order = Order(
                pinned=pinned,
                parameters=command.inputs,
                at=self._clock,
                triggered_by=self._by.user_id,
                execution_id=command.child_id,
                depth=command.depth,
            )
            book = await stage.play(order)
        except MillraceError as error:
            failure = Failure(type=ErrorType.VALIDATION, message=error.message, details=error.details or None)
            return self._child_ended(command, End.FAILED, None, failure)
        self._clock = max(self._clock, stage._clock)
        if stage.simulated:
            self.simulated.add((command.node, command.run))
        end = End.COMPLETED if book.state.phase is Phase.COMPLETED else End.FAILED
        return self._child_ended(command, end, book.state.output, book.state.failure)

    def _child_ended(self, command: StartChild, end: End, output: Any, failure: Failure | None = None) -> ChildEnded:
        return ChildEnded(now=self._clock, child_id=command.child_id, outcome=end, output=output, failure=failure)


def _report(book: Book, stage: _Stage, pinned: PinnedWorkflow, took_s: float) -> dict[str, Any]:
    state = book.state
    trace = _trace(state, stage)
    status = PUBLIC[state.phase].value
    return {
        "execution_id": book.id,
        "workflow_id": pinned.workflow_id,
        "test_mode": True,
        "status": status,
        "execution_time_seconds": took_s,
        "trace": trace,
        "final_variables": view.final_variables(state),
        "final_output": state.output,
        "error_message": state.failure.message if state.failure is not None else None,
        "summary": {
            "nodes_executed": len(trace),
            "nodes_failed": sum(entry["status"] == "failed" for entry in trace),
            "nodes_simulated": sum(entry["simulated"] for entry in trace),
            "total_duration": took_s,
            "passed": state.phase is Phase.COMPLETED,
        },
    }


def _trace(state: State, stage: _Stage) -> list[dict[str, Any]]:
    entries = view.trace(state)
    for entry, run in zip(entries, state.runs.values(), strict=True):
        entry["simulated"] = run.key in stage.simulated
        entry["logs"] = [line for place, lines in stage.lines.items() if place[:2] == run.key for line in lines]
    return entries
