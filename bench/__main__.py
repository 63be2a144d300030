"""The workloads: python -m bench [W1 W2 W3 W4 decide …], or W=W1,W3 in the environment. One JSON line per figure."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys

WORKLOADS = ("W1", "W1pg", "W2", "W3", "W4", "accept", "decide")
"""Those that run when none is named."""
ALONE = ("dal", "history", "insight", "audit", "overload", "parked", "takeover")
"""Longer ones, each in a process of its own."""


def main() -> int:
    """Run those that are named, else all; 1 when a bar was missed, 2 for a name that is none."""
    named = [name for argument in sys.argv[1:] for name in argument.removeprefix("W=").split(",")]
    named = named or [name for name in os.environ.get("W", "").split(",") if name] or list(WORKLOADS)
    unknown = [name for name in named if name not in (*WORKLOADS, *ALONE)]
    if unknown:
        print(f"no workload {', '.join(unknown)}; there are {', '.join((*WORKLOADS, *ALONE))}", file=sys.stderr)
        return 2
    results = [_run(name) for name in named]
    return 0 if all(results) else 1


def _run(name: str) -> bool:
    if name in ALONE:
        return subprocess.run([sys.executable, "-m", f"bench.{name}"], check=False).returncode == 0
    return bool(importlib.import_module(f"bench.{name.lower()}").main())


if __name__ == "__main__":
    sys.exit(main())
