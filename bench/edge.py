"""What the HTTP edge costs: a guarded, validated, enveloped POST of ours beside the same route on bare Quart.

python -m bench.edge [SECONDS]      needs wrk; both servers take turns in one run, medians of three
"""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import orjson
import uvicorn
from pydantic import BaseModel, Field
from quart import Quart, Response, request

BODY = '{"community_id": 7, "variables": {"user_name": "john", "attempt": 3}, "metadata": {"source": "bench"}}'
ANSWER = {"execution_id": "01a1f922-0701-752c-8509-16f03e56669d", "status": "running", "execution_path": []}
KEY = "bench-" + "k" * 40


class Start(BaseModel):
    """A body like that of `execute`."""

    community_id: int | None = Field(None, ge=1)
    variables: dict[str, Any] = Field(default_factory=dict)
    metadata: dict[str, Any] = Field(default_factory=dict)


def bare() -> Quart:
    """Quart alone: read JSON, answer JSON."""
    app = Quart("bare")

    @app.post("/start")
    async def start() -> Response:
        orjson.loads(await request.get_data())
        return Response(orjson.dumps(ANSWER), 202, content_type="application/json")

    @app.get("/up")
    async def up() -> Response:
        return Response(b"{}", 200, content_type="application/json")

    return app


def ours(folder: str) -> Quart:
    """The same behind our edge: key, scopes, strict JSON, model, envelope, request id, headers, metrics."""
    from app import create_app
    from config import load
    from controllers import body, envelope
    from controllers.guards import Permission, requires

    app = create_app(load({"DATA_DIR": folder, "MILLRACE_ADMIN_KEY": KEY, "RATE_LIMIT_PER_MINUTE": "0"}))

    @app.post("/start")
    @requires(Permission.EXECUTION_START)
    async def start() -> Response:
        await body.read(Start)
        return envelope.ok(ANSWER, message="Workflow execution started", status=202)

    return app


def serve(kind: str, folder: str) -> None:
    """Run one of the two until it is stopped."""
    app = bare() if kind == "bare" else ours(folder)
    config = uvicorn.Config(
        app, port=0, loop="uvloop", http="httptools", access_log=False, log_level="error", ws="none"
    )

    class Announcing(uvicorn.Server):
        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets)
            print(self.servers[0].sockets[0].getsockname()[1], flush=True)

    Announcing(config).run()


def load(port: int, seconds: float) -> float:
    """Requests answered per second with 32 connections."""
    script = Path(tempfile.gettempdir()) / f"edge-{os.getpid()}.lua"
    headers = {"Content-Type": "application/json", "X-API-Key": KEY}
    lines = [f'wrk.headers["{name}"] = "{value}"' for name, value in headers.items()]
    script.write_text("\n".join(['wrk.method = "POST"', f"wrk.body = '{BODY}'", *lines]))
    try:
        command = ["wrk", "-t1", "-c32", f"-d{seconds:g}s", "-s", str(script), f"http://127.0.0.1:{port}/start"]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    finally:
        script.unlink()
    if "Non-2xx" in text:
        raise SystemExit(text)
    found = re.search(r"Requests/sec:\s+([\d.]+)", text)
    assert found is not None
    return float(found[1])


def main() -> None:
    """Measure both in turns."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 3
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "bench.edge", "serve"]
        servers = {
            kind: subprocess.Popen([*command, kind, folder], stdout=subprocess.PIPE, text=True)
            for kind in ("bare", "ours")
        }
        try:
            ports = {kind: int((server.stdout or sys.stdin).readline()) for kind, server in servers.items()}
            for port in ports.values():
                load(port, 1)
            rounds = [{kind: load(port, seconds) for kind, port in ports.items()} for _ in range(3)]
        finally:
            for server in servers.values():
                server.terminate()
                server.wait()
    rates = {kind: statistics.median(found[kind] for found in rounds) for kind in servers}
    print(json.dumps({**rates, "ratio": round(rates["ours"] / rates["bare"], 3)}))


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        serve(*sys.argv[2:])
    else:
        main()
