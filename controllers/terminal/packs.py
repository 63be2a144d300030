"""`millrace pack`: for the operator on the machine, who needs no key."""

from __future__ import annotations

from typing import Any

import click

from controllers.context import Services
from controllers.terminal.session import FAILED, Terminal
from models.packs import PackPage
from services.access.actor import SYSTEM
from services.registry import views
from services.registry.caller import Caller
from services.registry.pack_sync import SyncReport

PACK_COLUMNS = ("ref", "label", "version", "source", "workflow_count", "owner_id")
FILE_COLUMNS = ("file", "ref", "result", "message")
OPERATOR = Caller(actor=SYSTEM)
SHOWN = 1_000


@click.group("pack")
def pack_group() -> None:
    """List, show, check, load and remove packs."""


@pack_group.command("list")
@click.option("--tag", help="Only packs with this tag.")
@click.pass_obj
def list_packs(session: Terminal, tag: str | None) -> None:
    """List packs by ref, with the number of their workflows."""

    async def work(here: Services) -> list[dict[str, Any]]:
        rows, _ = await here.registry.packs.page(PackPage(after="", count=SHOWN, tag=tag))
        return [views.pack_summary(row) for row in rows]

    session.show(session.run(work), PACK_COLUMNS)


@pack_group.command("show")
@click.argument("ref")
@click.pass_obj
def show_pack(session: Terminal, ref: str) -> None:
    """Show a pack with its workflows and actions."""

    async def work(here: Services) -> dict[str, Any]:
        _, shown = await here.registry.packs.get(ref, OPERATOR)
        names = {kind: [item["ref"] for item in shown[kind]] for kind in ("workflows", "actions")}
        return {**shown, **names}

    session.show_one(session.run(work))


@pack_group.command("sync")
@click.argument("ref", required=False)
@click.option("--force", is_flag=True, help="Also replace workflows that were edited or created through the API.")
@click.pass_obj
def sync_packs(session: Terminal, ref: str | None, force: bool) -> None:
    """Load the files of pack REF; without REF, of every pack below PACKS_DIR that is new or changed."""

    async def work(here: Services) -> list[SyncReport]:
        if ref is None:
            return await here.registry.packs.install(OPERATOR)
        return [await here.registry.packs.sync(ref, OPERATOR, force=force)]

    reports = session.run(work)
    session.show([line for report in reports for line in _lines(report)], FILE_COLUMNS)
    if any(report.errors for report in reports):
        raise SystemExit(FAILED)


@pack_group.command("check")
@click.argument("ref")
@click.pass_obj
def check_pack(session: Terminal, ref: str) -> None:
    """Check the files of a pack without loading them."""

    async def work(here: Services) -> dict[str, Any]:
        return await here.registry.packs.validate(ref, OPERATOR)

    found = session.run(work)
    session.show([_problem(error) for errors in found["errors"].values() for error in errors], FILE_COLUMNS)
    if found["error_count"]:
        raise SystemExit(FAILED)


@pack_group.command("remove")
@click.argument("ref")
@click.option("--cascade", is_flag=True, help="Also remove workflows that were created through the API.")
@click.pass_obj
def remove_pack(session: Terminal, ref: str, cascade: bool) -> None:
    """Remove a pack with its workflows and actions; history stays readable."""

    async def work(here: Services) -> None:
        await here.registry.packs.delete(ref, OPERATOR, cascade=cascade)

    session.run(work)
    session.show_one({"removed": ref})


def _lines(report: SyncReport) -> list[dict[str, Any]]:
    lines = [
        {
            "file": workflow["file"],
            "ref": workflow["ref_name"],
            "result": "created" if workflow["created"] else "loaded",
            "message": "; ".join(warning["message"] for warning in workflow["warnings"]) or None,
        }
        for workflow in report.workflows
    ]
    gone = [{"ref": ref, "result": "disabled", "message": "its file is gone"} for ref in report.disabled]
    return [*lines, *gone, *(_problem(error) for error in report.errors)]


def _problem(error: dict[str, Any]) -> dict[str, Any]:
    place = ".".join(str(part) for part in error["loc"])
    message = f"{place}: {error['message']}" if place else error["message"]
    return {"file": error["file"], "ref": error["ref_name"], "result": "error", "message": message}
