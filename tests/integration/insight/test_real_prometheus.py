"""A real Prometheus: scrapes /metrics of a running server, serves a backfilled history, and is probed end to end."""

import shutil
import socket
import subprocess
import time
from pathlib import Path

import httpx
import pytest

BINARY = shutil.which("prometheus")
TOOL = shutil.which("promtool")
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(
        not (BINARY and TOOL), reason="Debian's package prometheus is not installed (.ci/run installs it)"
    ),
]
DAYS = 8
STEP = 300


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def backfill(folder: Path, end: int) -> None:
    """Days of a metric with a daily swing that ends with thrice its level at a midnight, whatever the hour the test runs."""
    import math
    import random

    rng = random.Random(3)
    lines = ["# TYPE checkout_latency_seconds gauge"]
    start = end - DAYS * 86_400
    for at in range(start, end, STEP):
        level = 1.0 + 0.3 * math.sin(2 * math.pi * at / 86_400) + rng.gauss(0, 0.03)
        lines.append(f'checkout_latency_seconds{{region="eu"}} {level * (3 if at >= end - 3 * STEP else 1):.4f} {at}')
        lines.append(f'checkout_latency_seconds{{region="us"}} {level:.4f} {at}')
    source = folder / "history.txt"
    lines = [lines[0], *sorted(lines[1:], key=lambda line: line.split("}")[0]), "# EOF"]
    source.write_text("\n".join(lines) + "\n")
    command = [TOOL, "tsdb", "create-blocks-from", "openmetrics", "--max-block-duration=336h", source, folder / "data"]
    subprocess.run(command, check=True, capture_output=True)


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory):
    """Its URL, the port of the server it scrapes, and where the backfilled history ends."""
    folder = tmp_path_factory.mktemp("prometheus")
    end = (int(time.time()) - 4 * 3600) // 86_400 * 86_400
    backfill(folder, end)
    port, target = free_port(), free_port()
    config = folder / "prometheus.yml"
    config.write_text(
        "global: {scrape_interval: 1s}\n"
        f"scrape_configs: [{{job_name: millrace, static_configs: [{{targets: ['127.0.0.1:{target}']}}]}}]\n"
    )
    command = [
        BINARY, f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}", "--storage.tsdb.retention.time=10y",
        f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn",
    ]  # fmt: skip
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: httpx.get(f"{url}/-/ready").status_code == 200)
        yield url, target, end
    finally:
        process.terminate()
        process.wait(10)


def wait_until(ready, limit_s=30.0):
    end = time.monotonic() + limit_s
    while True:
        try:
            if ready():
                return
        except httpx.HTTPError:
            pass
        assert time.monotonic() < end, "not ready in time"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def server(prometheus, tmp_path_factory):
    """The URL and the headers of a Millrace that knows that Prometheus."""
    import os
    import sys

    url, port, _ = prometheus
    key = "mr_" + "k" * 43
    environ = {
        **os.environ,
        "DATA_DIR": str(tmp_path_factory.mktemp("server")),
        "PORT": str(port),
        "PROM_URL": url,
        "MILLRACE_ADMIN_KEY": key,
    }
    environ.pop("POSTGRES_DSN", None)
    root = Path(__file__).parents[3]
    process = subprocess.Popen(
        [sys.executable, "-m", "cli", "serve"],
        cwd=root,
        env=environ,
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    here = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: httpx.get(f"{here}/ready").status_code == 200)
        yield here, {"X-API-Key": key}
    finally:
        process.terminate()
        process.wait(20)


def probe(server, **body):
    here, headers = server
    return httpx.post(f"{here}/probe", json=body, headers=headers, timeout=60)


def test_a_probe_finds_the_series_that_tripled_and_only_that(prometheus, server):
    _, _, end = prometheus
    minutes = DAYS * 1440 + 240
    offset = int(time.time()) - end + STEP

    answer = probe(
        server,
        query=f"checkout_latency_seconds offset {offset // STEP * STEP}s",
        lookback_minutes=minutes,
        step_seconds=STEP,
    )

    found = answer.json()
    assert answer.status_code == 200, found
    assert (found["source"], found["series"], found["anomaly"]) == ("prometheus", 2, True)
    assert [one["labels"] for one in found["signals"]] == [{"region": "eu"}]
    assert found["score"] >= 3
    assert "x above the usual level for" in found["hint"]


def test_our_own_metrics_are_scraped_and_probed(prometheus, server):
    url, _, _ = prometheus

    def scraped():
        found = httpx.get(f"{url}/api/v1/query", params={"query": "millrace_http_requests_total"}).json()
        return found["data"]["result"]

    wait_until(scraped)
    answer = probe(
        server, query="sum(millrace_http_requests_total)", lookback_minutes=1, step_seconds=1, method="zscore"
    )

    found = answer.json()
    assert answer.status_code == 200, found
    assert (found["metric"], found["source"]) == ("sum(millrace_http_requests_total)", "prometheus")


def test_a_query_with_a_mistake_is_a_400_with_prometheus_own_words(server):
    answer = probe(server, query="rate(up[5m")

    assert answer.status_code == 400
    assert "parse error" in answer.json()["detail"]


def test_a_query_that_finds_nothing_is_a_400_that_names_it(server):
    answer = probe(server, query="no_such_metric")

    assert answer.status_code == 400
    assert "No data for 'no_such_metric'" in answer.json()["detail"]


def test_local_metrics_answer_beside_prometheus(server):
    answer = probe(server, query="local:cpu_usage")

    assert answer.status_code == 200
    assert answer.json()["source"] == "local"


async def test_an_unreachable_prometheus_is_a_503_with_retry_after(tmp_path):
    from app import create_app
    from config import load

    key = "mr_" + "k" * 43
    settings = load(
        {"DATA_DIR": str(tmp_path), "PROM_URL": f"http://127.0.0.1:{free_port()}", "MILLRACE_ADMIN_KEY": key}
    )
    app = create_app(settings, announce=lambda _: None)
    async with app.test_app():
        answer = await app.test_client().post("/probe", json={"query": "up"}, headers={"X-API-Key": key})

    assert answer.status_code == 503
    assert answer.headers["Retry-After"]
