"""W1: three-step durable executions completed per second over HTTP, every step durable before the next begins.

SQLite with synchronous=FULL, one process, 32 clients that wait for the end (`execute?wait=`). The ceiling is the
prototype (bare Quart + group commit, no engine), in turns with us.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from bench.processes import Load, ceiling, product, wrk
from bench.report import Figure, report

SECONDS = 5
ROUNDS = 3
EXECUTE = "/api/v1/workflows/bench.chain3/execute?wait=30"


def ours(folder: Path, seconds: int) -> Load:
    """One round of ours."""
    folder.mkdir()
    with product(folder) as server:
        wrk(server.url + EXECUTE, '{"variables": {"x": 1}}', seconds=1, folder=folder)
        return wrk(server.url + EXECUTE, '{"variables": {"x": 1}}', seconds=seconds, folder=folder)


def theirs(folder: Path, seconds: int) -> Load:
    """One round of the ceiling."""
    folder.mkdir()
    with ceiling(folder) as url:
        wrk(url, '{"x": 1}', seconds=1, folder=folder)
        return wrk(url, '{"x": 1}', seconds=seconds, folder=folder)


def main(rounds: int = ROUNDS, seconds: int = SECONDS) -> bool:
    """Run it; whether every bar is reached."""
    mine, peers = [], []
    with tempfile.TemporaryDirectory(prefix="millrace-bench-") as temporary:
        for n in range(rounds):
            peers.append(theirs(Path(temporary) / f"ceiling{n}", seconds))
            mine.append(ours(Path(temporary) / f"ours{n}", seconds))
    bad = sum(load.bad for load in mine)
    fast = report(
        Figure(
            workload="W1",
            unit="executions/s",
            runs=[load.per_s for load in mine],
            ceilings=[load.per_s for load in peers],
            bar=0.35,
        )
    )
    tail = report(
        Figure(
            workload="W1 tail",
            unit="p99/p50",
            runs=[load.p99_ms / load.p50_ms for load in mine],
            bar=3.0,
            smaller_is_better=True,
        )
    )
    return (
        fast
        and tail
        and report(Figure(workload="W1 errors", unit="answers", runs=[bad], bar=0.0, smaller_is_better=True))
    )
