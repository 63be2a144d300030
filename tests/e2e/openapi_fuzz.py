"""Schemathesis against a real server: no answer of ours may be one that our own OpenAPI document does not promise.

python -m tests.e2e.openapi_fuzz [sqlite|postgres] [--seconds N] [more options of `schemathesis run`]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from threading import Event, Thread

from tests.crash.servers import KEY, ROOT, Process
from tests.support.postgres_cluster import PostgresCluster

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "unsupported_method",
    "ignored_auth",
    "use_after_free",
)


@contextmanager
def environment(database: str) -> Iterator[dict[str, str]]:
    """More environment for the server: where its database is."""
    if database == "sqlite":
        yield {}
        return
    cluster = PostgresCluster()
    try:
        yield {"POSTGRES_DSN": cluster.dsn()}
    finally:
        cluster.stop()


def command(url: str, seconds: int, more: list[str]) -> list[str]:
    """How Schemathesis is called."""
    return [
        *(str(Path(sys.executable).with_name("schemathesis")), "run", f"{url}/openapi.json"),
        *("--header", f"X-API-Key: {KEY}"),
        *("--checks", ",".join(CHECKS)),
        *("--phases", "examples,coverage,fuzzing,stateful"),
        *("--max-time", str(seconds)),
        *("--request-timeout", "60", "--continue-on-failure", "--warnings", "off", "--no-color"),
        *("--suppress-health-check", "all", "--generation-database", "none"),
        *more,
    ]


def alive(url: str) -> bool:
    """Whether the server still answers, and its key still opens it: else nothing behind the key was tested."""
    asked = urllib.request.Request(f"{url}/api/v1/me", headers={"X-API-Key": KEY})
    try:
        with urllib.request.urlopen(asked, timeout=10) as answer:
            found = json.load(answer)["data"]
    except urllib.error.HTTPError:
        return False
    return bool(found["is_admin"])


class Doorkeeper(Thread):
    """Makes the first administrator one again when a request has taken that away: what follows shall be tested, too.

    A key that was revoked stays so, and the run fails at its end.
    """

    def __init__(self, url: str, environ: dict[str, str]) -> None:
        super().__init__(daemon=True)
        self._url, self._environ, self._over = url, {**os.environ, **environ}, Event()
        self.opened = 0

    def run(self) -> None:
        """Look every second."""
        again = ("user", "set", "admin", "--active", "--admin", "--direct")
        while not self._over.wait(1.0):
            if not alive(self._url):
                self.opened += 1
                subprocess.run(
                    [sys.executable, "-m", "cli", *again], cwd=ROOT, env=self._environ, check=False, capture_output=True
                )

    def stop(self) -> None:
        """Go home."""
        self._over.set()
        self.join()


def main() -> int:
    """Run it; 1 when it found something."""
    if find_spec("schemathesis") is None:
        raise SystemExit("Schemathesis is not installed here: pip install schemathesis (the extra `fuzz`)")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("database", nargs="?", default="sqlite", choices=("sqlite", "postgres"))
    parser.add_argument("--seconds", type=int, default=60)
    asked, more = parser.parse_known_args()
    with tempfile.TemporaryDirectory(prefix="millrace-fuzz-") as folder, environment(asked.database) as environ:
        server = Process(Path(folder), environ)
        try:
            server.wait_until_up()
            with urllib.request.urlopen(f"{server.url}/openapi.json", timeout=120) as document:
                document.read()  # built now: Schemathesis waits ten seconds for it
            started = time.monotonic()
            limit = asked.seconds * 2 + 60
            keeper = Doorkeeper(server.url, {"DATA_DIR": folder, **environ})
            keeper.start()
            environ_here = {**os.environ, "PYTHONWARNINGS": "ignore"}
            found = subprocess.run(
                command(server.url, asked.seconds, more), cwd=folder, env=environ_here, timeout=limit, check=False
            )
            keeper.stop()
            lived = alive(server.url)
        finally:
            server.stop()
    seconds = time.monotonic() - started
    print(f"{asked.database}: {seconds:.0f} s, key still opens: {lived}, opened again {keeper.opened} times")
    print("".join(server.printed[-200:]))
    return 0 if found.returncode == 0 and lived else 1


if __name__ == "__main__":
    sys.exit(main())
