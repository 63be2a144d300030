"""What an execution is: the fold of its events.

Theory of operation
-------------------
*Tokens.* An edge that fires into a task leaves a **token**: the task is *staged*, with its route, its variables and the
runs it came from. `NodeStarted` uses a token up and makes a **run** (the nth of its node). While a run performs
something it has **work**: one piece for a plain task, one for each item in flight. `NodeEnded` names the transitions
that fired; folding it stages the targets, or lets them arrive at a join. So the state always says what may start, and
nothing has to be searched.

*Routes.* A token that enters a task by a splitting edge gets a route of its own (the edge's label is appended:
`task1/task3#1`); everything else keeps the route it has. Joins, "once" and "latest result" are kept per (node, route).

*Joins.* Sources that have arrived are counted per (node, route); the token is staged when enough have come. An open
join can still be completed while some token or run stands on a node that leads to a missing source (ancestor bit sets
from compile time); this is looked at only when something ended without going where the join needs it.

*Deciding* (`decide.py`) rehearses events on this state with `evolve` and takes them back, so there is one description
of what each event means. What is not an attribute of the state itself is changed through `State.log` (`undo.py`).

*Ending.* `fatal` is the first failure nobody handled. FAILING and CANCELLING start nothing new except clean-up (what
stands beside `fail` in a transition) and compensations; when nothing is in flight any more the output is rendered and
`Finished` is the last event.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from models.records import Effect
from services.engine.contexts import Context, Histories
from services.engine.events import Fired, NodeEnded, NodeStarted, Troubled
from services.engine.graph import ActionFacts, Failure, Graph, Kind, Limits
from services.engine.statuses import ENDED, Outcome, Phase, Stage
from services.engine.undo import Log

Key = tuple[str, int, int | None]
"""A piece of work: node, run, item."""
Place = tuple[str, str]
"""Node and route."""


class Token(NamedTuple):
    """A task that may start."""

    id: int
    node: str
    route: str
    inbound: tuple[tuple[str, int], ...]
    """The runs whose edges led here, one entry per edge."""
    context: Context
    cleanup: bool = False
    """Stands beside `fail`: runs although the execution fails."""
    rounds: Mapping[Place, int] | None = None
    """For joins inside cycles: which of their rounds this descends from."""
    error: Failure | None = None
    """The latest failure on the way here."""


class Run:
    """One run of a node: the token it came from, and the events that began and ended it."""

    __slots__ = (
        "attempt", "cleanup", "context", "ended", "ended_event", "error", "inbound", "items", "node", "number",
        "reused", "round", "rounds", "route", "started",
    )  # fmt: skip

    def __init__(self, started: NodeStarted, token: Token, number: int) -> None:
        self.node = started.node
        self.number = started.run
        self.started = started
        self.ended: NodeEnded | None = None
        self.ended_event = 0
        """Number of the event that ended it: the order in which runs ended."""
        self.route = token.route
        self.inbound = token.inbound
        self.context: Context | None = token.context
        """While it has not ended."""
        self.cleanup = token.cleanup
        self.rounds = token.rounds
        self.error = token.error
        self.round = number
        """The how manieth run of its node on its route, from 1."""
        self.attempt = 1
        self.items: ItemList | None = None
        self.reused = False
        """Taken over from an earlier execution."""

    @property
    def key(self) -> tuple[str, int]:
        """Node and number."""
        return (self.node, self.number)

    @property
    def undoes(self) -> tuple[str, int] | None:
        """The run that this one compensates."""
        return self.started.undoes

    @property
    def undo(self) -> bool:
        """Whether it is a compensation."""
        return self.started.undoes is not None

    @property
    def kind(self) -> Kind:
        """What it does."""
        return self.started.kind

    @property
    def action(self) -> str | None:
        """The ref it performs."""
        return self.started.action

    @property
    def effect(self) -> Effect:
        """What that does to the world."""
        return self.started.effect

    @property
    def input(self) -> Any:
        """What it was given."""
        return self.started.input

    @property
    def delay_s(self) -> float:
        """Seconds it waited before its first attempt."""
        return self.started.delay_s

    @property
    def started_at(self) -> datetime:
        """When it was entered."""
        return self.started.at

    @property
    def ended_at(self) -> datetime | None:
        """When it ended."""
        return None if self.ended is None else self.ended.at

    @property
    def outcome(self) -> Outcome | None:
        """How it ended."""
        return None if self.ended is None else self.ended.outcome

    @property
    def output(self) -> Any:
        """Its result."""
        return None if self.ended is None else self.ended.output

    @property
    def failure(self) -> Failure | None:
        """Why it failed."""
        return None if self.ended is None else self.ended.failure

    @property
    def fired(self) -> tuple[Fired, ...]:
        """The transitions that held."""
        return () if self.ended is None else self.ended.fired

    @property
    def handled(self) -> bool:
        """Whether its failure, if any, was taken care of."""
        return self.ended is None or self.ended.handled


class ItemRecord(NamedTuple):
    """How one item ended."""

    outcome: Outcome
    output: Any
    failure: Failure | None
    attempt: int
    at: datetime
    input: Any = None
    started_at: datetime | None = None
    reused: bool = False


class ItemList:
    """The items of one run."""

    __slots__ = ("active", "concurrency", "ended", "failed", "held", "next", "records", "values")

    def __init__(self, values: tuple[Any, ...], concurrency: int | None) -> None:
        self.values = values
        self.concurrency = concurrency
        self.records: dict[int, ItemRecord] = {}
        self.next = 0
        """The next item that was never started."""
        self.active = 0
        self.failed = 0
        self.ended = False
        """No further item starts."""
        self.held = False
        """Waiting for the delay of a repetition."""

    def outputs(self) -> list[Any]:
        """Outputs in item order, null where there is none."""
        records = self.records
        return [records[index].output if index in records else None for index in range(len(self.values))]


class Work:
    """Something in flight: an attempt, an open inquiry, a running child, a timer that is waited for."""

    __slots__ = (
        "action", "attempt", "child_id", "deadline", "delay_s", "effect", "input", "item", "kind", "node", "paused",
        "run", "secrets", "since", "stage", "timeout_s", "timer",
    )  # fmt: skip

    def __init__(self, key: Key, kind: Kind, since: datetime) -> None:
        self.node, self.run, self.item = key
        self.kind = kind
        self.since = since
        self.stage = Stage.RUNNING
        self.attempt = 1
        self.action: str | None = None
        self.input: Any = None
        self.secrets: tuple[Mapping[str, Any], ...] = ()
        self.effect = Effect.NONE
        self.timeout_s: float | None = None
        self.delay_s = 0.0
        self.child_id: str | None = None
        self.timer: str | None = None
        """The timer that moves it on: delay, retry, wait."""
        self.deadline: str | None = None
        """The timer that ends it: the timeout of an inquiry or a child."""
        self.paused = False

    @property
    def key(self) -> Key:
        """Node, run, item."""
        return (self.node, self.run, self.item)

    @property
    def in_slot(self) -> bool:
        """Whether it counts for `max_parallel_nodes`."""
        return self.kind is Kind.ACTION and self.stage in (Stage.RUNNING, Stage.STOPPING)


class Timer(NamedTuple):
    """A time that is waited for."""

    id: str
    due: datetime
    purpose: str
    key: Key


class Gathering:
    """A join that some sources have reached."""

    __slots__ = ("arrived", "cleanup", "context", "error", "inbound", "rounds")

    def __init__(self) -> None:
        self.arrived: dict[str, None] = {}
        self.inbound: list[tuple[str, int]] = []
        self.context: Context | None = None
        self.cleanup = False
        self.rounds: Mapping[Place, int] | None = None
        self.error: Failure | None = None


class State:
    """One execution. Made empty, then changed by `evolve` only."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.log = Log()
        self.histories = Histories(self.log)
        self.events = 0
        """Events folded so far; with a position it makes `uuid()` and jitter unique."""
        self._begin()
        self._flow()
        self._work()

    def _begin(self) -> None:
        self.execution_id = ""
        self.phase = Phase.PENDING
        self.started_at: datetime | None = None
        self.ended_at: datetime | None = None
        self.last_at: datetime | None = None
        self.parameters: Mapping[str, Any] = {}
        self.config: Mapping[str, Any] = {}
        self.workflow: Mapping[str, Any] = {}
        self.limits = Limits()
        self.actions: Mapping[str, ActionFacts] = {}
        self.depth = 1
        self.parent: str | None = None
        self.rerun_of: str | None = None
        self.reused_items: Mapping[str, Mapping[str, Any]] = {}
        self.output: Any = None
        self.failure: Failure | None = None
        """Why the execution failed, once it has ended."""
        self.fatal: Failure | None = None
        """The first failure that nobody handled."""
        self.troubles: list[Troubled] = []
        self.cancelled_by: str | None = None
        self.over_limit = False
        """A limit was passed: not even clean-up starts any more."""

    def _flow(self) -> None:
        self.root = Context()
        self.leaves: Context | None = None
        """Variables of all branches that have ended, joined."""
        self.staged: dict[int, Token] = {}
        self.queue: list[int] = []
        """Tokens that need a slot, oldest first; those before `queue_at` are used up. `free` are the others."""
        self.queue_at = 0
        self.free: list[int] = []
        self.free_at = 0
        self.next_token = 0
        self.runs: dict[tuple[str, int], Run] = {}
        self.counts: dict[str, int] = {}
        """Runs per node."""
        self.latest: dict[Place, Run] = {}
        self.live: dict[Place, int] = {}
        """Tokens and unfinished runs by place; kept where the graph has joins."""
        self.alive = 0
        """Tokens and unfinished runs."""
        self.gatherings: dict[Place, Gathering] = {}
        self.late: dict[Place, frozenset[str]] = {}
        """Sources that a join started without; their next arrival is ignored."""
        self.join_rounds: dict[Place, int] = {}
        self.entered: dict[Place, None] = {}
        self.operations = 0
        self.undoable: list[tuple[str, int, Context]] = []
        """Completed runs with a compensation, oldest first."""

    def _work(self) -> None:
        self.work: dict[Key, Work] = {}
        self.slots = 0
        """Attempts in flight, as `max_parallel_nodes` counts them."""
        self.due: dict[Key, None] = {}
        """Work whose delay is over, waiting for a slot or for resume."""
        self.lists: dict[tuple[str, int], ItemList] = {}
        """Item lists that have not ended."""
        self.timers: dict[str, Timer] = {}
        self.children: dict[str, Key] = {}
        self.inquiries = 0

    def lets_start(self, *, cleanup: bool) -> bool:
        """Whether something may start now; while failing that is clean-up only."""
        return self.phase is Phase.RUNNING or self.spares(cleanup=cleanup)

    def spares(self, *, cleanup: bool) -> bool:
        """Whether something goes on although the execution fails."""
        return cleanup and self.phase is Phase.FAILING and not self.over_limit

    def rehearse(self, play: Callable[[], None], *, keep: bool = False) -> None:
        """Let `play` fold events, then take everything back; with `keep` only when it raised."""
        before, number = self.__dict__.copy(), self.histories.next
        self.log.open()
        kept = False
        try:
            play()
            kept = keep
        finally:
            if kept:
                self.log.keep()
            else:
                self.log.take_back()
                self.__dict__.update(before)
                self.histories.next = number

    @property
    def ended(self) -> bool:
        """Whether nothing happens any more."""
        return self.phase in ENDED

    def tokens(self, order: list[int], start: int) -> Iterator[Token]:
        """Staged tokens of one queue, oldest first."""
        for position in range(start, len(order)):
            token = self.staged.get(order[position])
            if token is not None:
                yield token
