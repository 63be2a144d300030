"""The product's own server with the bench's action in it: python -m bench.server (settings from the environment).

`python -m bench.server api` only answers, `python -m bench.server worker` only drives.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import tracemalloc
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli import start_quickly

if TYPE_CHECKING:
    from controllers.context import Services
    from services.actions.outcome import Call


def touch(call: Call) -> dict[str, Any]:
    """A trivial step, as the peers' are."""
    return {"x": call.input["x"] + 1}


def trace(folder: Path) -> None:
    """At SIGUSR1, write what has grown since the start and how many objects there are of each kind."""
    tracemalloc.start()
    before: list[tracemalloc.Snapshot] = []

    def write(*_: object) -> None:
        gc.collect()
        now = tracemalloc.take_snapshot()
        before.append(now)
        lines = [str(found) for found in now.compare_to(before[0], "lineno")[:40]]
        kinds = Counter(type(item).__qualname__ for item in gc.get_objects()).most_common(40)
        lines += [f"{count:8} {name}" for name, count in kinds]
        (folder / f"trace-{len(before)}.txt").write_text("\n".join(lines))
        del before[1:-1]

    signal.signal(signal.SIGUSR1, write)


def main() -> None:
    """Serve until a signal comes."""
    start_quickly()
    from app import create_app, create_worker
    from config import load
    from controllers import server
    from controllers.context import EXTENSION
    from services import logs

    role = sys.argv[1] if len(sys.argv) > 1 else "all"
    settings = load()
    logs.configure(level=settings.log_level, form=settings.log_format, module=settings.log_module)
    drives = role != "api" and "BENCH_HOLD" not in os.environ
    app = create_worker(settings) if role == "worker" else create_app(settings, drives=drives)
    here: Services = app.extensions[EXTENSION]
    here.execution.runners.provide("touch", touch)
    if "BENCH_TRACE" in os.environ:
        trace(settings.data_dir)
    listen = server.Listen(host=settings.host, port=settings.port, drain_s=1, most_connections=settings.max_connections)
    server.serve(app, listen, on_started=lambda url: print(url, flush=True), on_stop=here.stop)


if __name__ == "__main__":
    main()
