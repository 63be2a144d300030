"""Real processes, a server and workers beside it, that are killed, frozen and resumed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
KEY = "fleet-admin-key-0123456789"
HEADERS = {"X-API-Key": KEY}
START_S = 240.0
STOP_S = 90.0


class Process:
    """One process of Millrace on a free port; what it prints goes to a file."""

    def __init__(self, folder: Path, environ: Mapping[str, str], *command: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.log = folder / f"{command[0]}-{time.monotonic_ns()}.log"
        env = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "PORT": "0",
            "WORKER_PORT": "0",
            "DATA_DIR": str(folder),
            "PACKS_DIR": str(folder / "packs"),
            "MILLRACE_ADMIN_KEY": KEY,
            "RATE_LIMIT_PER_MINUTE": "0",
            "HTTP_ALLOW_HOSTS": "127.0.0.1",
            "LOG_LEVEL": "warning",
            **environ,
        }
        with self.log.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "cli", *command], cwd=ROOT, env=env, stdout=out, stderr=subprocess.STDOUT
            )
        self.url = ""

    def wait_until_up(self) -> Process:
        """Until it says where it listens. Raises RuntimeError with what it printed when it does not."""
        until = time.monotonic() + START_S
        while time.monotonic() < until and self.process.poll() is None:
            found = re.search(r"listens on (http://\S+) ", self.printed)
            if found:
                self.url = found[1]
                return self
            time.sleep(0.02)
        raise RuntimeError(f"it did not start:\n{self.printed}")

    @property
    def printed(self) -> str:
        """Everything it has printed so far."""
        return self.log.read_text(errors="replace")

    def freeze(self) -> None:
        """Stop it in its tracks."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        self.process.wait()

    def terminate(self) -> None:
        """The first signal."""
        self.process.terminate()

    def stop(self) -> int:
        """End it properly; its exit code."""
        if self.process.poll() is None:
            self.resume()
            self.terminate()
            try:
                self.process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self.kill()
        return self.process.returncode


class Fleet:
    """A server and its workers on one database."""

    def __init__(self, folder: Path, environ: Mapping[str, str]) -> None:
        self._folder = folder
        self._environ = environ
        self.workers: list[Process] = []
        self._all: list[Process] = []

    def serve(self, *options: str, **environ: str) -> Process:
        """Begin a server; it is not up yet."""
        return self._begin(environ, "serve", *options)

    def worker(self, **environ: str) -> Process:
        """Begin a worker; it is not up yet."""
        made = self._begin(environ, "worker")
        self.workers.append(made)
        return made

    def _begin(self, environ: Mapping[str, str], *command: str) -> Process:
        made = Process(self._folder, {**self._environ, **environ}, *command)
        self._all.append(made)
        return made

    def close(self) -> None:
        """End whatever still runs."""
        for process in self._all:
            if process.process.poll() is None:
                process.resume()
                process.terminate()
        for process in self._all:
            process.stop()


@contextmanager
def fleet(folder: Path, environ: Mapping[str, str]) -> Iterator[Fleet]:
    """A fleet without processes yet; all of them are ended at the end."""
    made = Fleet(folder, environ)
    try:
        yield made
    finally:
        made.close()
