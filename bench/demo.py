"""`make demo`: start a server of our own, run the example workflows over HTTP, show what happened in each task.

Nothing is left behind: the database, the secret and the target live in a temporary folder and in this process.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Timer
from typing import Any

import httpx

from bench.demo_target import World, serving

ROOT = Path(__file__).resolve().parents[1]
KEY = "demo-admin-key-0123456789"
START_S, ANSWER_S = 60.0, 30.0


def main() -> None:
    """Run the examples and print their traces; ends with 1 when one of them did not do what it should."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", action="store_true", help="let the server run until Enter is pressed")
    keep = parser.parse_args().keep
    world = World()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="millrace-demo-")))
        target = stack.enter_context(serving(world))
        url = stack.enter_context(server(folder))
        client = stack.enter_context(httpx.Client(base_url=url, headers={"X-API-Key": KEY}, timeout=ANSWER_S + 5))
        print(f"server {url}   target {target}\n")
        failed = [name for name, example in EXAMPLES if not example(Demo(client, target), world)]
        if keep:
            input(f"{url}/docs is open; the key is {KEY}. Press Enter to stop. ")
    if failed:
        raise SystemExit(f"did not do what it should: {', '.join(failed)}")
    print("every example did what it should")


@contextmanager
def server(folder: Path) -> Iterator[str]:
    """`millrace serve` on a free port, with a Slack token that the local target accepts."""
    secrets = folder / "secrets"
    secrets.mkdir()
    (secrets / "slack_token").write_text("xoxb-demo-token-123456\n")
    (secrets / "slack_token.packs").write_text("slack\n")
    env = {
        **{name: os.environ[name] for name in ("PATH", "HOME", "VIRTUAL_ENV") if name in os.environ},
        "PORT": "0",
        "DATA_DIR": str(folder / "data"),
        "PACKS_DIR": str(ROOT / "packs"),
        "SECRETS_DIR": str(secrets),
        "HTTP_ALLOW_HOSTS": "127.0.0.1",
        "MILLRACE_ADMIN_KEY": KEY,
        "LOG_LEVEL": "warning",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "cli", "serve"], cwd=ROOT, env=env, text=True, stdout=subprocess.PIPE
    )
    try:
        yield _address(process)
    finally:
        process.terminate()
        process.wait(20)


def _address(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    watch = Timer(START_S, process.kill)
    watch.start()
    try:
        for line in process.stdout:
            found = re.search(r"listens on (http://\S+?) ", line)
            if found:
                return found[1]
    finally:
        watch.cancel()
    raise SystemExit("the server did not start")


class Demo:
    """Runs workflows and prints their traces."""

    def __init__(self, client: httpx.Client, target: str) -> None:
        self.client = client
        self.target = target

    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """The `data` of an answer; ends the demo when it is an error."""
        answer = self.client.request(method, f"/api/v1{path}", json=body)
        found = answer.json()
        if not found["success"]:
            raise SystemExit(f"{method} {path}: {answer.status_code} {found['message']} {found['details']}")
        return found["data"]

    def run(self, ref: str, variables: Mapping[str, Any]) -> dict[str, Any]:
        """Run a workflow to its end and print what each task did."""
        started = self.call("POST", f"/workflows/{ref}/execute?wait=20", {"variables": variables})
        return self.show(ref, started["execution_id"])

    def show(self, ref: str, execution_id: str) -> dict[str, Any]:
        """Print the trace of an execution once it has ended."""
        found = self.until_ended(execution_id)
        print(f"{ref}: {found['status']} in {found['execution_time_seconds']:.2f} s   {execution_id}")
        for key in found["execution_path"]:
            state = found["node_states"][key]
            item = (state.get("metadata") or {}).get("item_index")
            name = key if item is None else f"{key} (item {item})"
            said = state["error"] or short(state["output_data"])
            print(f"   {state['status']:<10} {name:<22} tries {state['retry_count'] + 1}   {said}")
        print(f"   output {short(found['final_output'], 120)}\n")
        return dict(found)

    def until_ended(self, execution_id: str) -> dict[str, Any]:
        """An execution that has ended."""
        deadline = time.monotonic() + ANSWER_S
        while time.monotonic() < deadline:
            found = self.call("GET", f"/workflows/executions/{execution_id}")
            if found["status"] in ("completed", "failed", "cancelled"):
                return dict(found)
            time.sleep(0.05)
        raise SystemExit(f"{execution_id} did not end within {ANSWER_S:.0f} s")


def short(value: Any, width: int = 70) -> str:
    """A value on one line."""
    text = " ".join(str(value).split())
    return text if len(text) <= width else f"{text[: width - 1]}…"


# ---- the examples ----------------------------------------------------------------------------------------------------


def incident(demo: Demo, world: World) -> bool:
    """Facts in parallel, a message through the declared Slack action, an escalation."""
    demo.call("PUT", "/packs/slack", {"config": {"api_url": demo.target}})
    found = demo.run("examples.incident_response", {"service": "checkout", "api_url": demo.target})
    posted = [body for _, path, body in world.told if path == "/chat.postMessage"]
    told = bool(posted) and "checkout is down" in posted[0]["text"] and "Bearer xoxb-demo-token-123456" in world.tokens
    return told and found["final_output"] == {"incident": "INC-42", "outcome": "escalated"}


def pipeline(demo: Demo, world: World) -> bool:
    """Read, filter, shape, write each."""
    variables = {"source_url": f"{demo.target}/orders", "target_url": f"{demo.target}/warehouse"}
    found = demo.run("examples.extract_transform_load", variables)
    written = sorted(body["id"] for _, path, body in world.told if path == "/warehouse")
    return written == [1, 3, 4] and found["final_output"] == {"read": 4, "written": 3}


def health(demo: Demo, world: World) -> bool:
    """One target recovers within its retries, one stays silent and is reported."""
    targets = [f"{demo.target}/targets/{name}" for name in ("a", "b", "flaky", "silent")]
    found = demo.run("examples.health_check", {"targets": targets, "report_url": f"{demo.target}/report"})
    reported = [body for _, path, body in world.told if path == "/report"]
    return reported == [{"asked": 4, "silent": 1}] and found["final_output"] == {"asked": 4, "silent": 1}


def approval(demo: Demo, world: World) -> bool:
    """Ask, wait, answer, deploy."""
    variables = {"change": "release 7", "deploy_url": f"{demo.target}/deploy"}
    started = demo.call("POST", "/workflows/examples.approval/execute", {"variables": variables})
    question = _open_inquiry(demo, started["execution_id"])
    print(f"a question is open: {question['prompt']}   answered: approved")
    demo.call("POST", f"/inquiries/{question['id']}/respond", {"response": {"approved": True, "comment": "go"}})
    found = demo.show("examples.approval", started["execution_id"])
    deployed = ("POST", "/deploy", {"change": "release 7"}) in world.told
    return deployed and found["final_output"] == {"approved": True, "comment": "go"}


def _open_inquiry(demo: Demo, execution_id: str) -> dict[str, Any]:
    deadline = time.monotonic() + ANSWER_S
    while time.monotonic() < deadline:
        for inquiry in demo.call("GET", "/inquiries?status=open"):
            if inquiry["execution_id"] == execution_id:
                return dict(inquiry)
        time.sleep(0.05)
    raise SystemExit("no question was asked")


EXAMPLES = (
    ("incident_response", incident),
    ("extract_transform_load", pipeline),
    ("health_check", health),
    ("approval", approval),
)

if __name__ == "__main__":
    main()
