"""A long load on one server: it must answer everything, and its memory and its files must stop growing.

python -m bench.soak [MINUTES]      default 10; one JSON line a round, then the figures
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from pathlib import Path

from bench.processes import memory_mb, product, wrk
from bench.report import Figure, report

ROUND_S = 15
EXECUTE = "/api/v1/workflows/bench.chain3/execute?wait=30"


def open_files(pid: int) -> int:
    """How many file descriptors a process holds."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def main(minutes: float = 10.0) -> bool:
    """Run it; whether nothing failed and nothing grew."""
    rounds = max(4, round(minutes * 60 / ROUND_S))
    seen: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory(prefix="millrace-soak-") as temporary:
        folder = Path(temporary)
        with product(folder) as server:
            for number in range(rounds):
                load = wrk(server.url + EXECUTE, '{"variables": {"x": 1}}', seconds=ROUND_S, folder=folder)
                seen.append(
                    {
                        "round": number,
                        "per_s": round(load.per_s, 1),
                        "p99_ms": round(load.p99_ms, 1),
                        "bad": load.bad,
                        "memory_mb": round(memory_mb(server.pid), 1),
                        "files": open_files(server.pid),
                    }
                )
                print(json.dumps(seen[-1]), flush=True)
    quarter = max(1, len(seen) // 4)
    early, late = seen[quarter : 2 * quarter], seen[-quarter:]

    def growth(name: str) -> float:
        return statistics.median(r[name] for r in late) / statistics.median(r[name] for r in early)

    figures = [
        Figure(
            workload="soak errors", unit="answers", runs=[sum(r["bad"] for r in seen)], bar=0.0, smaller_is_better=True
        ),
        Figure(workload="soak memory", unit="late/early", runs=[growth("memory_mb")], bar=1.15, smaller_is_better=True),
        Figure(workload="soak files", unit="late/early", runs=[growth("files")], bar=1.2, smaller_is_better=True),
        Figure(workload="soak rate", unit="late/early", runs=[growth("per_s")], bar=0.7),
    ]
    results = [report(figure) for figure in figures]
    return all(results)


if __name__ == "__main__":
    sys.exit(0 if main(float(sys.argv[1]) if len(sys.argv) > 1 else 10.0) else 1)
