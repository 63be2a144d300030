"""W=decide: what the pure engine costs. Microseconds of CPU per step, and megabytes per state.

A step is one input: an attempt has ended, the engine decides what follows and folds it. Chains of 10 to 10,000 tasks
(each with a condition, a published variable and a rendered input), a list of 1,000 items with a task behind it, 200
rounds of a loop. Process time is measured, so that other programs on the machine matter little; the graph is compiled
before, as a server does once per revision.
"""

from __future__ import annotations

import gc
import sys
import time
import tracemalloc
from collections import deque
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from bench.report import Figure, report
from services.engine.commands import Perform
from services.engine.compile import compile_definition
from services.engine.decide import advance
from services.engine.dialects.native import compile_native
from services.engine.graph import Graph, Limits
from services.engine.inputs import AttemptEnded, Begin
from services.engine.problems import Findings
from services.engine.state import State

NOW = datetime(2026, 1, 1, tzinfo=UTC)
EXECUTION = "019b7000-0000-7000-8000-000000000001"
LIMITS = Limits(max_total_operations=1_000_000, max_loop_iterations=1_000_000, max_parallel_nodes=1_000)
SIZES = (10, 100, 1_000, 10_000)
STEPS = 4_000
"""So many steps at least make one run."""


def chain(count: int) -> dict[str, Any]:
    """Tasks one after the other, each publishing what the next one gets."""
    tasks = [
        {
            "name": f"t{number}",
            "action": "bench.step",
            "input": {"n": "{{ vars.n }}"},
            "next": [{"when": "succeeded", "publish": {"n": "{{ result().n }}"}, "do": f"t{number + 1}"}],
        }
        for number in range(count)
    ]
    tasks[-1].pop("next")
    return {"vars": {"n": 0}, "tasks": tasks, "output": {"n": "{{ vars.n }}"}}


def fan_out(count: int) -> dict[str, Any]:
    """A list of items and a task that takes all their results."""
    items = {"name": "each", "action": "bench.step", "with_items": list(range(count)), "input": {"n": "{{ item }}"}}
    after = {"name": "after", "action": "bench.step", "join": "all", "input": {"n": "{{ task.each.result | length }}"}}
    return {"tasks": [{**items, "next": [{"do": "after"}]}, after]}


def loop(rounds: int) -> dict[str, Any]:
    """A task that leads back to itself until it has counted far enough."""
    again = {"when": f"{{{{ result().n < {rounds} }}}}", "publish": {"n": "{{ result().n }}"}, "do": "round"}
    enter = {"name": "enter", "action": "bench.step", "input": {"n": 0}, "next": [{"do": "round"}]}
    return {
        "vars": {"n": 0},
        "tasks": [enter, {"name": "round", "action": "bench.step", "input": {"n": "{{ vars.n }}"}, "next": [again]}],
    }


def compiled(document: Mapping[str, Any]) -> Graph:
    """The graph; larger ones than a server accepts go to the front end directly."""
    graph = compile_definition(document).graph or compile_native(document, Findings())
    assert graph is not None
    return graph


def drive(graph: Graph) -> tuple[float, int, State]:
    """CPU seconds of deciding and folding, the number of steps, the last state."""
    state = State(graph)
    waiting: deque[Any] = deque([Begin(now=NOW, execution_id=EXECUTION, limits=LIMITS)])
    steps, spent = 0, 0.0
    while waiting:
        given = waiting.popleft()
        began = time.process_time()
        decision = advance(graph, state, given)
        spent += time.process_time() - began
        steps += 1
        for command in decision.commands:
            assert isinstance(command, Perform)
            output = {"n": command.input["n"] + 1}
            waiting.append(AttemptEnded(now=NOW, node=command.node, run=command.run, item=command.item, output=output))
    assert state.phase == "completed", state.fatal
    return spent, steps, state


def per_step(document: Mapping[str, Any]) -> float:
    """Microseconds per step, over at least `STEPS` steps, without the first."""
    graph = compiled(document)
    gc.collect()
    gc.freeze()
    drive(graph)
    spent, steps = 0.0, 0
    while steps < STEPS:
        used, made, _ = drive(graph)
        spent, steps = spent + used, steps + made
    gc.unfreeze()
    return spent / steps * 1e6


def megabytes(document: Mapping[str, Any]) -> float:
    """What a finished state holds."""
    graph = compiled(document)
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    _, _, state = drive(graph)
    gc.collect()
    size = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert state.ended
    return size / 1e6


def main() -> bool:
    """Print every figure; whether all bars are reached."""
    chains = {size: [per_step(chain(size)) for _ in range(3)] for size in SIZES}
    figures = [
        Figure(workload=f"decide chain {size}", unit="us/step", runs=runs, bar=60, smaller_is_better=True)
        for size, runs in chains.items()
    ]
    others = {"decide items 1000": fan_out(1_000), "decide loop 200": loop(200)}
    for name, document in others.items():
        runs = [per_step(document) for _ in range(3)]
        figures.append(Figure(workload=name, unit="us/step", runs=runs, bar=60, smaller_is_better=True))
    growth = [largest / smallest for smallest, largest in zip(chains[SIZES[0]], chains[SIZES[-1]], strict=True)]
    figures.append(Figure(workload="decide 10 to 10000", unit="x", runs=growth, bar=1.3, smaller_is_better=True))
    size = [megabytes(chain(10_000))]
    figures.append(Figure(workload="decide state 10000", unit="MB", runs=size, bar=20, smaller_is_better=True))
    reached = [report(figure) for figure in figures]
    return all(reached)


if __name__ == "__main__":
    sys.exit(0 if main() else 1)
