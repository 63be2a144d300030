"""Schemathesis against a real server: no answer of ours may be one that our own OpenAPI document does not promise.

python -m tests.e2e.openapi_fuzz [sqlite|postgres] [--seconds N] [more options of `schemathesis run`]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from tests.crash.servers import KEY, Process
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
    with urllib.request.urlopen(asked, timeout=10) as answer:
        return bool(answer.status == 200)


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
            environ_here = {**os.environ, "PYTHONWARNINGS": "ignore"}
            found = subprocess.run(
                command(server.url, asked.seconds, more), cwd=folder, env=environ_here, timeout=limit, check=False
            )
            lived = alive(server.url)
        finally:
            server.stop()
    print(f"{asked.database}: {time.monotonic() - started:.0f} s, key still opens: {lived}")
    print("".join(server.printed[-200:]))
    return 0 if found.returncode == 0 and lived else 1


if __name__ == "__main__":
    sys.exit(main())
