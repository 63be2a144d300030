"""Ten times what the server can do, for a minute: python -m bench overload [SECONDS].

32 clients that wait say what it can do; then another process offers ten times as much over 500 connections, whatever
the answers; then the 32 clients come back, within five seconds. SQLite, one process, the three-step workflow, `wait`.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.processes import ROOT, Server, memory_mb, product, wrk
from bench.report import Figure, report

SECONDS = 60.0
TIMES = 10
CONNECTIONS = 500
MEASURE_S = 5
REST_S = 1.0
EXECUTE = "/api/v1/workflows/bench.chain3/execute?wait=30"
BODY = '{"variables": {"x": 1}}'


def flood(server: Server, rate: float, seconds: float) -> tuple[dict[str, Any], float]:
    """Offer this rate; what became of it, and the most memory the server had meanwhile."""
    command = [sys.executable, "-m", "bench.open_loop", server.url + EXECUTE]
    command += [str(rate), str(seconds), str(CONNECTIONS), BODY]
    client = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    peak, end = 0.0, time.perf_counter() + seconds + 120
    while client.poll() is None:
        peak = max(peak, memory_mb(server.pid, alone=True))
        if time.perf_counter() > end:
            client.kill()
        time.sleep(0.25)
    assert client.stdout is not None
    return json.loads(client.stdout.read()), peak


def main(seconds: float = SECONDS) -> bool:
    """Run it; whether every bar is reached."""
    with tempfile.TemporaryDirectory(prefix="millrace-bench-") as temporary:
        folder = Path(temporary)
        with product(folder) as server:
            wrk(server.url + EXECUTE, BODY, seconds=2, folder=folder)
            before = wrk(server.url + EXECUTE, BODY, seconds=MEASURE_S, folder=folder).per_s
            memory = memory_mb(server.pid, alone=True)
            seen, peak = flood(server, before * TIMES, seconds)
            time.sleep(REST_S)
            after = wrk(server.url + EXECUTE, BODY, seconds=5 - int(REST_S), folder=folder)
            later = memory_mb(server.pid, alone=True)
    print(json.dumps({"overload": {**seen, "memory_before_mb": memory, "memory_after_mb": later}}), flush=True)
    small = {"smaller_is_better": True}
    wrong = float(seen["other"] + seen["lost"] + seen["without_retry_after"] + after.bad)
    p99 = seen["accepted_p99_s"]
    reached = [
        report(Figure(workload="overload sustainable", unit="executions/s", runs=[before])),
        report(Figure(workload="overload accepted meanwhile", unit="executions/s", runs=[seen["accepted_per_s"]])),
        report(Figure(workload="overload p99 of accepted", unit="s", runs=[p99 or float("inf")], bar=2.0, **small)),
        report(Figure(workload="overload memory grown", unit="MB", runs=[peak - memory], bar=150, **small)),
        report(Figure(workload="overload wrong answers", unit="answers", runs=[wrong], bar=0, **small)),
        report(Figure(workload="overload rate after", unit="after/before", runs=[after.per_s / before], bar=0.85)),
    ]
    return all(reached)


if __name__ == "__main__":
    sys.exit(0 if main(*map(float, sys.argv[1:2])) else 1)
