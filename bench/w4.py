"""W4: seconds from process start to the first answer of an execution, and idle memory of all processes.

With an existing database, insights on, after a minute of rest. Bare Quart is started in turns with us.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

from bench.processes import ceiling, memory_mb, post, product
from bench.report import Figure, report

ROUNDS = 3
REST_S = float(os.environ.get("REST", "60"))
EXECUTE = "/api/v1/workflows/bench.chain3/execute?wait=30"


def main() -> bool:
    """Run it; whether every bar is reached."""
    cold, bare, memory = [], [], []
    with tempfile.TemporaryDirectory(prefix="millrace-bench-") as temporary:
        folder = Path(temporary)
        with product(folder) as server:
            post(server.url + EXECUTE, {"variables": {"x": 1}})
        for n in range(ROUNDS):
            began = time.perf_counter()
            with ceiling(folder):
                bare.append(time.perf_counter() - began)
            began = time.perf_counter()
            with product(folder) as server:
                post(server.url + EXECUTE, {"variables": {"x": 1}})
                cold.append(time.perf_counter() - began)
                if n == ROUNDS - 1:
                    time.sleep(REST_S)
                    memory.append(memory_mb(server.pid))
    start = report(Figure(workload="W4 start", unit="s", runs=cold, bar=1.0, smaller_is_better=True))
    near = report(
        Figure(
            workload="W4 start of bare Quart's",
            unit="s",
            runs=cold,
            ceilings=bare,
            bar=round(1.0 / 0.6, 2),  # ours and bare Quart's on the reference machine
            smaller_is_better=True,
        )
    )
    rest = report(Figure(workload="W4 memory", unit="MB", runs=memory, bar=120.0, smaller_is_better=True))
    return start and near and rest
