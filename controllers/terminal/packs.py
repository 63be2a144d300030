"""`millrace pack`."""

from __future__ import annotations

from typing import Any

import click

from controllers.terminal.api import FAILED, Api, at
from controllers.terminal.command import Group
from controllers.terminal.session import Terminal

PACK_COLUMNS = ("ref", "label", "version", "source", "workflow_count", "owner_id")
FILE_COLUMNS = ("file", "ref", "result", "message")
SHOWN = 10_000


@click.group("pack", cls=Group)
def pack_group() -> None:
    """List, show, check, load and remove packs."""


@pack_group.command("list")
@click.option("--tag", help="Only packs with this tag.")
@click.pass_obj
def list_packs(session: Terminal, tag: str | None) -> None:
    """List packs by ref, with the number of their workflows."""
    session.show(session.ask(lambda api: api.rows("/packs", count=SHOWN, tag=tag)), PACK_COLUMNS)


@pack_group.command("show")
@click.argument("ref")
@click.pass_obj
def show_pack(session: Terminal, ref: str) -> None:
    """Show a pack with its workflows and actions."""
    shown = session.ask(lambda api: api.data("GET", at("packs", ref)))
    names = {kind: [item["ref"] for item in shown[kind]] for kind in ("workflows", "actions")}
    session.show_one({**shown, **names})


@pack_group.command("sync")
@click.argument("ref", required=False)
@click.option("--force", is_flag=True, help="Also replace workflows that were edited or created through the API.")
@click.pass_obj
def sync_packs(session: Terminal, ref: str | None, force: bool) -> None:
    """Load the files of pack REF; without REF, of every pack below PACKS_DIR that is new or changed."""

    async def work(api: Api) -> list[dict[str, Any]]:
        if ref is None:
            loaded: list[dict[str, Any]] = await api.data("POST", "/packs/sync")
            return loaded
        return [await api.data("POST", at("packs", ref, "workflows", "sync"), force=force)]

    reports = session.ask(work)
    session.show([line for report in reports for line in _lines(report)], FILE_COLUMNS)
    if any(report["errors"] for report in reports):
        raise SystemExit(FAILED)


@pack_group.command("check")
@click.argument("ref")
@click.pass_obj
def check_pack(session: Terminal, ref: str) -> None:
    """Check the files of a pack without loading them."""
    found = session.ask(lambda api: api.data("POST", at("packs", ref, "workflows", "validate")))
    session.show([_problem(error) for errors in found["errors"].values() for error in errors], FILE_COLUMNS)
    if found["error_count"]:
        raise SystemExit(FAILED)


@pack_group.command("remove")
@click.argument("ref")
@click.option("--cascade", is_flag=True, help="Also remove workflows that were created through the API.")
@click.pass_obj
def remove_pack(session: Terminal, ref: str, cascade: bool) -> None:
    """Remove a pack with its workflows and actions; history stays readable."""
    session.ask(lambda api: api.data("DELETE", at("packs", ref), cascade=cascade))
    session.show_one({"removed": ref})


def _lines(report: dict[str, Any]) -> list[dict[str, Any]]:
    lines = [
        {
            "file": workflow["file"],
            "ref": workflow["ref_name"],
            "result": "created" if workflow["created"] else "loaded",
            "message": "; ".join(warning["message"] for warning in workflow["warnings"]) or None,
        }
        for workflow in report["workflows"]
    ]
    gone = [{"ref": ref, "result": "disabled", "message": "its file is gone"} for ref in report["disabled"]]
    return [*lines, *gone, *(_problem(error) for error in report["errors"])]


def _problem(error: dict[str, Any]) -> dict[str, Any]:
    place = ".".join(str(part) for part in error["loc"])
    message = f"{place}: {error['message']}" if place else error["message"]
    return {"file": error["file"], "ref": error["ref_name"], "result": "error", "message": message}
