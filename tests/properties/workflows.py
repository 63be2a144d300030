"""Random workflows for Hypothesis: wild ones for what must always hold, and orderly ones whose result no order changes."""

from __future__ import annotations

import hashlib
from itertools import pairwise
from typing import Any

from hypothesis import strategies as st

from services.engine import commands as do
from services.engine.compile import compile_definition
from services.engine.statuses import Outcome
from tests.support.engine_shell import Mock, Result

AGAIN = "{{ result().again | default(false) }}"
CONDITIONS = ("succeeded", "failed", "completed", "timed_out", "{{ result().n | default(0) > 3 }}", AGAIN)
COMMANDS = ("fail", "noop", "end")
KINDS = ("action",) * 8 + ("pass", "items", "items", "child", "inquiry", "wait", "retry", "retry", "guard", "delay")


def dice(*parts: Any) -> int:
    """A number that is always the same for the same place."""
    return int.from_bytes(hashlib.blake2b(repr(parts).encode(), digest_size=4).digest(), "big")


def mock(seed: int, *, failures: bool = True) -> Mock:
    """Results that depend on the place only, never on the order. Loops go round at most twice."""

    def end(command: do.Perform) -> Result:
        number = dice(seed, command.node, command.run, command.item, command.attempt)
        output = {"n": number % 10, "again": command.run < 2 and number % 2 == 0}
        if failures and number % 19 == 0:
            return Outcome.FAILED, None
        if failures and number % 37 == 0:
            return Outcome.TIMED_OUT, None
        return Outcome.COMPLETED, output

    return end


def wild_document(chance: Any) -> dict[str, Any]:
    """Anything that compiles: 30 tasks and more, cycles, splits, joins, items, retries, children, compensation."""
    count = chance.randint(30, 40)
    tasks = [_task(chance, number) for number in range(count)]
    for number in range(1, count):
        for source in {chance.randrange(max(0, number - 8), number) for _ in range(chance.choice((1, 1, 1, 2, 3)))}:
            _lead(chance, tasks[source], f"t{number}")
        if chance.random() < 0.3:
            tasks[number]["join"] = chance.choice(("all", "all", 1, 2, "each"))
    for _ in range(chance.randrange(4)):
        target = chance.randrange(1, count)
        source = chance.randrange(target, min(count, target + 6))
        tasks[source]["next"].append({"when": AGAIN, "do": [f"t{target}"]})
    for number in range(chance.randrange(3)):
        done = chance.choice(tasks)
        done["compensate"] = "undo.it"
        done.setdefault("compensate_on", ["failed", "cancelled"][: number + 1])
    document = {
        "tasks": tasks,
        "on_failure": chance.choice(("fast", "drain")),
        "vars": {"seen": 0},
        "output": {"seen": "{{ vars.seen }}", "all": "{{ vars }}"},
    }
    return _without_impossible_joins(document)


def _without_impossible_joins(document: dict[str, Any]) -> dict[str, Any]:
    """Joins that the inspection refuses are left out."""
    while True:
        refused = {
            problem.task for problem in compile_definition(document).errors if problem.code == "unreachable_join"
        }
        if not refused:
            return document
        for task in document["tasks"]:
            if task["name"] in refused:
                task.pop("join", None)


def _task(chance: Any, number: int) -> dict[str, Any]:
    name = f"t{number}"
    task: dict[str, Any] = {"name": name, "action": "test.act", "input": {"seen": "{{ vars.seen }}"}, "next": []}
    match chance.choice(KINDS):
        case "pass":
            task = {"name": name, "next": []}
        case "items":
            task["with_items"] = list(range(chance.randrange(5)))
            task["concurrency"] = chance.randint(1, 3)
            task["on_item_failure"] = chance.choice(("stop", "drain", "continue"))
            if chance.random() < 0.3:
                task["retry"] = {"count": 1}
        case "child":
            task["type"] = "workflow"
        case "inquiry":
            task["action"] = "core.inquiry"
        case "wait":
            task = {"name": name, "wait": {"seconds": chance.randint(1, 60)}, "next": []}
        case "retry":
            delay = chance.choice((0, 5))
            task["retry"] = {"count": chance.randint(1, 2), "delay": delay, "jitter": chance.random() < 0.5}
        case "guard":
            task["when"] = chance.choice((True, False))
        case "delay":
            task["delay"] = chance.randint(1, 30)
    return task


def _lead(chance: Any, source: dict[str, Any], target: str) -> None:
    """Add an edge, on a transition of its own or beside another."""
    steps = source["next"]
    if steps and chance.random() < 0.3:
        step = chance.choice(steps)
        step["do"] = list(dict.fromkeys([*step["do"], target]))
        return
    step = {"do": [target]}
    if chance.random() < 0.6:
        step["when"] = chance.choice(CONDITIONS)
    if chance.random() < 0.3:
        step["publish"] = {"seen": "{{ vars.seen + 1 }}", source["name"]: "{{ result() }}"}
    if chance.random() < 0.08:
        step["do"].append(chance.choice(COMMANDS))
    steps.append(step)


def orderly_document(chance: Any) -> dict[str, Any]:
    """A graph without races: joins wait for all, loops leave one way, every task publishes names of its own."""
    tasks: list[dict[str, Any]] = []
    exits: list[dict[str, Any]] = []
    while len(tasks) < 30:
        entry, leaving = _block(chance, tasks)
        before = [end for end in exits[-6:] if chance.random() < 0.5] or exits[:1]
        for end in before:
            end["next"][-1]["do"].append(entry["name"])
        if len(before) > 1:
            entry["join"] = "all"
        exits.append(leaving)
    for task in tasks:
        for step in task.get("next", ()):
            step["do"] = step["do"] or ["noop"]
    return {"tasks": tasks, "on_failure": "drain", "output": {"all": "{{ vars }}"}}


def _block(chance: Any, tasks: list[dict[str, Any]]) -> tuple[dict[str, Any], dict[str, Any]]:
    """A task, a group, or a loop over a chain; its entry and its exit."""
    kind = chance.choice(("task", "task", "task", "group", "loop")) if tasks else "task"
    length = chance.randint(1, 3) if kind == "loop" else 1
    made = [_orderly_task(chance, len(tasks) + number) for number in range(length)]
    if kind == "group":
        inner = [{"name": f"{made[0]['name']}_{side}", "action": "test.act"} for side in ("a", "b")]
        made[0] = {"name": made[0]["name"], "type": "parallel", "tasks": inner, "next": made[0]["next"]}
    for first, second in pairwise(made):
        first["next"][0]["do"].append(second["name"])
    first, last = made[0], made[-1]
    if kind == "loop":
        last.update({"action": "test.act"})
        for key in ("with_items", "on_item_failure", "when"):
            last.pop(key, None)
        publish = last["next"][0]["publish"]
        last["next"] = [
            {"when": AGAIN, "publish": publish, "do": [first["name"]]},
            {"when": AGAIN.replace("{{", "{{ not"), "publish": publish, "do": []},
        ]
    tasks += made
    return first, last


def _orderly_task(chance: Any, number: int) -> dict[str, Any]:
    name = f"t{number}"
    task: dict[str, Any] = {
        "name": name,
        "action": "test.act",
        "next": [{"publish": {f"of_{name}": "{{ result() }}"}, "do": []}],
    }
    kind = chance.random()
    if kind < 0.15:
        task["with_items"] = list(range(chance.randrange(4)))
        task["on_item_failure"] = "continue"
    elif kind < 0.3:
        task["retry"] = {"count": 2, "delay": chance.choice((0, 5))}
    elif kind < 0.35:
        task["when"] = "{{ 1 > 2 }}"
    return task


def wild() -> st.SearchStrategy[dict[str, Any]]:
    """Wild documents."""
    return st.randoms(use_true_random=False).map(wild_document)


def orderly() -> st.SearchStrategy[dict[str, Any]]:
    """Orderly documents."""
    return st.randoms(use_true_random=False).map(orderly_document)
