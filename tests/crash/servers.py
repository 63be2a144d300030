"""Real server processes that are killed in the middle of their work."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from threading import Thread, Timer

ROOT = Path(__file__).parents[2]
KEY = "crash-admin-key-0123456789"
START_S = 180.0


class Process:
    """`millrace serve` (or another command) as a process of its own."""

    def __init__(self, data_dir: Path, environ: Mapping[str, str], *command: str) -> None:
        data_dir.mkdir(parents=True, exist_ok=True)
        env = {
            "PATH": os.environ["PATH"],
            "HOME": str(data_dir),
            "PORT": "0",
            "WORKER_PORT": "0",
            "DATA_DIR": str(data_dir),
            "PACKS_DIR": str(ROOT / "packs"),
            "MILLRACE_ADMIN_KEY": KEY,
            "RATE_LIMIT_PER_MINUTE": "0",
            "HTTP_ALLOW_HOSTS": "127.0.0.1",
            "LOG_LEVEL": "warning",
            **environ,
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "cli", *(command or ("serve",))],
            cwd=ROOT,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.printed: list[str] = []
        self.url = ""
        self._reader = Thread(target=self._read, daemon=True)

    def wait_until_up(self) -> None:
        """Until it says that it listens."""
        assert self._process.stdout is not None
        watch = Timer(START_S, self._process.kill)
        watch.start()
        for line in self._process.stdout:
            self.printed.append(line)
            found = re.search(r"listens on (http://\S+?) ", line)
            if found:
                self.url = found[1]
                watch.cancel()
                self._reader.start()
                return
        watch.cancel()
        raise RuntimeError("the server did not start:\n" + "".join(self.printed))

    def _read(self) -> None:
        assert self._process.stdout is not None
        self.printed.extend(self._process.stdout)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def kill(self) -> None:
        """kill -9."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)
            self._process.terminate()
            try:
                self._process.wait(90)
            except subprocess.TimeoutExpired:
                self.kill()
        if self._process.stdout is not None:
            self._process.stdout.close()
        return self._process.returncode
