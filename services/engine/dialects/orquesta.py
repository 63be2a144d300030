"""The Orquesta dialect: a StackStorm workflow becomes a graph, or all of its problems.

`compile_orquesta` is pure: document in, graph or findings out. Differences in behaviour are switches of `PROFILE`;
what is only another way to write something (inline parameters, `do: retry`, comma lists) is compiled away here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from services.engine.assemble import Parts, build
from services.engine.dialects.orquesta_document import TaskText, TransitionText, read_document
from services.engine.dialects.orquesta_semantics import Flow, check_semantics, flow_of
from services.engine.dialects.orquesta_values import Values
from services.engine.dialects.orquesta_variables import check_variables
from services.engine.graph import (
    Assignment,
    Command,
    Graph,
    ItemPolicy,
    Items,
    Kind,
    Need,
    Node,
    Profile,
    Retry,
    Transition,
)
from services.engine.problems import Findings

STATUS_WORDS = {
    "pending": "requested",
    "ready": "requested",
    "completed": "succeeded",
    "skipped": "succeeded",
    "cancelled": "canceled",
}

PROFILE = Profile(
    split_by_default=True,
    loop_edge_starts_join=False,
    stop_running=False,
    lost_join_fails=False,
    fail_waits=False,
    input_error_fails=True,
    publish_merges=True,
    inquiry_pauses=True,
    output_error_fails=True,
    output_sees_unstarted=False,
    cancelled_task_cancels=True,
    strict_numbers=True,
    retry_whole_list=True,
    inputs_are_variables=True,
    namespaces=False,
    status_words=STATUS_WORDS,
)

ASK = "core.ask"
ASK_MINUTES = 1440
"""How long StackStorm waits for an answer when the task does not say."""
TARGETS: Mapping[str, Command] = {"noop": Command.NOOP, "continue": Command.END, "fail": Command.FAIL}
RETRIES = 3
"""So often `do: retry` repeats a task."""


def compile_orquesta(document: Mapping[str, Any], findings: Findings, *, context: Iterable[str] = ()) -> Graph | None:
    """The graph of a document; None when the findings have errors.

    `context` names the variables that the application hands to every workflow.
    """
    text = read_document(document, findings)
    flow = flow_of(text)
    check_semantics(text, flow, findings)
    values = Values(findings)
    nodes = [compile_task(task, flow, values) for task in text.tasks.values()]
    parts = Parts(
        dialect="orquesta",
        profile=PROFILE,
        inputs=tuple(
            Assignment(name=name, value=None if value is None else values.compile("input", value))
            for name, value in text.input
        ),
        vars=assignments(values, "vars", text.vars),
        output=assignments(values, "output", text.output),
    )
    check_variables(text, flow, context, findings)
    if findings.errors:
        return None
    return build([node for node in nodes if node.id in flow.reachable], parts)


def assignments(values: Values, path: str, entries: Iterable[tuple[str, Any]]) -> tuple[Assignment, ...]:
    """Names and their values, in order."""
    return tuple(Assignment(name=name, value=values.compile(path, value)) for name, value in entries)


def compile_task(task: TaskText, flow: Flow, values: Values) -> Node:
    """One task; a task without an action succeeds at once."""
    action = values.compile(f"{task.path}.action", task.action) if task.action else None
    asks = task.action == ASK
    return Node(
        id=task.name,
        kind=Kind.PASS if action is None else Kind.INQUIRY if asks else Kind.ACTION,
        action=action,
        input=None if task.input is None else values.compile(f"{task.path}.input", task.input, secrets=True),
        next=tuple(compile_transition(entry, values) for entry in task.next),
        join=join_of(task, flow),
        items=items_of(task, values),
        retry=retry_of(task, values),
        delay=values.compile(f"{task.path}.delay", task.delay) if task.delay else None,
        timeout=values.literal(ask_seconds(task)) if asks else None,
    )


def join_of(task: TaskText, flow: Flow) -> Need | int | None:
    """How a task is entered: a barrier, an instance for each arrival, or anew for each arrival."""
    if task.join == "all":
        return Need.ALL
    if task.name in flow.splits:
        return Need.EACH
    return int(task.join) if task.join is not None else None


def items_of(task: TaskText, values: Values) -> Items | None:
    """The list that a task runs over; as long as an item is in flight, failed ones do not stop the others."""
    if task.items is None:
        return None
    concurrency = task.items.concurrency
    return Items(
        values=values.compile(f"{task.path}.with.items", task.items.expression),
        names=task.items.names,
        concurrency=None if concurrency is None else values.compile(f"{task.path}.with.concurrency", concurrency),
        policy=ItemPolicy.WHILE_ACTIVE,
    )


def retry_of(task: TaskText, values: Values) -> Retry | None:
    """`retry` of the task; `do: retry` in a transition wins and repeats it three times, by default whatever came out."""
    path = f"{task.path}.retry"
    commands = [entry for entry in task.next if "retry" in entry.do]
    if commands:
        when = commands[-1].when or "{{ completed() }}"
        return Retry(count=values.literal(RETRIES), when=values.condition(f"{commands[-1].path}.when", when))
    if task.retry is None:
        return None
    retry = Retry(
        count=values.compile(f"{path}.count", task.retry.count),
        delay=values.compile(f"{path}.delay", task.retry.delay) if task.retry.delay else None,
    )
    if task.retry.when is None:
        return retry
    return Retry(count=retry.count, delay=retry.delay, when=values.condition(f"{path}.when", task.retry.when))


def compile_transition(entry: TransitionText, values: Values) -> Transition:
    """One entry of `next`; without `do` it only publishes. `do: retry` alone became the task's retry and never fires."""
    if entry.do == ["retry"]:
        return Transition(when=frozenset())
    return Transition(
        when=None if entry.when is None else values.condition(f"{entry.path}.when", entry.when),
        publish=assignments(values, f"{entry.path}.publish", entry.publish),
        do=tuple(TARGETS.get(name, name) for name in entry.do if name != "retry"),
    )


def ask_seconds(task: TaskText) -> int:
    """How long an inquiry waits for its answer: `ttl` in minutes."""
    minutes = task.input.get("ttl") if isinstance(task.input, dict) else None
    return 60 * (minutes if isinstance(minutes, int) and minutes > 0 else ASK_MINUTES)
