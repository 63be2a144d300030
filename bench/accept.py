"""Accepted: durable 202 answers per second to `execute` without waiting, nobody driving, beside a bare Quart POST."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from bench.processes import Load, environment, free_port, product, running, wrk
from bench.report import Figure, report

SECONDS = 5
ROUNDS = 3
EXECUTE = "/api/v1/workflows/bench.chain3/execute"


def ours(folder: Path) -> Load:
    """One round of ours; what was accepted stays undriven."""
    folder.mkdir()
    with product(folder, BENCH_HOLD="1") as server:
        wrk(server.url + EXECUTE, '{"variables": {"x": 1}}', seconds=1, folder=folder)
        return wrk(server.url + EXECUTE, '{"variables": {"x": 1}}', seconds=SECONDS, folder=folder)


def bare(folder: Path) -> Load:
    """One round of bare Quart: read JSON, answer JSON."""
    folder.mkdir()
    port = free_port()
    uvicorn = str(Path(sys.executable).with_name("uvicorn"))
    command = [uvicorn, "--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "error"]
    command += ["--port", str(port), "--factory", "bench.edge:bare"]
    env = {**environment(folder), **{k: v for k, v in os.environ.items() if k == "PYTHONPATH"}}
    with running(command, env, f"http://127.0.0.1:{port}/up", folder / "bare.log") as server:
        wrk(f"{server.url}/start", '{"variables": {"x": 1}}', seconds=1, folder=folder)
        return wrk(f"{server.url}/start", '{"variables": {"x": 1}}', seconds=SECONDS, folder=folder)


def main() -> bool:
    """Run it; whether the bar is reached."""
    mine, peers = [], []
    with tempfile.TemporaryDirectory(prefix="millrace-bench-") as temporary:
        for n in range(ROUNDS):
            peers.append(bare(Path(temporary) / f"bare{n}"))
            mine.append(ours(Path(temporary) / f"ours{n}"))
    return report(
        Figure(
            workload="accept",
            unit="answers/s",
            runs=[load.per_s for load in mine],
            ceilings=[load.per_s for load in peers],
            bar=0.45,
        )
    )
