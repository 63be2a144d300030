"""Starting an execution: event 0 and the first decisions, the summary row and what belongs to it, in one commit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from msgspec import Struct

from models.bulk import Row
from models.journal import Unit
from models.journal_statements import START
from models.records import uuid7_text, uuid_text
from services.access.actor import Actor
from services.engine.begin import ENGINE_VERSION as ENGINE
from services.engine.commands import EngineCommand
from services.engine.graph import MAX_PARALLEL_EXECUTIONS, Graph, Limits
from services.engine.inputs import Begin, Input, Reuse
from services.engine.state import State
from services.engine.statuses import PUBLIC
from services.errors import ExecutionRefused
from services.execution.book import Book, Facts
from services.execution.deciding import Decider
from services.execution.journal import Append, Journal
from services.execution.known_actions import KnownActions
from services.registry.versions import PinnedWorkflow

ENGINE_VERSION = int(ENGINE)
"""No worker claims an execution of a newer engine than its own."""


class Order(Struct, frozen=True, kw_only=True):
    """What is to be started, by whom."""

    pinned: PinnedWorkflow
    parameters: Mapping[str, Any]
    at: datetime
    triggered_by: int | None
    key_id: str | None = None
    community_id: int | None = None
    execution_id: str | None = None
    parent_execution_id: str | None = None
    parent_node: str | None = None
    depth: int = 1
    metadata: Any = None
    traceparent: str | None = None
    reuse: Reuse | None = None
    by: Actor | None = None
    """Who asks for it, where somebody does: workflows that they may not view do not exist for them."""


class Started(Struct):
    """A decided start, not yet written. `commands` are carried out once it is, and `later` is decided: children that
    cannot start."""

    book: Book
    unit: Unit
    commands: Sequence[EngineCommand]
    later: Sequence[Input] = ()


class Holder(Struct, frozen=True):
    """Who drives the new execution; `driver` None: whoever claims it first."""

    driver: str | None = None
    epoch: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Parallel:
    """How many executions may be driven at once, by all workers together; 0 = any number."""

    per_workflow: int = 0
    per_key: int = 0

    def of(self, graph: Graph, key_id: str | None) -> int | None:
        """What holds for an execution of this graph: the number of its workflow, 0 when only its key's limit does, None
        when nothing does. A definition may lower the server's number, never raise it."""
        wanted = graph.limits.get(MAX_PARALLEL_EXECUTIONS)
        if wanted is not None:
            return min(max(1, int(wanted)), self.per_workflow or int(wanted) + 1)
        if self.per_workflow:
            return self.per_workflow
        return 0 if self.per_key and key_id is not None else None


@dataclass(slots=True, kw_only=True)
class Starter:
    """Makes starts."""

    journal: Journal
    actions: KnownActions
    limits: Limits
    parallel: Parallel = field(default_factory=Parallel)
    decider: Decider = field(init=False)

    async def start(self, order: Order, holder: Holder) -> Started:
        """Decide a start. Raises Invalid for parameters that do not fit, ExecutionRefused when it cannot begin.

        One that is under a limit is driven by whoever gives it its turn, whatever `holder` says.
        Without a driver no task starts yet: whoever claims it must know that nobody has begun anything.
        """
        book, begin = await self.prepared(order)
        facts = book.facts
        most = self.parallel.of(book.graph, facts.key_id)
        if most is not None:
            holder = Holder()
        turn = await self.decider.decide(book, [begin], hold=holder.driver is None)
        if turn.refused is not None:
            raise ExecutionRefused(turn.refused)
        place = Append(facts.execution_id, 0, holder.driver, holder.epoch, order.at)
        unit = self.journal.unit(place, turn.events)
        status = PUBLIC[book.state.phase].value
        turn.status_before = status
        unit.add(START, *_columns(facts, status, holder), most)
        await self.decider.compose(unit, book, turn)
        book.next_seq = 1
        return Started(book, unit, turn.commands, turn.later)

    async def prepared(self, order: Order, *, rehearsal: bool = False) -> tuple[Book, Begin]:
        """An empty book and the input it begins with; a rehearsal may name actions that may not run here."""
        facts, graph = _facts(order), order.pinned.graph
        book = Book(facts=facts, graph=graph, state=State(graph), last_at=order.at)
        return book, await self._begin(order, facts, rehearsal)

    async def _begin(self, order: Order, facts: Facts, rehearsal: bool) -> Begin:
        pinned = order.pinned
        return Begin(
            now=order.at,
            execution_id=facts.execution_id,
            parameters=pinned.variables(order.parameters),
            workflow={
                "id": uuid_text(pinned.workflow_id),
                "ref": pinned.ref,
                "version": pinned.version,
                "package_id": pinned.package_id,
            },
            config=await self.actions.config(pinned.pack_ref),
            limits=self.limits,
            actions=await self.actions.of(pinned, by=order.by, rehearsal=rehearsal),
            depth=order.depth,
            parent=order.parent_execution_id,
            reuse=order.reuse,
        )


def _facts(order: Order) -> Facts:
    pinned = order.pinned
    return Facts(
        execution_id=order.execution_id or uuid7_text(int(order.at.timestamp() * 1000)),
        workflow_id=uuid_text(pinned.workflow_id),
        workflow_ref=pinned.ref,
        workflow_version=pinned.version,
        package_id=pinned.package_id,
        version_id=uuid_text(pinned.version_id),
        community_id=order.community_id,
        start_time=order.at,
        triggered_by=order.triggered_by,
        key_id=order.key_id,
        parent_execution_id=order.parent_execution_id,
        parent_node=order.parent_node,
        depth=order.depth,
        rerun_of=order.reuse.of if order.reuse is not None else None,
        metadata=order.metadata,
        traceparent=order.traceparent,
    )


def _columns(facts: Facts, status: str, holder: Holder) -> Row:
    """The values of START, in its order."""
    return (
        facts.execution_id, facts.workflow_id, facts.workflow_ref, facts.workflow_version, facts.package_id,
        facts.version_id, facts.community_id, status, facts.start_time, facts.parent_execution_id, facts.parent_node,
        facts.depth, facts.rerun_of, facts.triggered_by, facts.key_id, facts.metadata, facts.traceparent,
        ENGINE_VERSION, holder.driver, holder.epoch, facts.start_time if holder.driver is None else None,
    )  # fmt: skip
