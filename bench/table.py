"""The figures as a table with the peers' published ones beside them, for people and for docs/reference/benchmarks.md.

The peers were measured on another machine (2 cores, fdatasync 0.12 ms); compare ratios between rows, not with ours.
"""

from __future__ import annotations

import os
import platform
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

PEERS: Mapping[str, str] = {
    "W1": "Restate 527-558, Celery 227, LangGraph 173-218, n8n 141-149, DBOS 76-139, Prefect 4.5, Airflow 1.4",
    "W1 tail": "Restate 2, DBOS 10, Prefect 10",
    "W1pg": "DBOS 80-117",
    "W1pg idle start to finish, p50": "DBOS 500 by default, 38 at 0.05 s polling, Airflow 6,400",
    "W1pg backlog": "Celery 227, DBOS 117",
    "W2": "LangGraph 0.56, Restate 0.9, Celery 2.5, DBOS 3.1, Prefect 9.7",
    "W3": "Restate 0.9-1.2, LangGraph 1.0, DBOS 2.1, Prefect 12.8, Airflow 1,128",
    "W4 start": "Restate 1.0, LangGraph 1.4, n8n 3.2, Prefect 10, Airflow 18",
    "W4 memory": "LangGraph 80, Prefect 225, Restate 327, n8n 544, Airflow 5,590",
    "decide chain 10": "Orquesta 1,500 at 3 steps",
    "decide chain 100": "Orquesta 21,000-29,000 at 200 steps",
    "takeover after kill -9": "PgQueuer alone 29, DBOS never, Procrastinate never",
    "takeover of a frozen worker": "PgQueuer and Procrastinate run it twice",
}
COLUMNS = ("workload", "ours", "unit", "ceiling", "ratio", "bar", "reached", "peers there")


def cells(figures: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """One row of texts for each figure."""
    return [
        (
            str(figure["workload"]),
            _number(figure["value"]),
            str(figure["unit"]),
            _number(figure["ceiling"]),
            _number(figure["ratio"]),
            _number(figure["bar"]),
            {True: "yes", False: "no", None: ""}[figure["ok"]],
            PEERS.get(str(figure["workload"]), ""),
        )
        for figure in figures
    ]


def text(figures: Sequence[Mapping[str, Any]]) -> str:
    """The table for a terminal."""
    rows = [COLUMNS, *cells(figures)]
    widths = [max(len(row[index]) for row in rows) for index in range(len(COLUMNS))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def markdown(figures: Sequence[Mapping[str, Any]]) -> str:
    """The table for a page."""
    head = [f"| {' | '.join(COLUMNS)} |", f"|{'---|' * len(COLUMNS)}"]
    return "\n".join([*head, *(f"| {' | '.join(row)} |" for row in cells(figures))])


def page(figures: Sequence[Mapping[str, Any]], command: str) -> str:
    """The whole page; `command` is what made the figures."""
    return (
        "# Benchmarks\n\n"
        f"Written by `{command}` on {datetime.now(UTC):%Y-%m-%d},"
        f" from one run on one machine: {machine()}.\n\n"
        "Every figure is the median of a few runs.\n"
        "`ratio` compares it with a ceiling that was measured in turns with it, in the same run: bare Quart with a group"
        " commit and no engine, for W3 the same without HTTP, or for `accept` a bare POST.\n"
        "`bar` is what the ratio, or without a ceiling the figure, has to reach; bars without a ceiling are those of a"
        " machine with 2 cores on which the loop below takes about 0.25 s and an fdatasync 0.12 ms.\n"
        "The peers' figures are their best ones on that machine, each with its own default durability.\n\n"
        f"{markdown(figures)}\n\n"
        "`make bench W=W1,W3` measures some of them; `python -m bench overload` and its like take minutes.\n"
        "The bench server sets `RATE_LIMIT_PER_MINUTE=0`, everything else is as it comes.\n"
    )


def machine() -> str:
    """What the figures depend on."""
    return (
        f"{os.cpu_count()} cores, Python {platform.python_version()}, SQLite {sqlite3.sqlite_version},"
        f" a loop of five million additions {_loop_s():.2f} s, fdatasync {_fdatasync_ms():.2f} ms"
    )


def _loop_s() -> float:
    def once() -> float:
        began, total = time.perf_counter(), 0
        for number in range(5_000_000):
            total += number
        return time.perf_counter() - began

    return min(once() for _ in range(3))


def _fdatasync_ms() -> float:
    took = []
    with tempfile.TemporaryDirectory() as folder, (Path(folder) / "file").open("wb", buffering=0) as file:
        for _ in range(200):
            file.write(b"x" * 512)
            began = time.perf_counter()
            os.fdatasync(file.fileno())
            took.append((time.perf_counter() - began) * 1000)
    return statistics.median(took)


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
