"""The workloads: python -m bench [W1 W2 W3 W4 decide …], or W=W1,W3 in the environment. One JSON line per figure."""

from __future__ import annotations

import importlib
import os
import sys

WORKLOADS = ("W1", "W1pg", "W2", "W3", "W4", "accept", "decide")


def main() -> int:
    """Run those that are named, else all; 1 when a bar was missed."""
    named = [name for argument in sys.argv[1:] for name in argument.removeprefix("W=").split(",")]
    named = named or [name for name in os.environ.get("W", "").split(",") if name] or list(WORKLOADS)
    results = [importlib.import_module(f"bench.{name.lower()}").main() for name in named]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
