"""A hundred thousand executions that wait for a person: python -m bench parked [NUMBER].

They are started over HTTP on SQLite and each of them opens its inquiry and parks. Then: how much memory the server has
grown, how much processor it takes more than before, and whether one of them still goes on when it is answered.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path

from bench.processes import Server, get, memory_mb, post, product, wrk
from bench.report import Figure, report

NUMBER = 100_000
ROUND_S = 10
MOST_ROUNDS = 120
SETTLE_S = 5.0
WATCH_S = 15.0
WAITS = {
    "ref": "bench.waits",
    "pack_ref": "bench",
    "label": "waits",
    "version": "1",
    "definition": {
        "tasks": [{"name": "ask", "action": "core.inquiry", "input": {"prompt": "go?", "requester_may_respond": True}}]
    },
}


def processor(pid: int) -> float:
    """Per cent of one processor that a process takes, over a while."""
    ticks = os.sysconf("SC_CLK_TCK")

    def spent() -> float:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / ticks

    began, at = spent(), time.perf_counter()
    time.sleep(WATCH_S)
    return 100 * (spent() - began) / (time.perf_counter() - at)


def park(server: Server, number: int, folder: Path) -> int:
    """Start so many; how many it were."""
    accepted = 0
    for _ in range(MOST_ROUNDS):
        if accepted >= number:
            break
        load = wrk(f"{server.url}/api/v1/workflows/bench.waits/execute", "{}", seconds=ROUND_S, folder=folder)
        accepted += round(load.per_s * ROUND_S) - load.bad
    return accepted


def goes_on(server: Server) -> float:
    """Answer one of them; 1 when it ends."""
    inquiry = get(f"{server.url}/api/v1/inquiries?per_page=1")["data"][0]
    post(f"{server.url}/api/v1/inquiries/{inquiry['id']}/respond", {"response": {"ok": True}})
    for _ in range(100):
        found = get(f"{server.url}/api/v1/workflows/executions/{inquiry['execution_id']}")["data"]["status"]
        if found == "completed":
            return 1.0
        time.sleep(0.1)
    return 0.0


def main(number: float = NUMBER) -> bool:
    """Run it; whether every bar is reached."""
    with tempfile.TemporaryDirectory(prefix="millrace-bench-") as temporary:
        folder = Path(temporary)
        with product(folder) as server:
            post(f"{server.url}/api/v1/workflows", WAITS)
            wrk(
                f"{server.url}/api/v1/workflows/bench.chain3/execute?wait=9",
                '{"variables":{"x":1}}',
                seconds=2,
                folder=folder,
            )
            time.sleep(SETTLE_S)
            memory, idle = memory_mb(server.pid, alone=True), processor(server.pid)
            began = time.perf_counter()
            parked = park(server, int(number), folder)
            took_s = time.perf_counter() - began
            time.sleep(SETTLE_S)
            grown, busy = memory_mb(server.pid, alone=True) - memory, processor(server.pid)
            woken = goes_on(server)
    facts = {"parked": parked, "in_s": round(took_s, 1), "memory_before_mb": memory, "processor_before": idle}
    print(json.dumps({"parked": facts}), flush=True)
    small = {"smaller_is_better": True}
    reached = [
        report(Figure(workload="parked", unit="executions", runs=[parked], bar=number)),
        report(Figure(workload="parked memory grown", unit="MB", runs=[grown], bar=100, **small)),
        report(Figure(workload="parked processor more", unit="% of one", runs=[busy - idle], bar=1.0, **small)),
        report(Figure(workload="parked goes on", unit="when answered", runs=[woken], bar=1)),
    ]
    return all(reached)


if __name__ == "__main__":
    sys.exit(0 if main(*map(float, sys.argv[1:2])) else 1)
