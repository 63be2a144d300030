"""Arguments that a shell can complete: workflows and executions, as far as the server or database answers quickly."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import click
from click.shell_completion import CompletionItem, get_completion_class

from controllers.terminal.api import Api
from controllers.terminal.session import USAGE, Terminal, Wish, fail

LIMIT_S = 3.0
MOST = 50
SHELLS = ["bash", "zsh", "fish"]
Find = Callable[[Api, str], Awaitable[list[CompletionItem]]]
Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def _looked_up(find: Find) -> Complete:
    """A completion that asks. Silence where nobody answers: a shell's prompt is no place for an error."""

    def complete(context: click.Context, _: click.Parameter, begin: str) -> list[CompletionItem]:
        session = context.find_object(Terminal)
        if session is None:
            return []
        try:
            return asyncio.run(_found(session, find, begin))
        except (Exception, SystemExit):  # noqa: BLE001 - see above
            return []

    return complete


async def _found(session: Terminal, find: Find, begin: str) -> list[CompletionItem]:
    wish = Wish(url=session.url, key=session.key, direct=session.direct)
    async with asyncio.timeout(LIMIT_S), session.open_api(wish) as api:
        return await find(api, begin)


async def _workflows(api: Api, begin: str) -> list[CompletionItem]:
    found = await api.rows("/workflows", count=MOST, search=begin or None, sort_by="ref", sort_order="asc")
    return [CompletionItem(row["ref"], help=row["label"]) for row in found if row["ref"].startswith(begin)]


async def _executions(api: Api, begin: str) -> list[CompletionItem]:
    found = await api.rows("/runs", count=MOST, source="engine")
    return [
        CompletionItem(row["run_id"], help=f"{row['wpk_id']} {row['status']}")
        for row in found
        if row["run_id"].startswith(begin)
    ]


workflows = _looked_up(_workflows)
executions = _looked_up(_executions)


@click.command("completion")
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print a script that completes commands, workflows and executions: `eval "$(millrace completion bash)"`."""
    made = get_completion_class(shell)
    if made is None:
        fail(f"click knows no shell {shell}", USAGE)
    click.echo(made(context.find_root().command, {}, "millrace", "_MILLRACE_COMPLETE").source())
