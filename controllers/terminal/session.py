"""What every command has: a way to the server or the database, a form for its answers, exit codes that mean something.

0 done, or the execution completed · 1 refused, failed, or not as it should be · 2 wrong usage or settings · 3 server or
database cannot be reached · 4 the execution was cancelled · 5 the execution has not ended · 130 interrupted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

from services.lines import escape

if TYPE_CHECKING:  # `--help` and completion scripts do without the server's modules
    from controllers.terminal.api import Api

T = TypeVar("T")
FAILED, USAGE, UNREACHABLE, CANCELLED, UNFINISHED, INTERRUPTED = 1, 2, 3, 4, 5, 130


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """Whom a command wants to ask. `direct`: the database itself, even beside a server; `drives`: it runs executions;
    `existing`: it is about what is there already, so a database must be."""

    url: str | None = None
    key: str | None = None
    direct: bool = False
    drives: bool = False
    existing: bool = False


@dataclass(slots=True, kw_only=True)
class Terminal:
    """The session of one command.

    `open_api`: finds out whom to ask and speaks to them; `open_services`: the services on the database of the
    environment. The other fields are what the common options said.
    """

    open_api: Callable[[Wish], AbstractAsyncContextManager[Api]]
    open_services: Callable[[], AbstractAsyncContextManager[Any]]
    form: str = "table"
    existing: bool = False
    url: str | None = None
    key: str | None = None
    direct: bool = False

    def ask(
        self, work: Callable[[Api], Awaitable[T]], *, drives: bool = False, interrupted: Callable[[], str] = str
    ) -> T:
        """Do `work` with the API; what is refused becomes a message and an exit code.

        `drives`: the work runs executions when no server does; `interrupted`: what Ctrl-C is answered with.
        """
        wish = Wish(url=self.url, key=self.key, direct=self.direct, drives=drives, existing=self.existing)

        async def session() -> T:
            async with self.open_api(wish) as api:
                kept = await _kept(work(api))
            if isinstance(kept, Exception):
                raise kept
            return kept

        done: T = _done(session, interrupted)
        return done

    def run(self, work: Callable[[Any], Awaitable[T]]) -> T:
        """Do `work` with the services on the database itself."""

        async def session() -> T:
            async with self.open_services() as here:
                return await work(here)

        done: T = _done(session, str)
        return done

    def finish(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do `work`, which brings its own way to the database."""

        async def session() -> T:
            return await work()

        done: T = _done(session, str)
        return done

    def show(self, rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
        """Print rows: every field as JSON, or the chosen columns as a table."""
        if self.form == "json":
            click.echo(_json(list(rows)))
            return
        table = [[title.upper() for title in columns], *([_cell(row.get(name)) for name in columns] for row in rows)]
        widths = [max(len(line[index]) for line in table) for index in range(len(columns))]
        for line in table:
            click.echo("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())

    def show_one(self, fields: Mapping[str, Any]) -> None:
        """Print one thing: as JSON, or one field a line."""
        if self.form == "json":
            click.echo(_json(dict(fields)))
            return
        width = max(map(len, fields), default=0)
        for name, value in fields.items():
            click.echo(f"{name.ljust(width)}  {_cell(value)}")


async def _kept(work: Awaitable[T]) -> T | Exception:
    """The outcome, a refusal included: raised among the tasks of a session it would come out as a group."""
    from controllers.terminal.api import CommandFailed

    try:
        return await work
    except CommandFailed as refusal:
        return refusal


def _done(session: Callable[[], Any], interrupted: Callable[[], str]) -> Any:
    from controllers.terminal.api import CommandFailed
    from models.dal import DatabaseError, MigrationFailed, Unavailable
    from services.errors import MillraceError
    from services.execution.file_lock import DatabaseLocked

    try:
        return asyncio.run(session())
    except KeyboardInterrupt:
        fail(interrupted() or "Interrupted", INTERRUPTED)
    except CommandFailed as error:
        fail(error.message, error.code, error.problems, error.kind)
    except Unavailable as error:
        fail(f"The database cannot be reached: {error}", UNREACHABLE)
    except MillraceError as error:
        fail(error.message, FAILED, error.details.get("errors", ()), error.code)
    except (MigrationFailed, DatabaseLocked, DatabaseError) as error:
        fail(str(error))


def fail(
    message: str, code: int = FAILED, problems: Sequence[Mapping[str, Any]] = (), kind: str | None = None
) -> NoReturn:
    """Say what went wrong, in the form that was asked for, and end with an exit code. `kind`: an error code of the API."""
    context = click.get_current_context(silent=True)
    session = None if context is None else context.find_object(Terminal)
    if session is not None and session.form == "json":
        named = {} if kind is None else {"error_code": kind}
        said = {
            "success": False,
            "message": message,
            **named,
            "details": {"errors": list(problems)} if problems else {},
        }
        click.echo(_json(said), err=True)
        raise SystemExit(code)
    click.echo("Error: " + "\n".join(map(escape, message.split("\n"))), err=True)
    for problem in problems:
        place, said = ".".join(str(part) for part in problem.get("loc", ())), problem.get("message", "")
        click.echo(f"  {escape(f'{place}: {said}' if place else str(said))}", err=True)
    raise SystemExit(code)


def _json(value: Any) -> str:
    from controllers import envelope

    return envelope.dumps(value).decode()


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, str):
        return escape(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)) and all(isinstance(part, str) for part in value):
        return escape(",".join(value)) or "-"
    return escape(_json(value).strip('"'))
