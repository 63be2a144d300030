"""The one graph that every dialect compiles into.

A front end fills `Node`s, hands them to `assemble.build` and gets a `Graph`: the builder works out what each edge does
when it arrives (`Entry`), cycles, joins and ancestor sets. The engine knows only this page; where dialects differ, the
difference is a switch of `Profile`. Ids derive from names: a node's id is its task name, a transition is
`task:index`, an edge `task:index:target`. Everything is immutable, so one graph serves any number of executions.

Every field typed `Template` holds a value compiled by `services.engine.expressions.compile_template`, literals too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from msgspec import Struct, structs

from models.records import Effect, ErrorType
from services.engine.expressions_scope import Scope
from services.engine.statuses import Outcome

FORMAT = 1
"""Version of the graph's JSON form; part of its hash."""


class Template(Protocol):
    """A compiled value: literals stay what they are, expressions are evaluated in a scope."""

    @property
    def source(self) -> Any:
        """The value as its author wrote it."""
        ...

    @property
    def secrets(self) -> frozenset[str]:
        """Names of the secrets it puts into its value."""
        ...

    def evaluate(self, scope: Scope) -> Any:
        """The value; raises ExpressionError, or NeedsWorker for what cannot be evaluated in process."""
        ...


class Kind(StrEnum):
    """What a node does when it starts."""

    ACTION = "action"
    PASS = "pass"  # noqa: S105 - a node that does nothing
    WAIT = "wait"
    INQUIRY = "inquiry"
    WORKFLOW = "workflow"


class Entry(StrEnum):
    """What an edge does when it arrives at its target."""

    START = "start"
    """Starts a new run, every time."""
    ONCE = "once"
    """Starts the target unless such an edge did so before on this route."""
    SPLIT = "split"
    """Starts an instance of its own: the edge is appended to the route."""
    JOIN = "join"
    """Is counted; the target starts when enough sources have arrived."""


class Command(StrEnum):
    """Targets of a transition that are not tasks."""

    NOOP = "noop"
    """Does nothing, but a failed task that leads here is handled."""
    END = "end"
    """The branch ends here and the outcome of the task stays what it is (`continue` is the same)."""
    FAIL = "fail"
    """The execution fails."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """One `name: value` of inputs, vars, publish or output. `value` None: an input without default."""

    name: str
    value: Template | None
    merge: bool = False
    """Objects are merged key by key instead of replaced."""
    required: bool = False
    """An input that must be given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """One target of a transition. `assemble.build` makes these."""

    id: str
    source: str
    target: str
    """A node id or a `Command`."""
    entry: Entry | None = None
    """None for commands."""
    label: str = ""
    """What this edge is called in a route: its source, with `#1`, `#2` … for further transitions between the two."""


When = frozenset[Outcome] | Template | None
"""A condition: one of these outcomes, an expression that is true, or None for always."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """What follows when its condition holds: one delta of variables, several targets."""

    when: When = None
    on: frozenset[Outcome] | None = None
    """Only after these outcomes; looked at before `when` is evaluated."""
    choice: int | None = None
    """Of the transitions of one task with the same number only the first one that holds fires."""
    publish: tuple[Assignment, ...] = ()
    do: tuple[str, ...] = ()
    """Node ids and `Command`s; empty means `end`."""
    message: Template | None = None
    """Of `fail`."""
    edges: tuple[Edge, ...] = ()
    """Filled by the builder, in the order of `do`."""
    id: str = ""
    """Filled by the builder."""
    fails: bool = False
    """Leads to `fail`. Filled by the builder."""


class ItemPolicy(StrEnum):
    """What happens to the other items when one of them fails."""

    STOP = "stop"
    """Start none, interrupt those in flight."""
    DRAIN = "drain"
    """Start none, let those in flight end."""
    CONTINUE = "continue"
    """Run them all."""
    WHILE_ACTIVE = "while_active"
    """Go on as long as another item is in flight (Orquesta)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Items:
    """`with_items`: the node's action is performed once for each element of a list."""

    values: Template
    names: tuple[str, ...] = ()
    """Names that an element is zipped with; empty: the element is `item` itself."""
    concurrency: Template | None = None
    """At most so many items in flight; None takes the profile's default."""
    policy: ItemPolicy = ItemPolicy.DRAIN
    wrap: bool = False
    """A value that is not a list becomes a list of one."""


class Backoff(StrEnum):
    """How the delay grows from attempt to attempt."""

    CONSTANT = "constant"
    LINEAR = "linear"
    EXPONENTIAL = "exponential"


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """When a failed attempt is repeated: at most `count` times after the first."""

    count: Template
    delay: Template | None = None
    """Seconds before the second attempt; None: at once."""
    backoff: Backoff = Backoff.CONSTANT
    max_delay: Template | None = None
    """Seconds; no delay is longer."""
    jitter: bool = False
    """Each delay is shortened by up to half, by a hash, so that many retries do not meet."""
    when: When = frozenset({Outcome.FAILED, Outcome.TIMED_OUT})
    """Which attempts are repeated; an expression may ask for it after a success as well (polling)."""


class Need(StrEnum):
    """How a task with several inbound edges is entered, when its author says so."""

    ALL = "all"
    EACH = "each"


@dataclass(frozen=True, slots=True, kw_only=True)
class Join:
    """A barrier: the node starts when `need` of `sources` have arrived on its route. `assemble.build` makes these."""

    need: int
    sources: tuple[str, ...]
    """Distinct nodes with a transition into the join; each counts once per round."""
    all: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """A durable timer: so many seconds, or until a time (RFC 3339 text). Exactly one is set."""

    seconds: Template | None = None
    until: Template | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Compensation:
    """The node that undoes this one when the execution ends badly; only completed runs are undone."""

    node: str
    """A node with `undo` set; its scope is that of the run it undoes, `result()` included."""
    on: frozenset[Outcome] = frozenset({Outcome.FAILED, Outcome.CANCELLED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A task as the engine knows it."""

    id: str
    kind: Kind = Kind.ACTION
    action: Template | None = None
    """Ref of the action or workflow, rendered at start. ACTION, INQUIRY and WORKFLOW only."""
    input: Template | None = None
    """Renders to an object; None: no input."""
    next: tuple[Transition, ...] = ()
    join: Need | int | None = None
    """As written: `all`, a number, `each`, or None. What the builder made of it is `Graph.joins`."""
    guard: Template | None = None
    """Task-level `when`; false: the run is skipped and its successors go on as after success with result null."""
    items: Items | None = None
    retry: Retry | None = None
    delay: Template | None = None
    """Seconds before the first attempt."""
    timeout: Template | None = None
    """Seconds for one attempt, an inquiry or a child."""
    wait: Wait | None = None
    compensation: Compensation | None = None
    undo: bool = False
    """Runs only as a compensation: no start node, no inbound edges."""
    max_runs: int | None = None
    """Rounds of this node on one route before the execution fails with a limit; lowers `MAX_LOOP_ITERATIONS`."""
    gather: tuple[str, ...] = ()
    """A PASS node whose result is an object of these nodes' results (the join of `type: parallel`)."""
    default_outcome: Mapping[str, Any] | None = None
    """INQUIRY: the answer taken when nobody answered in time; None: the node times out."""
    labels: Mapping[str, Any] = field(default_factory=dict)
    """Carried for drawing and export (`position`, `label`, `metadata`); no meaning for the engine."""


class Scoping(StrEnum):
    """Who sees a published variable."""

    BRANCH = "branch"
    GLOBAL = "global"


class OnError(StrEnum):
    """What an expression error in a condition or a publish does."""

    FAIL = "fail"
    AS_FALSE = "as_false"
    IGNORE = "ignore"


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """The switches in which dialects differ. The defaults are the native language."""

    scoping: Scoping = Scoping.BRANCH
    split_by_default: bool = False
    """Several inbound edges without `join`: one instance per edge (else the node runs once per route)."""
    loop_edge_starts_join: bool = True
    """An edge from the join's own cycle starts the next round of a join that is also entered from outside."""
    fail_fast: bool = True
    """An unhandled failure stops other branches; else they run to their end first."""
    stop_running: bool = True
    """Failing fast interrupts what is in flight; else it may finish."""
    lost_join_fails: bool = True
    """A join that can no longer be completed fails the execution as soon as that is certain; else at its end."""
    fail_waits: bool = True
    """`do: [cleanup, fail]` runs cleanup and what follows it to the end; else only cleanup itself still runs."""
    failed_includes_timeout: bool = True
    condition_error: OnError = OnError.FAIL
    publish_error: OnError = OnError.FAIL
    input_error_fails: bool = False
    """A task that cannot be rendered fails the execution and nothing due with it starts; else only that task fails."""
    publish_merges: bool = False
    """Publishing an object over an object merges them."""
    inquiry_pauses: bool = False
    """An open inquiry pauses the execution; else it holds its own task only."""
    output_on_success_only: bool = False
    output_error_fails: bool = False
    """An output that cannot be rendered fails the execution; else it is reported and left out."""
    items_concurrency: int | None = None
    """Default concurrency of item lists; None: only the limits."""
    output_sees_unstarted: bool = True
    """The output of a failed execution sees what was published on the way to tasks that never started."""
    cancelled_task_cancels: bool = False
    """A task that reports `cancelled` by itself cancels the execution; else it counts as a failure."""
    strict_numbers: bool = False
    """Delays and counts must be whole numbers; else durations may be text such as `30s`."""
    retry_whole_list: bool = False
    """A retry of an item list repeats the list; else each item has its own attempts."""
    inputs_are_variables: bool = False
    """Inputs live in the same namespace as variables, and undeclared ones are dropped."""
    namespaces: bool = True
    """`parameters`, `vars`, `task` … are names in expressions; else a name is a variable and nothing else."""
    status_words: Mapping[str, str] = field(default_factory=dict)
    """What expressions call a status, where it differs from the API's word."""


class Limits(Struct, frozen=True, kw_only=True):
    """Bounds of one execution. A definition may lower them, never raise them."""

    workflow_timeout_s: float = 300.0
    max_loop_iterations: int = 100
    max_total_operations: int = 1000
    max_items: int = 10_000
    max_loop_depth: int = 10
    max_parallel_nodes: int = 10
    max_context_bytes: int = 8 * 1024 * 1024
    max_result_bytes: int = 4 * 1024 * 1024

    def lowered(self, wanted: Mapping[str, float]) -> Limits:
        """These limits, lowered where a definition asks for less."""
        old = {name: getattr(self, name) for name in wanted if name != MAX_PARALLEL_EXECUTIONS}
        if not old:
            return self
        return structs.replace(self, **{name: min(was, type(was)(wanted[name])) for name, was in old.items()})


MAX_PARALLEL_EXECUTIONS = "max_parallel_executions"
"""The one limit in a definition that is not about one execution: how many of the workflow are driven at once."""


LIMIT_NAMES: Mapping[str, str] = {name: name.upper() for name in Limits.__struct_fields__} | {
    "workflow_timeout_s": "WORKFLOW_TIMEOUT_SECONDS"
}
"""Field of `Limits` -> the name an operator knows it by."""


class ActionFacts(Struct, frozen=True, kw_only=True):
    """What the engine must know of an action that a task names."""

    kind: Kind = Kind.ACTION
    """ACTION, WORKFLOW (the ref names a workflow: a child execution) or INQUIRY."""
    effect: Effect = Effect.WRITE


class Failure(Struct, frozen=True, kw_only=True):
    """Why something failed, as every event, scope and answer carries it."""

    type: ErrorType
    message: str
    details: Mapping[str, Any] | None = None
    node: str | None = None
    attempt: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """What the builder worked out; the engine's indexes."""

    starts: tuple[str, ...]
    """Nodes that begin an execution, in order of name."""
    joins: Mapping[str, Join]
    edges: Mapping[str, Edge]
    index: Mapping[str, int]
    """Node id -> bit position in ancestor sets."""
    ancestors: Mapping[str, int]
    """Node id -> bit set of the nodes from which it can be reached, itself included; empty without joins."""
    cycles: Mapping[str, int]
    """Node id -> number of its cycle, for nodes that are part of one."""
    counts_rounds: bool = False
    """Some join inside a cycle needs fewer than all its sources: tokens carry which rounds they descend from."""
    routes: bool = False
    """Some edge splits: routes matter for joins."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """A compiled definition."""

    dialect: str
    nodes: Mapping[str, Node]
    flow: Flow
    inputs: tuple[Assignment, ...] = ()
    vars: tuple[Assignment, ...] = ()
    output: tuple[Assignment, ...] = ()
    profile: Profile = field(default_factory=Profile)
    limits: Mapping[str, float] = field(default_factory=dict)
    """Limits that the definition lowers, by field of `Limits`, or MAX_PARALLEL_EXECUTIONS."""
    out_schema: Mapping[str, Any] | None = None
    """JSON Schema that the output must satisfy; a violation fails the execution."""
    hash: str = ""
    """SHA-256 of the canonical JSON form; event 0 carries it."""
