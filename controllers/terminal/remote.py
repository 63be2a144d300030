"""`millrace run` and `millrace executions`: ask the server that holds the database, over HTTP."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import click

from controllers.terminal.session import FAILED, UNREACHABLE, USAGE, Terminal, fail

ENDED = ("completed", "failed", "cancelled")
COLUMNS = ("execution_id", "status", "start_time", "execution_time_seconds", "nodes_executed", "error")
NODE_COLUMNS = ("node", "status", "tries", "result")
WAIT_S = 60
"""The longest a server waits for an execution within one request, in seconds."""
F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Remote:
    """A server and the key to it."""

    url: str
    key: str

    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None, **query: Any) -> Any:
        """The whole answer; what is refused becomes a message and an exit code."""
        import httpx

        given = {name: value for name, value in query.items() if value is not None}
        try:
            answer = httpx.request(
                method,
                f"{self.url.rstrip('/')}/api/v1{path}",
                json=body,
                params=given,
                headers={"X-API-Key": self.key},
                timeout=WAIT_S + 10,
            )
            found = answer.json()
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            fail(f"No server answers at {self.url}: {error}", UNREACHABLE)
        except ValueError:
            fail(f"What answers at {self.url} is not this server", UNREACHABLE)
        if not answer.is_success:
            fail(found.get("message", answer.reason_phrase), FAILED, (found.get("details") or {}).get("errors", ()))
        return found


def _with_server(command: F) -> F:
    """The options every command has that asks a server."""
    url = click.option(
        "--url", envvar="MILLRACE_URL", default="http://127.0.0.1:8070", show_default=True, help="Where the server is."
    )
    key = click.option("--key", envvar="MILLRACE_KEY", required=True, help="API key; better in MILLRACE_KEY.")
    return url(key(command))


@click.command("run")
@click.argument("workflow")
@click.option("-v", "--var", "pairs", multiple=True, metavar="NAME=VALUE", help="A variable; JSON, else a text.")
@click.option("--variables", "whole", metavar="JSON", default="{}", help="All variables as one JSON object.")
@click.option("--no-wait", is_flag=True, help="Only start it and print its id.")
@_with_server
@click.pass_obj
def run(session: Terminal, /, workflow: str, url: str, key: str, **wished: Any) -> None:
    """Start WORKFLOW (ref, ref@version, package id or id), wait for its end, print its output; 1 when it failed."""
    remote = Remote(url, key)
    variables = _variables(wished["whole"], wished["pairs"])
    wait = None if wished["no_wait"] else WAIT_S
    started = remote.call("POST", f"/workflows/{workflow}/execute", {"variables": variables}, wait=wait)["data"]
    if wait is None:
        session.show_one({"execution_id": started["execution_id"], "status": started["status"]})
        return
    found = _until_ended(remote, started["execution_id"])
    shown = ("execution_id", "status", "execution_time_seconds", "final_output", "error_message")
    session.show_one({name: found[name] for name in shown})
    if found["status"] != "completed":
        raise SystemExit(FAILED)


@click.group("executions")
def executions_group() -> None:
    """List, show and cancel executions."""


@executions_group.command("list")
@click.argument("workflow")
@click.option("--status", help="Only those with this status.")
@click.option("--limit", type=click.IntRange(1, 100), default=20, show_default=True)
@_with_server
@click.pass_obj
def list_executions(session: Terminal, /, workflow: str, url: str, key: str, **wished: Any) -> None:
    """List the executions of WORKFLOW, newest first."""
    path = f"/workflows/{workflow}/executions"
    found = Remote(url, key).call("GET", path, status=wished["status"], per_page=wished["limit"])
    session.show(found["data"], COLUMNS)


@executions_group.command("show")
@click.argument("execution_id")
@_with_server
@click.pass_obj
def show_execution(session: Terminal, execution_id: str, url: str, key: str) -> None:
    """Show what each task of an execution did."""
    found = Remote(url, key).call("GET", f"/workflows/executions/{execution_id}")["data"]
    if session.form == "json":
        session.show_one(found)
        return
    names = ("execution_id", "workflow_ref", "workflow_version", "status", "execution_time_seconds", "error_message")
    session.show_one({name: found[name] for name in names})
    states = [(name, found["node_states"][name]) for name in found["execution_path"]]
    session.show([_node(name, state) for name, state in states], NODE_COLUMNS)


@executions_group.command("cancel")
@click.argument("execution_id")
@_with_server
@click.pass_obj
def cancel_execution(session: Terminal, execution_id: str, url: str, key: str) -> None:
    """Cancel an execution."""
    session.show_one(Remote(url, key).call("POST", f"/workflows/executions/{execution_id}/cancel")["data"])


def _until_ended(remote: Remote, execution_id: str) -> dict[str, Any]:
    while True:
        found = remote.call("GET", f"/workflows/executions/{execution_id}", include_logs="false")["data"]
        if found["status"] in ENDED:
            return dict(found)
        time.sleep(0.5)


def _variables(whole: str, pairs: tuple[str, ...]) -> dict[str, Any]:
    try:
        variables = json.loads(whole)
    except ValueError as error:
        fail(f"--variables is not JSON: {error}", USAGE)
    if not isinstance(variables, dict):
        fail("--variables must be a JSON object", USAGE)
    for pair in pairs:
        name, sign, text = pair.partition("=")
        if not sign or not name:
            fail(f"--var {pair}: write NAME=VALUE", USAGE)
        variables[name] = _value(text)
    return variables


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _node(name: str, state: Mapping[str, Any]) -> dict[str, Any]:
    result = json.dumps(state["output_data"], ensure_ascii=False)
    shown = state["error"] or (result if len(result) <= 80 else f"{result[:79]}…")
    return {"node": name, "status": state["status"], "tries": state["retry_count"] + 1, "result": shown}
