"""`millrace run` and `millrace executions`."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from typing import Any

import click

from controllers.terminal import words
from controllers.terminal.api import USAGE, Api, at
from controllers.terminal.command import Asking, Group
from controllers.terminal.progress import until_ended
from controllers.terminal.session import CANCELLED, FAILED, UNFINISHED, Terminal, fail
from services.lines import escape

COLUMNS = ("execution_id", "status", "start_time", "execution_time_seconds", "nodes_executed", "error")
STATUSES = ["pending", "running", "paused", "completed", "failed", "cancelled"]
NODE_COLUMNS = ("node", "status", "tries", "result")
EVENT_COLUMNS = ("seq", "at", "event", "node", "facts")
RESULT = ("execution_id", "status", "execution_time_seconds", "final_output", "error_message")
CODES = {"completed": 0, "failed": FAILED, "cancelled": CANCELLED}


@click.command("run", cls=Asking)
@click.argument("workflow", shell_complete=words.workflows)
@click.option("-v", "--var", "pairs", multiple=True, metavar="NAME=VALUE", help="A variable; JSON, else a text.")
@click.option("--variables", "whole", metavar="JSON", default="{}", help="All variables as one JSON object.")
@click.option("--no-wait", is_flag=True, help="Only start it and print its id.")
@click.option("--timeout", type=click.FloatRange(0), metavar="SECONDS", help="Wait no longer; it goes on.")
@click.option("--idempotency-key", help="The same key starts the same workflow once, however often it is asked.")
@click.pass_obj
def run(session: Terminal, /, workflow: str, **wished: Any) -> None:
    """Start WORKFLOW (ref, ref@version, package id or id), wait for its end, print its output.

    The exit code is the result: 0 completed, 1 failed, 4 cancelled, 5 not ended within --timeout. Without a server the
    command itself takes the database and runs it, and whatever else is due, until the end of this execution.
    """
    variables = _variables(wished["whole"], wished["pairs"])
    waits, once = not wished["no_wait"], wished["idempotency_key"] or str(uuid.uuid4())
    watched = _Watched()

    async def work(api: Api) -> dict[str, Any]:
        watched.api = api
        path = at("workflows", workflow, "execute")
        started: dict[str, Any] = await api.data("POST", path, {"variables": variables}, idempotency_key=once)
        watched.execution_id = started["execution_id"]
        return await until_ended(api, watched.execution_id, seconds=wished["timeout"]) if waits else started

    found = session.ask(work, drives=waits, interrupted=watched.interrupted)
    _say_result(session, found, watched if waits else None)


@click.group("executions", cls=Group)
@click.pass_obj
def executions_group(session: Terminal) -> None:
    """List, show, follow and steer executions."""
    session.existing = True


@executions_group.command("list")
@click.argument("workflow", shell_complete=words.workflows)
@click.option("--status", type=click.Choice(STATUSES), help="Only those with this status.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=20, show_default=True)
@click.pass_obj
def list_executions(session: Terminal, /, workflow: str, status: str | None, limit: int) -> None:
    """List the executions of WORKFLOW, newest first."""
    path = at("workflows", workflow, "executions")
    session.show(session.ask(lambda api: api.rows(path, count=limit, status=status)), COLUMNS)


@executions_group.command("show")
@click.argument("execution_id", shell_complete=words.executions)
@click.pass_obj
def show_execution(session: Terminal, execution_id: str) -> None:
    """Show what each task of an execution did."""
    found = session.ask(lambda api: api.data("GET", at("workflows", "executions", execution_id)))
    if session.form == "json":
        session.show_one(found)
        return
    names = ("execution_id", "workflow_ref", "workflow_version", "status", "execution_time_seconds", "error_message")
    session.show_one({name: found[name] for name in names})
    states = [(name, found["node_states"][name]) for name in found["execution_path"]]
    session.show([_node(name, state) for name, state in states], NODE_COLUMNS)


@executions_group.command("follow")
@click.argument("execution_id", shell_complete=words.executions)
@click.option("--timeout", type=click.FloatRange(0), metavar="SECONDS", help="Wait no longer; it goes on.")
@click.pass_obj
def follow_execution(session: Terminal, execution_id: str, timeout: float | None) -> None:
    """Wait for the end of an execution and print its output; exit codes as those of `run`."""
    watched = _Watched(execution_id)

    async def work(api: Api) -> dict[str, Any]:
        watched.api = api
        return await until_ended(api, execution_id, seconds=timeout)

    _say_result(session, session.ask(work, drives=True, interrupted=watched.interrupted), watched)


@executions_group.command("explain")
@click.argument("execution_id", shell_complete=words.executions)
@click.pass_obj
def explain_execution(session: Terminal, execution_id: str) -> None:
    """Say why an execution is where it is."""
    found = session.ask(lambda api: api.data("GET", at("workflows", "executions", execution_id, "explain")))
    if session.form == "json":
        session.show_one(found)
        return
    click.echo(escape(found["explanation"]))


@executions_group.command("events")
@click.argument("execution_id", shell_complete=words.executions)
@click.option("--after", type=click.IntRange(-1), help="Only what was appended behind this number.")
@click.pass_obj
def list_events(session: Terminal, execution_id: str, after: int | None) -> None:
    """Print the event log of an execution."""
    path = at("workflows", "executions", execution_id, "events")
    rows = session.ask(lambda api: api.data("GET", path, after=after))["events"]
    if session.form == "json":
        session.show(rows, ())
        return
    session.show([_event(row, event) for row in rows for event in row["events"]], EVENT_COLUMNS)


@executions_group.command("cancel")
@click.argument("execution_id", shell_complete=words.executions)
@click.pass_obj
def cancel_execution(session: Terminal, execution_id: str) -> None:
    """Cancel an execution: running work is interrupted, children too."""
    _steer(session, execution_id, "cancel")


@executions_group.command("pause")
@click.argument("execution_id", shell_complete=words.executions)
@click.pass_obj
def pause_execution(session: Terminal, execution_id: str) -> None:
    """Pause an execution: no new task starts, running ones finish."""
    _steer(session, execution_id, "pause")


@executions_group.command("resume")
@click.argument("execution_id", shell_complete=words.executions)
@click.pass_obj
def resume_execution(session: Terminal, execution_id: str) -> None:
    """Let a paused execution go on."""
    _steer(session, execution_id, "resume")


@executions_group.command("rerun")
@click.argument("execution_id", shell_complete=words.executions)
@click.option("--from", "start", multiple=True, metavar="TASK", help="Begin with this task; default: what failed.")
@click.option("--version", help="Another version of the same workflow.")
@click.option("--plan", is_flag=True, help="Only say what is reused and which effects would happen again.")
@click.pass_obj
def rerun_execution(session: Terminal, /, execution_id: str, **wished: Any) -> None:
    """Run an ended execution again as a new one that reuses the results of the tasks before."""
    body = {"from": list(wished["start"]), "plan_only": wished["plan"]}
    if wished["version"]:
        body["version"] = wished["version"]
    found = session.ask(lambda api: api.data("POST", at("workflows", "executions", execution_id, "rerun"), body))
    session.show_one(found)


@executions_group.command("pause-all")
@click.option("--reason", help="For people; it is shown and recorded.")
@click.pass_obj
def pause_all(session: Terminal, reason: str | None) -> None:
    """Pause everything: no worker claims or starts anything; what is accepted waits, durably."""
    session.show_one(session.ask(lambda api: api.data("POST", "/operator/pause", {"reason": reason})))


@executions_group.command("resume-all")
@click.pass_obj
def resume_all(session: Terminal) -> None:
    """Resume everything, after `pause-all` or a restore."""
    session.show_one(session.ask(lambda api: api.data("POST", "/operator/resume")))


def _steer(session: Terminal, execution_id: str, verb: str) -> None:
    session.show_one(session.ask(lambda api: api.data("POST", at("workflows", "executions", execution_id, verb))))


class _Watched:
    """The execution a command waits for, and what to say when the command does not wait any longer."""

    def __init__(self, execution_id: str | None = None) -> None:
        self.execution_id = execution_id
        self.api: Api | None = None

    def interrupted(self) -> str:
        """What Ctrl-C is answered with."""
        if self.execution_id is None:
            return "Interrupted before the execution was accepted; ask again with the same --idempotency-key to be sure"
        return f"Interrupted. {self.goes_on()}"

    def goes_on(self) -> str:
        """Where the execution is now and how to follow it."""
        inside = self.api is not None and self.api.is_inside
        where = "is kept and goes on with the next server or command that drives" if inside else "goes on"
        return (
            f"Execution {self.execution_id} {where}: `millrace executions follow {self.execution_id}` waits for it, "
            f"`millrace executions cancel {self.execution_id}` ends it"
        )


def _say_result(session: Terminal, found: Mapping[str, Any], watched: _Watched | None) -> None:
    """Print the outcome and end with its exit code; `watched` None: nobody waited for one."""
    if watched is None:
        session.show_one({name: found[name] for name in ("execution_id", "status")})
        return
    session.show_one({name: found[name] for name in RESULT})
    code = CODES.get(found["status"])
    if code is None:
        fail(f"Not ended yet. {watched.goes_on()}", UNFINISHED)
    if code:
        raise SystemExit(code)


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
    result = _short(state["output_data"])
    return {
        "node": name,
        "status": state["status"],
        "tries": state["retry_count"] + 1,
        "result": state["error"] or result,
    }


def _event(row: Mapping[str, Any], event: Mapping[str, Any]) -> dict[str, Any]:
    facts = {name: value for name, value in event.items() if name not in ("e", "at", "node")}
    return {
        "seq": row["seq"],
        "at": event.get("at", row["at"]),
        "event": event["e"],
        "node": event.get("node"),
        "facts": _short(facts),
    }


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:79]}…"
