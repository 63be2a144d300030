"""W3: milliseconds per step of 200 sequential durable steps, and whether the last steps cost what the first ones do."""

from __future__ import annotations

import statistics
import tempfile
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from bench.processes import ceiling_per_step_ms, get, post, product
from bench.report import Figure, report

STEPS = 200
ROUNDS = 5
EXECUTE = "/api/v1/workflows/bench.chain200/execute?wait=60"


def moments(events: list[dict[str, Any]]) -> list[float]:
    """When each row was written, in seconds since the first."""
    at = [datetime.fromisoformat(row["at"]) for row in events]
    return [(moment - at[0]).total_seconds() for moment in at]


def main() -> bool:
    """Run it; whether every bar is reached."""
    per_step, growth, ceilings = [], [], []
    with (
        tempfile.TemporaryDirectory(prefix="millrace-bench-") as temporary,
        product(folder := Path(temporary)) as server,
    ):
        for _ in range(ROUNDS + 1):
            ceilings.append(ceiling_per_step_ms(folder))
            ended = post(server.url + EXECUTE, {"variables": {"x": 1}})["data"]
            assert ended["status"] == "completed", ended
            rows = get(f"{server.url}/api/v1/workflows/executions/{ended['execution_id']}/events")["data"]["events"]
            at = moments(rows)
            gaps = [later - earlier for earlier, later in pairwise(at)]
            per_step.append(1000 * at[-1] / STEPS)
            growth.append(statistics.median(gaps[-50:]) / statistics.median(gaps[:50]))
    steps = report(Figure(workload="W3", unit="ms/step", runs=per_step[1:], bar=0.4, smaller_is_better=True))
    near = report(
        Figure(
            workload="W3 of the ceiling",
            unit="ms/step",
            runs=per_step[1:],
            ceilings=ceilings[1:],
            bar=round(0.4 / 0.19, 2),  # ours and the ceiling's on the reference machine
            smaller_is_better=True,
        )
    )
    flat = report(
        Figure(workload="W3 growth", unit="last 50/first 50", runs=growth[1:], bar=1.25, smaller_is_better=True)
    )
    return steps and near and flat
