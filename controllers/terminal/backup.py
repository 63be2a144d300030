"""`millrace backup` and `millrace restore`: on the database itself, whoever else works on it."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import click

from controllers.terminal.command import Command
from controllers.terminal.session import Terminal

Work = Callable[..., Awaitable[dict[str, Any]]]


def commands(back_up: Work, put_back: Work) -> tuple[click.Command, click.Command]:
    """Both commands; what they do is wired by who calls this."""

    @click.command("backup", cls=Command)
    @click.argument("file", required=False, type=click.Path(dir_okay=False, path_type=Path))
    @click.pass_obj
    def backup(session: Terminal, /, file: Path | None) -> None:
        """Write everything in the database to FILE as of one moment, also while a server works on it.

        Not in it: secrets (SECRETS_DIR), packs' files and settings; of API keys only their hashes. FILE is only for
        its owner to read; default: a name with the time in this folder.
        """
        target = file or Path(f"millrace-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}.backup")
        session.show_one(session.finish(lambda: back_up(target)))

    @click.command("restore", cls=Command)
    @click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
    @click.option("--force", is_flag=True, help="Also when the database holds something: it is replaced.")
    @click.pass_obj
    def restore(session: Terminal, /, file: Path, force: bool) -> None:
        """Put the backup FILE in the place of the database; servers must be stopped.

        It starts paused: nothing is driven before `millrace executions resume-all`. Printed is what the executions
        that had not ended may have done to the world since the backup was made.
        """
        found = session.finish(lambda: put_back(file, force=force))
        if session.form == "json":
            session.show_one(found)
            return
        effects = found.pop("effects")
        session.show_one(found)
        click.echo()
        if effects:
            click.echo("These effects may have been done since the backup; executions started after it are not in it:")
            session.show(effects, tuple(effects[0]))
        else:
            click.echo("No execution was open in it that could have done anything since; those started after are lost.")
        click.echo("Everything is paused. When you have looked: millrace executions resume-all")

    return backup, restore
