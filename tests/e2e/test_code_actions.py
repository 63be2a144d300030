"""Python and shell actions on a real server: allowed, refused, cancelled, and gone when the server goes."""

import base64
import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
import yaml

from services.actions.sandbox import Bubblewrap, find_sandbox
from tests.crash.fleet import Process
from tests.support.server import KEY, ROOT, running

SECRET = "s3cr3t-value-in-code-0123"
WALLED = isinstance(find_sandbox(), Bubblewrap)
SANDBOXES = [
    pytest.param({}, id="bubblewrap", marks=pytest.mark.skipif(not WALLED, reason="no namespaces on this machine")),
    pytest.param({"PATH": "/nonexistent"}, id="limits"),
]
pytestmark = pytest.mark.e2e

WAITS = """\
import subprocess, time
def run(input):
    subprocess.Popen(["sh", "-c", f"sleep 300; : {input['mark']}"], start_new_session=True)
    print("begun")
    time.sleep(input["seconds"])
    return {"slept": input["seconds"], "attempt": input.get("attempt")}
"""
TELLS = """\
import base64, sys
from urllib.parse import quote
def run(input):
    token = input["secrets"]["token"]
    print("using", token)
    print(base64.b64encode(f"user:{token}".encode()).decode(), file=sys.stderr)
    if input.get("fail"):
        raise RuntimeError(f"refused {token}")
    return {"token": token, "url": "https://x/?t=" + quote(token, safe=""), token: [token[::-1]]}
"""


@pytest.fixture
def packs(tmp_path: Path) -> Path:
    folder = tmp_path / "packs"
    (folder / "demo" / "actions").mkdir(parents=True)
    shutil.copytree(ROOT / "packs" / "scripts", folder / "scripts")
    (folder / "demo" / "pack.yaml").write_text("ref: demo\nlabel: Demo\nversion: 1.0.0\n")
    add(folder, "waits", WAITS, effect="write")
    add(folder, "once", WAITS, effect="irreversible")
    add(folder, "tells", TELLS, effect="write", secrets=["token"])
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "token").write_text(SECRET)
    (tmp_path / "secrets" / "token.packs").write_text("demo\n")
    return folder


def add(packs: Path, name: str, text: str, **more) -> None:
    actions = packs / "demo" / "actions"
    (actions / f"{name}.py").write_text(text)
    (actions / f"{name}.yaml").write_text(yaml.safe_dump({"runner": "python", "entry": f"actions/{name}.py", **more}))


def environ(packs: Path, **more: str) -> dict[str, str]:
    return {
        "PACKS_DIR": str(packs),
        "SECRETS_DIR": str(packs.parent / "secrets"),
        "ALLOW_CODE_ACTIONS": "on",
        "SHUTDOWN_SECONDS": "4",
        **more,
    }


def client(server) -> httpx.Client:
    return httpx.Client(base_url=f"{server.url}/api/v1", headers={"X-API-Key": KEY}, timeout=60)


def start(client: httpx.Client, action: str, given: dict, wait: int = 0) -> dict:
    name = action.replace(".", "_")
    tasks = [{"name": "call", "action": action, "input": given}]
    body = {"ref": f"default.{name}", "pack_ref": "default", "label": name, "version": "1.0.0"}
    made = client.post(
        "/workflows", json={**body, "definition": {"tasks": tasks, "output": {"r": "{{ task.call.result }}"}}}
    )
    assert made.status_code == 201, made.text
    answer = client.post(f"/workflows/default.{name}/execute" + (f"?wait={wait}" if wait else ""), json={})
    assert answer.status_code in (200, 202), answer.text
    return answer.json()["data"]


def shown(client: httpx.Client, execution: dict) -> dict:
    return client.get(f"/workflows/executions/{execution['execution_id']}").json()["data"]


def alive(mark: str) -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (entry / "cmdline").read_bytes() and int(entry.name) != os.getpid():
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def until(condition: Callable[[], object], within_s: float = 30.0) -> None:
    ends = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < ends, "it did not happen in time"
        time.sleep(0.05)


@pytest.fixture
def mark() -> str:
    return f"millrace-mark-{os.getpid()}-{time.monotonic_ns()}"


@pytest.mark.parametrize("sandbox", SANDBOXES)
def test_the_example_pack_runs_where_code_is_allowed(tmp_path, packs, sandbox):
    with running(tmp_path / "data", environ(packs, **sandbox)) as server, client(server) as api:
        features = httpx.get(f"{server.url}/health").json()["features"]
        ran = api.post("/workflows/scripts.report/execute?wait=30", json={"variables": {"values": [1, 2, 6]}}).json()

    assert features["code_actions"] == "on"
    assert features["code_sandbox"] == ("limits" if sandbox else "bubblewrap")
    assert ran["data"]["final_output"]["report"] == {
        "count": 3,
        "mean": 3,
        "median": 2,
        "stdev": pytest.approx(2.6457, 1e-3),
    }


def test_on_a_default_server_code_is_refused_by_name_and_the_packs_load_without_a_word(tmp_path):
    with running(tmp_path / "data") as server, client(server) as api:
        features = httpx.get(f"{server.url}/health").json()["features"]
        refused = api.post("/workflows/scripts.report/execute", json={"variables": {"values": [1]}})
        tried = api.post("/workflows/scripts.report/test", json={"variables": {"values": [1]}}).json()["data"]
        reports = {ref: api.post(f"/packs/{ref}/workflows/sync").json()["data"] for ref in ("examples", "scripts")}

    assert features["code_actions"] == "off"
    assert (refused.status_code, refused.json()["error_code"]) == (400, "EXECUTION_ERROR")
    assert "ALLOW_CODE_ACTIONS" in refused.json()["message"]
    assert (tried["status"], tried["summary"]["nodes_simulated"]) == ("completed", 2)
    assert [reports["examples"][key] for key in ("errors", "warnings")] == [[], []]
    assert all(workflow["warnings"] == [] for report in reports.values() for workflow in report["workflows"])
    assert {warning["ref_name"] for warning in reports["scripts"]["warnings"]} == {
        "scripts.summarize",
        "scripts.checksum",
    }


def test_a_dry_run_reads_for_real_only_when_asked_and_never_writes(tmp_path, packs):
    looks = "def run(input):\n    return {'seen': 6 * 7}\n"
    add(packs, "looks", looks, effect="read")
    add(packs, "puts", looks, effect="write")
    tasks = [{"name": "look", "action": "demo.looks"}, {"name": "put", "action": "demo.puts"}]
    with running(tmp_path / "data", environ(packs)) as server, client(server) as api:
        made = api.post(
            "/workflows",
            json={"ref": "demo.both", "pack_ref": "demo", "label": "b", "version": "1", "definition": {"tasks": tasks}},
        )
        bodies = [{}, {"execute_reads": True}, {"execute_reads": True, "mocks": {"look": {"seen": 1}}}]
        tried = [api.post("/workflows/demo.both/test", json=body).json()["data"]["trace"] for body in bodies]

    assert made.status_code == 201, made.text
    assert [[(entry["node_id"], entry["simulated"]) for entry in trace] for trace in tried] == [
        [("look", True), ("put", True)],
        [("look", False), ("put", True)],
        [("look", True), ("put", True)],
    ]
    assert [trace[0]["output"] for trace in tried[1:]] == [{"seen": 42}, {"seen": 1}]


def test_where_only_a_sandbox_will_do_nothing_runs_without_one(tmp_path, packs):
    given = environ(packs, ALLOW_CODE_ACTIONS="sandboxed", PATH="/nonexistent")
    with running(tmp_path / "data", given) as server, client(server) as api:
        features = httpx.get(f"{server.url}/health").json()["features"]
        refused = api.post("/workflows/scripts.report/execute", json={"variables": {"values": [1]}})

    assert features["code_actions"] == "no sandbox"
    assert "no sandbox works" in refused.json()["message"]


@pytest.mark.parametrize("fail", [False, True])
def test_a_secret_of_a_code_action_is_shown_nowhere(tmp_path, packs, fail):
    with running(tmp_path / "data", environ(packs)) as server, client(server) as api:
        execution = shown(api, start(api, "demo.tells", {"fail": fail}, wait=30))
        said = [
            api.get(f"/workflows/executions/{execution['execution_id']}/{what}").text for what in ("events", "explain")
        ]
        said += [api.get("/audit?per_page=100").text, httpx.get(f"{server.url}/metrics").text, str(execution)]
        api.post("/workflows/default.demo_tells/test", json={})

    stored = b"".join(path.read_bytes() for path in (tmp_path / "data").rglob("*") if path.is_file())
    assert execution["status"] == ("failed" if fail else "completed")
    basic = base64.b64encode(f"user:{SECRET}".encode()).decode()[8:-4]
    assert "[secret]" in said[-1]
    assert [text for text in (SECRET, basic) if text in "".join(said) or text.encode() in stored] == []


@pytest.mark.parametrize("sandbox", SANDBOXES)
def test_a_cancelled_execution_ends_its_code_within_a_second(tmp_path, packs, mark, sandbox):
    with running(tmp_path / "data", environ(packs, **sandbox)) as server, client(server) as api:
        execution = start(api, "demo.waits", {"mark": mark, "seconds": 200})
        until(lambda: alive(mark))
        began = time.monotonic()
        cancelled = api.post(f"/workflows/executions/{execution['execution_id']}/cancel")
        until(lambda: not alive(mark))
        took = time.monotonic() - began
        until(lambda: shown(api, execution)["end_time"])
        ended = shown(api, execution)

    assert cancelled.status_code == 200
    assert (ended["status"], took < 3.0) == ("cancelled", True)


@pytest.mark.parametrize("sandbox", SANDBOXES)
def test_a_server_that_is_stopped_hands_code_back_and_leaves_no_process(tmp_path, packs, mark, sandbox):
    given = environ(packs, **sandbox)
    with running(tmp_path / "data", given) as server, client(server) as api:
        execution = start(api, "demo.waits", {"mark": mark, "seconds": 3})
        until(lambda: alive(mark))
    left = alive(mark)
    with running(tmp_path / "data", given) as server, client(server) as api:
        until(lambda: shown(api, execution)["end_time"])
        ended = shown(api, execution)

    assert left == []
    assert ended["status"] == "completed", ended
    assert alive(mark) == []


def test_irreversible_code_may_finish_while_the_server_stops(tmp_path, packs, mark):
    with running(tmp_path / "data", environ(packs)) as server, client(server) as api:
        execution = start(api, "demo.once", {"mark": mark, "seconds": 1.5})
        until(lambda: alive(mark))
    with running(tmp_path / "data", environ(packs)) as server, client(server) as api:
        until(lambda: shown(api, execution)["end_time"])
        ended = shown(api, execution)

    assert (ended["status"], ended["final_output"]["r"]["slept"]) == ("completed", 1.5)


def test_irreversible_code_that_does_not_finish_is_ended_and_never_repeated(tmp_path, packs, mark):
    given = environ(packs, SHUTDOWN_SECONDS="3")
    with running(tmp_path / "data", given) as server, client(server) as api:
        execution = start(api, "demo.once", {"mark": mark, "seconds": 200})
        until(lambda: alive(mark))
    left = alive(mark)
    with running(tmp_path / "data", given) as server, client(server) as api:
        until(lambda: shown(api, execution)["end_time"])
        ended = shown(api, execution)

    assert left == []
    assert (ended["status"], ended["node_states"]["call"]["error_type"]) == ("failed", "interrupted")


@pytest.mark.parametrize("sandbox", SANDBOXES)
def test_code_ends_with_a_server_that_is_killed(tmp_path, packs, mark, sandbox):
    given = environ(packs, **sandbox)
    with running(tmp_path / "data", given) as server, client(server) as api:
        execution = start(api, "demo.waits", {"mark": mark, "seconds": 2})
        until(lambda: alive(mark))
        os.kill(server.pid, signal.SIGKILL)
        until(lambda: not alive(mark), 10)
    with running(tmp_path / "data", given) as server, client(server) as api:
        until(lambda: shown(api, execution)["end_time"])

        assert shown(api, execution)["status"] == "completed"


def test_that_code_is_allowed_is_said_in_the_form_of_the_log(tmp_path):
    server = Process(tmp_path, {"ALLOW_CODE_ACTIONS": "on", "LOG_FORMAT": "json", "LOG_LEVEL": "info"}, "serve")
    try:
        server.wait_until_up()
    finally:
        server.stop()

    said = [json.loads(line) for line in server.printed.splitlines() if line.startswith("{")]
    assert "actions.code_allowed" in {line.get("event") for line in said}
