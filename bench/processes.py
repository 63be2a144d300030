"""Servers as processes, and load on them: what the workloads share."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
KEY = "bench-" + "k" * 40
JSON = {"Content-Type": "application/json"}
HEADERS = {**JSON, "X-API-Key": KEY}


@dataclass(frozen=True, slots=True)
class Server:
    """A running server."""

    url: str
    pid: int
    started_s: float  # from exec to the first successful answer


def free_port() -> int:
    """A port nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment(folder: Path, **more: str) -> dict[str, str]:
    """The settings of a server under test: everything as it comes, but no rate limit and a known key."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "PYTHONPATH") if name in os.environ}
    return {
        **kept,
        "DATA_DIR": str(folder),
        "PORT": str(free_port()),
        "PACKS_DIR": str(ROOT / "bench" / "packs"),
        "MILLRACE_ADMIN_KEY": KEY,
        "RATE_LIMIT_PER_MINUTE": "0",
        **more,
    }


@contextmanager
def product(folder: Path, *role: str, pin: str | None = None, **more: str) -> Iterator[Server]:
    """Our server, or with a `role` only a part of it (`api`, `worker`). `pin`: the processors it may use."""
    env = environment(folder, **more)
    command = [sys.executable, "-m", "bench.server", *role]
    with running(
        command, env, f"http://127.0.0.1:{env['PORT']}/health", folder / f"{role[0] if role else 'server'}.log", pin=pin
    ) as server:
        yield server


@contextmanager
def running(
    command: list[str], env: Mapping[str, str], probe: str, log: Path, *, pin: str | None = None
) -> Iterator[Server]:
    """A process that answers at `probe` when it is up; ended with SIGTERM."""
    prefix = ["taskset", "-c", pin] if pin else []
    began = time.perf_counter()
    with log.open("ab") as out:
        process = subprocess.Popen([*prefix, *command], cwd=ROOT, env=dict(env), stdout=out, stderr=subprocess.STDOUT)
    try:
        wait_for(probe, process)
        yield Server(probe.rsplit("/", 1)[0], process.pid, time.perf_counter() - began)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_for(url: str, process: subprocess.Popen[bytes], *, data: bytes | None = None, limit_s: float = 30.0) -> None:
    """Until `url` answers."""
    end = time.perf_counter() + limit_s
    while time.perf_counter() < end:
        if process.poll() is not None:
            raise RuntimeError(f"the server ended with {process.returncode}")
        try:
            request = urllib.request.Request(url, data=data, headers=JSON)
            with urllib.request.urlopen(request, timeout=5) as answer:
                if answer.status < 300:
                    return
        except OSError:
            time.sleep(0.01)
    raise TimeoutError(url)


def post(url: str, body: Any) -> Any:
    """POST JSON with the admin key; the JSON answer."""
    request = urllib.request.Request(url, data=json.dumps(body).encode(), headers=HEADERS)
    with urllib.request.urlopen(request, timeout=120) as answer:
        return json.load(answer)


def get(url: str) -> Any:
    """GET JSON with the admin key; the JSON answer."""
    with urllib.request.urlopen(urllib.request.Request(url, headers=HEADERS), timeout=30) as answer:
        return json.load(answer)


@dataclass(frozen=True, slots=True)
class Load:
    """What wrk saw: requests per second, milliseconds at the median and at p99."""

    per_s: float
    p50_ms: float
    p99_ms: float
    bad: int


def wrk(url: str, body: str, *, seconds: int, folder: Path, connections: int = 32) -> Load:
    """A closed loop of POSTs."""
    if shutil.which("wrk") is None:
        raise SystemExit("The load comes from wrk, which is not installed (on Debian: apt install wrk)")
    script = folder / "wrk.lua"
    headers = "".join(f"wrk.headers[{json.dumps(k)}]={json.dumps(v)}\n" for k, v in HEADERS.items())
    script.write_text(
        f'wrk.method="POST"\nwrk.body={json.dumps(body)}\n{headers}'
        "done=function(s,l,r) io.write(string.format('RESULT %d %f %f %f %d\\n',s.requests,s.duration/1e6,"
        "l:percentile(50)/1e3,l:percentile(99)/1e3,s.errors.connect+s.errors.read+s.errors.write"
        "+s.errors.timeout+s.errors.status)) end\n"
    )
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "60s", "-s", str(script), url]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(r"RESULT (\d+) ([\d.]+) ([\d.]+) ([\d.]+) (\d+)", out)
    if found is None:
        raise RuntimeError(out)
    return Load(int(found[1]) / float(found[2]), float(found[3]), float(found[4]), int(found[5]))


def memory_mb(pid: int, *, alone: bool = False) -> float:
    """Resident memory of a process and all its children, or of the process `alone`."""
    kb = 0
    for one in [pid] if alone else [pid, *_descendants(pid)]:
        try:
            status = Path(f"/proc/{one}/status").read_text()
        except OSError:
            continue
        found = re.search(r"VmRSS:\s+(\d+)", status)
        kb += int(found[1]) if found else 0
    return kb / 1024


def _descendants(pid: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
            except OSError:
                continue
            children.setdefault(parent, []).append(int(entry.name))
    found, todo = [], [pid]
    while todo:
        todo_next = children.get(todo.pop(), [])
        found += todo_next
        todo += todo_next
    return found


def shared_blocks() -> Path:
    """Where the ceiling prototypes are: in `shared` beside the project, or where BENCH_BLOCKS says."""
    if "BENCH_BLOCKS" in os.environ:
        return Path(os.environ["BENCH_BLOCKS"])
    for folder in ROOT.parents:
        blocks = folder / "shared" / "tools" / "bench" / "blocks"
        if blocks.is_dir():
            return blocks
    raise SystemExit("the ceiling prototypes are not here; set BENCH_BLOCKS to their folder")


@contextmanager
def ceiling(folder: Path, *, mode: str = "each") -> Iterator[str]:
    """The ceiling prototype behind Quart; its URL."""
    port = free_port()
    uvicorn = str(Path(sys.executable).with_name("uvicorn"))
    command = [uvicorn, "--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "error"]
    command += ["--port", str(port), "--app-dir", str(shared_blocks()), "ceiling:quart_app"]
    env = {**os.environ, "MODE": mode, "BENCH_TMP": str(folder)}
    with (folder / "ceiling.log").open("ab") as out:
        process = subprocess.Popen(command, env=env, stdout=out, stderr=subprocess.STDOUT)
    try:
        url = f"http://127.0.0.1:{port}/run"
        wait_for(url, process, data=b'{"x": 1}')
        yield url
    finally:
        process.terminate()
        process.wait(10)


def ceiling_per_step_ms(folder: Path) -> float:
    """Milliseconds for each of 200 durable steps in a row, of the ceiling prototype in a process of its own."""
    env = {**os.environ, "SECS": "0.2", "BENCH_TMP": str(folder)}
    command = [sys.executable, str(shared_blocks() / "ceiling.py"), "FULL"]
    out = subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout
    return float(next(line["per_step_ms"] for line in map(json.loads, out.splitlines()) if "per_step_ms" in line))
