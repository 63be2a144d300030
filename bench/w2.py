"""W2: a list of 1,000 items, each a durable write, and a task that joins; seconds from start to end."""

from __future__ import annotations

import tempfile
from pathlib import Path

from bench.processes import post, product
from bench.report import Figure, report

ITEMS = 1000
ROUNDS = 5
EXECUTE = "/api/v1/workflows/bench.fan1000/execute?wait=60"


def main() -> bool:
    """Run it; whether the bar is reached."""
    took = []
    temporary = tempfile.TemporaryDirectory(prefix="millrace-bench-")
    with temporary as folder, product(Path(folder), MAX_PARALLEL_NODES="1000") as server:
        for _ in range(ROUNDS + 1):
            ended = post(server.url + EXECUTE, {"variables": {"items": list(range(ITEMS))}})["data"]
            assert ended["final_output"] == {"n": ITEMS}, ended
            took.append(ended["execution_time_seconds"])
    return report(Figure(workload="W2", unit="s", runs=took[1:], bar=0.25, smaller_is_better=True))
