"""`millrace audit`: the record of what was asked, decided and done."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import click

from controllers.terminal.api import FAILED, Api
from controllers.terminal.command import Group
from controllers.terminal.session import Terminal, fail

COLUMNS = ("at", "category", "action", "result", "actor_id", "community_id", "resource", "reason")
CATEGORIES = ["AUTH", "AUTHZ", "AUDIT", "ERROR", "SYSTEM"]
RESULTS = ["SUCCESS", "ALLOWED", "DENIED", "FAILURE"]
F = TypeVar("F", bound=Callable[..., Any])


def _moment(_: click.Context, option: click.Parameter, value: str | None) -> str | None:
    """A time as people write it, as the API takes it; UTC where it names no zone."""
    if value is None:
        return None
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        message = f"{value!r} is not a time such as 2026-01-17 or 2026-01-17T12:00:00Z"
        raise click.BadParameter(message, param=option) from None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).isoformat()


def _filters(command: F) -> F:
    """The options that choose entries; everything given must hold."""
    options = (
        click.option("--since", callback=_moment, metavar="TIME", help="Not before this time."),
        click.option("--until", callback=_moment, metavar="TIME", help="Before this time."),
        click.option("--actor", type=click.IntRange(0), help="Of the user with this id; 0 = the system itself."),
        click.option("--action", help="This action, such as create_api_key."),
        click.option("--category", type=click.Choice(CATEGORIES, case_sensitive=False)),
        click.option("--result", type=click.Choice(RESULTS, case_sensitive=False)),
        click.option("--workflow-id", type=click.UUID, help="About the workflow with this id."),
    )
    for option in reversed(options):
        command = option(command)
    return command


@click.group("audit", cls=Group)
@click.pass_obj
def audit_group(session: Terminal) -> None:
    """List, export and verify the audit record."""
    session.existing = True


@audit_group.command("list")
@_filters
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True)
@click.pass_obj
def list_entries(session: Terminal, /, limit: int, **wanted: Any) -> None:
    """List entries, newest first."""
    session.show(session.ask(lambda api: api.rows("/audit", count=limit, **wanted)), COLUMNS)


@audit_group.command("export")
@_filters
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True), default="-")
@click.option("--force", is_flag=True, help="Replace FILE when it is there.")
@click.pass_obj
def export_entries(session: Terminal, /, file: str, force: bool, **wanted: Any) -> None:
    """Write every entry with all its columns to FILE, one JSON object a line, oldest first; `-` is standard output.

    A file appears under its name when it is complete.
    """
    if file == "-":
        session.ask(lambda api: _write(api, sys.stdout.buffer, wanted))
        return
    target = Path(file)
    if target.exists() and not force:
        raise click.UsageError(f"{file} is there already; --force replaces it")

    part = target.with_name(f"{target.name}.part")
    try:
        with open(part, "wb", opener=_for_its_owner) as out:
            count = session.ask(lambda api: _write(api, out, wanted))
            os.fsync(out.fileno())
        part.replace(target)
    except OSError as error:
        fail(f"{file} cannot be written: {error.strerror}")
    finally:
        part.unlink(missing_ok=True)
    session.show_one({"file": file, "entries": count})


def _for_its_owner(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


@audit_group.command("verify")
@click.pass_obj
def verify(session: Terminal) -> None:
    """Follow the hash chain over the record and say where it breaks; exit code 1 when it does.

    `unsealed` entries are newer than the last seal (a second, while a server runs) and not protected yet.
    """
    found = session.ask(lambda api: api.data("GET", "/audit/verify"))
    session.show_one(found)
    if not found["intact"]:
        raise SystemExit(FAILED)


async def _write(api: Api, out: BinaryIO, wanted: dict[str, Any]) -> int:
    count = 0
    async with aclosing(api.lines("/audit", **wanted)) as lines:
        async for line in lines:
            out.write(line + b"\n")
            count += 1
    out.flush()
    return count
