"""What every command has: the services, a form for its answers, and exit codes that mean something.

0 done · 1 refused or failed · 2 wrong usage or settings · 3 the database cannot be reached.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

import click

from controllers import envelope
from controllers.context import Services
from services.errors import MillraceError

T = TypeVar("T")
FAILED, USAGE, UNREACHABLE = 1, 2, 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Terminal:
    """The session of one command. `open_services`: connects to the database of the environment and leaves it."""

    open_services: Callable[[], AbstractAsyncContextManager[Services]]
    unavailable: tuple[type[Exception], ...] = ()
    form: str = "table"

    def run(self, work: Callable[[Services], Awaitable[T]]) -> T:
        """Do `work` with the services; what is refused becomes a message and an exit code."""

        async def session() -> T:
            async with self.open_services() as here:
                return await work(here)

        try:
            return asyncio.run(session())
        except self.unavailable as error:
            fail(f"The database cannot be reached: {error}", UNREACHABLE)
        except MillraceError as error:
            fail(error.message, FAILED, error.details.get("errors", ()))

    def show(self, rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
        """Print rows: every field as JSON, or the chosen columns as a table."""
        if self.form == "json":
            click.echo(envelope.dumps(list(rows)).decode())
            return
        table = [[title.upper() for title in columns], *([_cell(row.get(name)) for name in columns] for row in rows)]
        widths = [max(len(line[index]) for line in table) for index in range(len(columns))]
        for line in table:
            click.echo("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())

    def show_one(self, fields: Mapping[str, Any]) -> None:
        """Print one thing: as JSON, or one field a line."""
        if self.form == "json":
            click.echo(envelope.dumps(dict(fields)).decode())
            return
        width = max(map(len, fields), default=0)
        for name, value in fields.items():
            click.echo(f"{name.ljust(width)}  {_cell(value)}")


def fail(message: str, code: int = FAILED, problems: Sequence[Mapping[str, Any]] = ()) -> NoReturn:
    """Say what went wrong and end with an exit code."""
    click.echo(f"Error: {message}", err=True)
    for problem in problems:
        place = ".".join(str(part) for part in problem.get("loc", ()))
        click.echo(f"  {place}: {problem.get('message', '')}", err=True)
    raise SystemExit(code)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)) and all(isinstance(part, str) for part in value):
        return ",".join(value) or "-"
    return envelope.dumps(value).decode().strip('"')
