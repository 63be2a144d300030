"""What an Orquesta workflow means as a graph of task names, and what cannot be meant.

Reserved names, a missing start, transitions to nowhere, items without an action, and joins that have no place.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from services.engine.components import Components, gathered
from services.engine.dialects.orquesta_document import DocumentText, TaskText
from services.engine.problems import Findings, nearest
from services.engine.shape import cycles_of, reachable

COMMANDS = frozenset({"noop", "continue", "fail", "retry"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """Who follows whom, by task name. Edges are (source, transition index, target), one per transition and target."""

    tasks: Mapping[str, TaskText]
    edges: tuple[tuple[str, int, str], ...]
    starts: tuple[str, ...]
    reachable: frozenset[str]
    following: Mapping[str, list[str]]
    splits: frozenset[str]


def flow_of(text: DocumentText) -> Flow:
    """The flow of a document; transitions to commands and to unknown tasks are no edges."""
    edges = tuple(transitions(text))
    following: dict[str, list[str]] = {name: [] for name in text.tasks}
    inbound: dict[str, int] = defaultdict(int)
    for source, _, target in edges:
        following[source].append(target)
        inbound[target] += 1
    starts = tuple(name for name in text.tasks if not inbound[name] and name not in COMMANDS)
    cyclic = frozenset(cycles_of(following))
    return Flow(
        tasks=text.tasks,
        edges=edges,
        following=following,
        starts=starts,
        reachable=frozenset(reachable(following, starts)),
        splits=frozenset(
            name for name, task in text.tasks.items() if inbound[name] > 1 and task.join is None and name not in cyclic
        ),
    )


def transitions(text: DocumentText) -> Iterator[tuple[str, int, str]]:
    """Every transition to a task that exists."""
    for name, task in text.tasks.items():
        for transition in task.next:
            for target in transition.do:
                if target in text.tasks:
                    yield name, transition.index, target


def check_semantics(text: DocumentText, flow: Flow, findings: Findings) -> None:
    """Everything about the flow that cannot be meant."""
    for name, task in text.tasks.items():
        if name in COMMANDS:
            findings.error("reserved_task_name", f"{name!r} is an engine command and cannot name a task.",
                           path=task.path, task=name, subject=name)  # fmt: skip
        if task.has_items and not task.action:
            findings.error("items_without_action", "A task with items needs an action.", path=task.path, task=name)
    if text.tasks and not flow.starts:
        message = "Every task has an inbound transition: there is nothing to start with."
        findings.error("no_start_task", message, path="tasks", hint="Add a task that leads into the loop.")
    check_targets(text, flow, findings)
    check_joins(flow, findings)


def check_targets(text: DocumentText, flow: Flow, findings: Findings) -> None:
    """Transitions of reachable tasks lead to tasks that exist; tasks that nothing leads to are a warning."""
    for name, task in text.tasks.items():
        if name not in flow.reachable:
            if flow.starts and name not in COMMANDS:
                findings.warning("unreachable_task", f"Nothing leads to {name!r}.", path=task.path, task=name)
            continue
        for transition in task.next:
            for target in transition.do:
                if target not in text.tasks and target not in COMMANDS:
                    findings.error("undefined_task", f"There is no task {target!r}.", path=f"{transition.path}.do",
                                   task=name, subject=target, hint=nearest(target, text.tasks))  # fmt: skip


def check_joins(flow: Flow, findings: Findings) -> None:
    """A join can only meet branches that went through the same splits."""
    above = splits_above(flow)
    sources: dict[str, dict[str, None]] = defaultdict(dict)
    for source, _, target in flow.edges:
        if source in flow.reachable:
            sources[target][source] = None
    for name, task in flow.tasks.items():
        if task.join is None or name not in flow.reachable:
            continue
        strangers = [source for source in sources[name] if above[source] != above[name]]
        if strangers:
            findings.error("unreachable_join", f"The join {name!r} cannot be completed: {', '.join(strangers)} and the "
                           "other tasks that lead to it lie in different splits.", path=task.path, task=name)  # fmt: skip


def splits_above(flow: Flow) -> dict[str, int]:
    """For every reachable task the splits on any way to it, itself included, one bit each."""
    bit = {name: 1 << number for number, name in enumerate(sorted(flow.splits & flow.reachable))}
    edges: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for source, _, target in flow.edges:
        if source in flow.reachable:
            edges[source].append((0, target))
    return gathered(Components(flow.following, flow.following).found, own=bit, edges=edges)
