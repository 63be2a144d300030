"""A real server in a process of its own, on a free port, for tests that come from outside."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Timer

ROOT = Path(__file__).parents[2]
KEY = "test-admin-key-0123456789"
START_S = 60.0
STOP_S = 20.0


@dataclass(frozen=True)
class Server:
    """Where it listens, and the key of its first administrator."""

    url: str
    key: str
    data_dir: Path
    pid: int = 0


@contextmanager
def running(data_dir: Path, environ: Mapping[str, str] | None = None, *, cwd: Path = ROOT) -> Iterator[Server]:
    """Start `millrace serve`, wait until it listens, stop it at the end; `cwd` is where it is started.

    Raises RuntimeError with everything it printed when it does not come up.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(data_dir),
        "PORT": "0",
        "DATA_DIR": str(data_dir),
        "PACKS_DIR": str(ROOT / "packs"),
        "MILLRACE_ADMIN_KEY": KEY,
        "RATE_LIMIT_PER_MINUTE": "0",
        "LOG_LEVEL": "warning",
        **(environ or {}),
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "cli", "serve"],
        cwd=cwd,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield Server(url=_address(process), key=KEY, data_dir=data_dir, pid=process.pid)
    finally:
        process.terminate()
        try:
            process.communicate(timeout=STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


def _address(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    watch = Timer(START_S, process.kill)
    watch.start()
    printed = []
    try:
        for line in process.stdout:
            printed.append(line)
            found = re.search(r"listens on (http://\S+?) ", line)
            if found:
                return found[1]
    finally:
        watch.cancel()
    raise RuntimeError("the server did not start:\n" + "".join(printed))
