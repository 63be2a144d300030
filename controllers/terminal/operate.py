"""`millrace workers`, and what operators do with `millrace executions`: find, fail by force, cancel many."""

from __future__ import annotations

from typing import Any

import click

from controllers.terminal.api import at
from controllers.terminal.command import Asking
from controllers.terminal.executions import STATUSES, executions_group
from controllers.terminal.session import Terminal

WAITING = ["inquiry", "timer", "delay", "retry", "child", "pause"]
WORKER_COLUMNS = ("name", "version", "alive", "stopping", "driving", "heartbeat_age_seconds", "id")
COLUMNS = ("execution_id", "workflow_ref", "status", "start_time", "driver", "error")
TALLY = ("plan_only", "matched", "cancelled", "refused", "remaining")


@click.command("workers", cls=Asking)
@click.pass_obj
def workers(session: Terminal) -> None:
    """List the processes that drive executions."""
    session.show(session.ask(lambda api: api.data("GET", "/workers")), WORKER_COLUMNS)


def _filters(command: Any) -> Any:
    """The options that say which executions."""
    for option in (
        click.option("--started-before", metavar="TIME", help="Only those; RFC 3339."),
        click.option("--started-after", metavar="TIME", help="Only those; RFC 3339."),
        click.option("--key-id", help="Only those started with this API key."),
        click.option("--workflow", help="Only those of this workflow."),
        click.option("--waiting-for", type=click.Choice(WAITING), help="Only those that wait for this."),
        click.option("--quarantined", is_flag=True, help="Only those given up because their drivers died with them."),
        click.option("--idle-seconds", type=click.IntRange(1), help="What counts as no progress with --stuck."),
        click.option("--stuck", is_flag=True, help="Only those whose driver is dead or that make no progress."),
        click.option("--unfinished", is_flag=True, help="Only those that have not ended."),
        click.option("--status", type=click.Choice(STATUSES), help="Only those with this status."),
    ):
        command = option(command)
    return command


@executions_group.command("find")
@click.option("--limit", type=click.IntRange(1, 10_000), default=20, show_default=True)
@_filters
@click.pass_obj
def find(session: Terminal, /, limit: int, **wished: Any) -> None:
    """Find executions of every workflow, newest first; for administrators."""
    session.show(session.ask(lambda api: api.rows("/executions", count=limit, **wished)), COLUMNS)


@executions_group.command("fail")
@click.argument("execution_id")
@click.option("--reason", help="For people; it is shown and recorded.")
@click.pass_obj
def fail_execution(session: Terminal, execution_id: str, reason: str | None) -> None:
    """Fail an execution by force, also when its driver is dead or its log cannot be read; for administrators."""
    path = at("workflows", "executions", execution_id, "fail")
    session.show_one(session.ask(lambda api: api.data("POST", path, {"reason": reason})))


@executions_group.command("cancel-all")
@click.option("--everything", is_flag=True, help="Whatever has not ended, without a filter.")
@click.option("--plan", is_flag=True, help="Only count.")
@click.option("--limit", type=click.IntRange(1, 1_000), default=500, show_default=True, help="At most so many now.")
@click.option("--reason", help="For people; it is recorded with each.")
@_filters
@click.pass_obj
def cancel_all(session: Terminal, /, everything: bool, plan: bool, limit: int, **wished: Any) -> None:
    """Cancel every execution that matches and has not ended; for administrators."""
    reason = wished.pop("reason")
    wanted = {name: value for name, value in wished.items() if value}
    if not wanted and not everything:
        raise click.UsageError("Say what to cancel with a filter, or --everything")
    body = {"filter": wanted, "everything": everything, "plan_only": plan, "limit": limit, "reason": reason}
    found = session.ask(lambda api: api.data("POST", "/executions/cancel", body))
    session.show_one(found if session.form == "json" else {name: found[name] for name in TALLY})
