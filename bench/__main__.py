"""The workloads: python -m bench [W1 W2 W3 W4 decide …] [--page], or W=W1,W3 in the environment.

One JSON line per figure, then a table with the peers' figures; `--page` writes that into docs/reference/benchmarks.md.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

from bench import table
from bench.report import REPORTED

WORKLOADS = ("W1", "W1pg", "W2", "W3", "W4", "accept", "decide")
"""Those that run when none is named."""
PAGE = Path(__file__).parents[1] / "docs" / "reference" / "benchmarks.md"
ALONE = ("dal", "history", "insight", "audit", "overload", "parked", "takeover")
"""Longer ones, each in a process of its own."""


def main() -> int:
    """Run those that are named, else all; 1 when a bar was missed, 2 for a name that is none."""
    arguments = [argument for argument in sys.argv[1:] if argument != "--page"]
    named = [name for argument in arguments for name in argument.removeprefix("W=").split(",")]
    named = named or [name for name in os.environ.get("W", "").split(",") if name] or list(WORKLOADS)
    unknown = [name for name in named if name not in (*WORKLOADS, *ALONE)]
    if unknown:
        print(f"no workload {', '.join(unknown)}; there are {', '.join((*WORKLOADS, *ALONE))}", file=sys.stderr)
        return 2
    results = [_run(name) for name in named]
    print(f"\n{table.text(REPORTED)}")
    if "--page" in sys.argv:
        PAGE.write_text(table.page(REPORTED, f"python -m bench {' '.join(sys.argv[1:])}"))
    return 0 if all(results) else 1


def _run(name: str) -> bool:
    if name in ALONE:
        return _run_alone(name)
    return bool(importlib.import_module(f"bench.{name.lower()}").main())


def _run_alone(name: str) -> bool:
    with subprocess.Popen([sys.executable, "-m", f"bench.{name}"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            if line.startswith('{"workload"'):
                REPORTED.append(json.loads(line))
    return process.returncode == 0


if __name__ == "__main__":
    sys.exit(main())
