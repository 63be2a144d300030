"""Executions in a row on one server: memory and descriptors must stay flat, and what the files grow by must be explained.

python -m bench.soak [EXECUTIONS] [--keep RUNS]      default 200000; one JSON line per 10,000 executions, then the figures

`--keep` prunes the history down to so many runs after every 10,000: only their rows in the audit record may
stay. With BENCH_TRACE=1 the server also writes, per line, what has grown in it: `trace-N.txt` in a folder that is kept.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import re
import shutil
import signal
import sqlite3
import statistics
import sys
import tempfile
import urllib.request
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.processes import Server, memory_mb, post, product, wrk
from bench.report import Figure, report

EXECUTE = "/api/v1/workflows/bench.chain3/execute?wait=30"
LEG = 10_000
LOAD_S = 5
WARM_UP = 0.2
"""Part of the run in which caches fill."""
DONE = re.compile(rb'^millrace_workflow_executions_total\{status="completed"\} ([\d.e+]+)', re.M)
WAL_BAR_MB = 72.0
"""journal_size_limit (64 MiB) and one transaction more."""

LEFT_KB = 1.5
"""Its row in the audit record, which is kept for RETENTION_AUDIT_DAYS."""


@dataclass(frozen=True, slots=True)
class Leg:
    """What was seen after so many executions. `rss_mb`: the server alone; `all_mb`: with its helpers."""

    executions: int
    per_s: float
    p99_ms: float
    bad: int
    rss_mb: float
    all_mb: float
    descriptors: int
    wal_mb: float
    file_mb: float
    kept: int


def completed(server: Server) -> int:
    """How many executions the server has completed, by its own count."""
    with urllib.request.urlopen(f"{server.url}/metrics", timeout=30) as answer:
        found = DONE.search(answer.read())
    return int(float(found[1])) if found else 0


def rss_mb(pid: int) -> float:
    """Resident memory of one process."""
    found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


def kept(folder: Path) -> int:
    """How many executions the database holds."""
    connection = sqlite3.connect(f"file:{folder / 'millrace.db'}?mode=ro", uri=True, timeout=30)
    try:
        return int(connection.execute("SELECT count(*) FROM workflow_executions").fetchone()[0])
    finally:
        connection.close()


def leg(server: Server, folder: Path, until: int, *, prune: bool) -> Leg:
    """Load until so many executions are done, then look."""
    loads = []
    while completed(server) < until:
        loads.append(wrk(server.url + EXECUTE, '{"variables": {"x": 1}}', seconds=LOAD_S, folder=folder))
    if prune:
        post(f"{server.url}/api/v1/retention/run", {})
    wal, file = folder / "millrace.db-wal", folder / "millrace.db"
    return Leg(
        executions=completed(server),
        per_s=round(statistics.median(load.per_s for load in loads), 1) if loads else 0.0,
        p99_ms=round(statistics.median(load.p99_ms for load in loads), 1) if loads else 0.0,
        bad=sum(load.bad for load in loads),
        rss_mb=round(rss_mb(server.pid), 1),
        all_mb=round(memory_mb(server.pid), 1),
        descriptors=len(list(Path(f"/proc/{server.pid}/fd").iterdir())),
        wal_mb=round(wal.stat().st_size / 2**20, 1),
        file_mb=round(file.stat().st_size / 2**20, 1),
        kept=kept(folder),
    )


def run(executions: int, keep: int) -> list[Leg]:
    """All legs, each printed as it is done."""
    legs: list[Leg] = []
    limits = {"RETENTION_RUNS_PER_WORKFLOW": str(keep)} if keep else {}
    tracing = {"BENCH_TRACE": "1"} if "BENCH_TRACE" in os.environ else {}
    folder = Path(tempfile.mkdtemp(prefix="millrace-soak-"))
    try:
        with product(folder, **limits, **tracing) as server:
            while not legs or legs[-1].executions < executions:
                legs.append(leg(server, folder, min(executions, LEG * (len(legs) + 1)), prune=bool(keep)))
                print(json.dumps(asdict(legs[-1])), flush=True)
                if tracing:
                    os.kill(server.pid, signal.SIGUSR1)
    finally:
        if tracing:
            print(f"traces: {folder}", flush=True)
        else:
            shutil.rmtree(folder)
    return legs


def growth(values: Sequence[float]) -> float:
    """The last third of the values beside the first: medians, so that one outlier says nothing."""
    third = max(1, len(values) // 3)
    return statistics.median(values[-third:]) / max(statistics.median(values[:third]), 0.001)


def verdict(legs: Sequence[Leg], *, pruned: bool) -> list[Figure]:
    """What has to be true of it."""
    warm = legs[round(len(legs) * WARM_UP) :]
    unexplained = [abs(one.kept - one.executions) for one in legs] if not pruned else [0]
    per_row = [
        (late.file_mb - early.file_mb) * 1024 / (late.kept - early.kept)
        for early, late in itertools.pairwise(warm)
        if late.kept > early.kept
    ]

    def upto(workload: str, unit: str, value: float, bar: float) -> Figure:
        return Figure(workload=f"soak {workload}", unit=unit, runs=[value], bar=bar, smaller_is_better=True)

    figures = [
        upto("errors", "answers", sum(one.bad for one in legs), 0.0),
        upto("memory", "late/early", growth([one.rss_mb for one in warm]), 1.1),
        upto("descriptors", "late/early", growth([one.descriptors for one in warm]), 1.1),
        upto("WAL", "MB at most", max(one.wal_mb for one in legs), WAL_BAR_MB),
        upto("rows beside executions", "rows", max(unexplained), 64.0),  # those under way while we looked
    ]
    if pruned:
        first, last = warm[0], warm[-1]
        left = (last.file_mb - first.file_mb) * 1024 / max(1, last.executions - first.executions)
        return [*figures, upto("left in the file by a pruned execution", "KB", left, LEFT_KB)]
    return [*figures, upto("file growth per execution", "late/early", growth(per_row), 1.25)]


def main(executions: int = 200_000, keep: int = 0) -> bool:
    """Run it; whether nothing failed and nothing grew that should not."""
    results = [report(figure) for figure in verdict(run(executions, keep), pruned=bool(keep))]
    return all(results)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.soak")
    parser.add_argument("executions", type=int, nargs="?", default=200_000)
    parser.add_argument("--keep", type=int, default=0)
    chosen = parser.parse_args()
    sys.exit(0 if main(chosen.executions, chosen.keep) else 1)
