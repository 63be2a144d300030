"""The command line: `millrace serve`, `worker`, `migrate`, `key`, `user` and the rest; also `python -m cli`."""

from __future__ import annotations

import gc
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from config import VERSION, Settings, SettingsError, load
from controllers.terminal import access, audit, backup, definitions, executions, operate, packs, words
from controllers.terminal.command import FORMS, Command
from controllers.terminal.session import USAGE, Terminal, Wish, fail

if TYPE_CHECKING:  # the server's modules take a second to load; `--help` and completion do without
    from quart import Quart

    from controllers.context import Services
    from controllers.terminal.api import Api
    from services.history.adoption import Imported

MIGRATIONS = Path(__file__).parent / "migrations"


class Main(click.Group):
    """The outermost command; its session is there for completion, too."""

    command_class = Command

    def main(self, *arguments: Any, **extra: Any) -> Any:
        """Run a command line."""
        extra.setdefault("obj", Terminal(open_api=_open_api, open_services=_open_services))
        return super().main(*arguments, **extra)


@click.group(cls=Main, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, prog_name="millrace")
@click.option("-o", "--output", type=click.Choice(FORMS), help="Form of the answer; also behind a command.")
@click.pass_obj
def main(session: Terminal, output: str | None) -> None:
    """Millrace: a self-hosted workflow server. Settings come from the environment (docs/reference/settings.md)."""
    session.form = output or session.form


@main.command(cls=click.Command)
@click.option("--no-worker", is_flag=True, help="Only answer requests; `millrace worker` drives (PostgreSQL only).")
def serve(no_worker: bool) -> None:
    """Run the server: migrate, then answer until a signal comes; a second one ends at once."""
    start_quickly()
    from app import create_app

    settings = _settings(serves=True)
    if no_worker:
        _require_postgres(settings, "serve --no-worker")
    _log(settings)
    app = create_app(settings, announce=click.echo, drives=not no_worker)
    _run(app, settings, port=settings.port, started=_say_started(settings))


@main.command(cls=click.Command)
@click.option("--port", type=click.IntRange(0, 65535), help="Port for health and metrics; default WORKER_PORT.")
def worker(port: int | None) -> None:
    """Drive executions beside a server, as many workers as you like, on any machine (PostgreSQL only).

    It answers /health, /ready and /metrics. A signal lets running work end or hands it to other workers.
    """
    start_quickly()
    from app import create_worker

    settings = _settings(serves=True)
    _require_postgres(settings, "worker")
    _log(settings)
    app = create_worker(settings, announce=click.echo)
    chosen = settings.worker_port if port is None else port
    _run(
        app,
        settings,
        port=chosen,
        started=lambda at: _say(f"Millrace {VERSION} worker listens on {at} (PostgreSQL)"),
    )


def start_quickly() -> None:
    """Before the server's modules are imported: nothing of them is garbage, so the collector rests until the server has
    started, which lets it work."""
    gc.disable()


def _log(settings: Settings) -> None:
    from services import logs

    logs.configure(level=settings.log_level, form=settings.log_format, module=settings.log_module)


def _require_postgres(settings: Settings, command: str) -> None:
    if not settings.postgres_dsn:
        fail(f"millrace {command} needs POSTGRES_DSN: one process alone drives a SQLite file", USAGE)


def _run(app: Quart, settings: Settings, *, port: int, started: Callable[[str], None]) -> None:
    from controllers import server
    from controllers.context import EXTENSION
    from services.execution.file_lock import DatabaseLocked

    here: Services = app.extensions[EXTENSION]
    try:
        here.execution.reserve()
    except DatabaseLocked as error:
        fail(str(error))

    def listening(address: str) -> None:
        here.execution.listens_at(address.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:"))
        started(address)

    listen = server.Listen(
        host=settings.host,
        port=port,
        drain_s=max(1, settings.shutdown_seconds // 4),
        most_connections=settings.max_connections,
    )
    server.serve(app, listen, on_started=listening, on_stop=here.stop)
    if here.readiness.fatal:
        raise SystemExit(1)


@main.command()
@click.pass_obj
def migrate(session: Terminal) -> None:
    """Bring the database to the newest schema; says which files were applied."""

    async def work(here: Services) -> list[str]:
        from services.access.authentication import utc_now
        from services.history.adoption import upgrade

        return await upgrade(here.db, MIGRATIONS, utc_now)

    session.show([{"applied": name} for name in session.run(work)], ["applied"])


@main.command(name="import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.pass_obj
def import_runs(session: Terminal, file: Path) -> None:
    """Read the runs and signals of another service's SQLite FILE; doing it twice adds nothing."""

    async def work(here: Services) -> Imported:
        from services.access.authentication import utc_now
        from services.history.adoption import import_file, upgrade

        await upgrade(here.db, MIGRATIONS, utc_now)
        return await import_file(here.db, file, utc_now)

    session.show([asdict(session.run(work))], ["runs", "signals", "rejected"])


async def _back_up(target: Path) -> dict[str, Any]:
    from composition.safekeeping import back_up

    settings = _settings()
    _quiet(settings)
    return await back_up(settings, target)


async def _put_back(source: Path, *, force: bool) -> dict[str, Any]:
    from composition.safekeeping import put_back

    settings = _settings()
    _quiet(settings)
    return await put_back(settings, source, force=force)


for command in (
    *backup.commands(_back_up, _put_back),
    *(access.key_group, access.user_group, audit.audit_group),
    *(packs.pack_group, definitions.validate, executions.run, executions.executions_group, words.completion),
    operate.workers,
):
    main.add_command(command)


def _settings(*, serves: bool = False) -> Settings:
    """The settings; `serves`: with the folders that are set, without which a server would find nothing to do."""
    try:
        settings = load()
        if serves:
            settings.require_folders()
    except SettingsError as error:
        fail(str(error), USAGE)
    return settings


@asynccontextmanager
async def _open_api(wish: Wish) -> AsyncIterator[Api]:
    """Speak to whom this command is for: a server, or the app in this process on the database itself."""
    import httpx

    from composition.reach import Local, Remote, whom
    from controllers.terminal.api import Api, CommandFailed

    settings = _settings()
    _quiet(settings)
    asked = whom(settings, wish)
    if isinstance(asked, Remote):
        own = "//127." in asked.url or "//localhost" in asked.url or "//[::1]" in asked.url
        headers = {"X-API-Key": asked.key}
        try:
            client = httpx.AsyncClient(base_url=asked.url, headers=headers, trust_env=not own)
        except (httpx.InvalidURL, ValueError) as error:
            raise CommandFailed(f"{asked.url} is not the address of a server: {error}", USAGE) from error
        async with client:
            yield Api(client, asked.url, is_inside=False)
    elif isinstance(asked, Local):
        async with _inside(settings, drives=asked.drives) as api:
            yield api
    else:
        raise CommandFailed(asked.reason, USAGE)


@asynccontextmanager
async def _inside(settings: Settings, *, drives: bool) -> AsyncIterator[Api]:
    import httpx

    from app import visit
    from composition.visit import workers_alive
    from controllers.terminal.api import Api
    from controllers.terminal.inside import Inside

    _make_folder(settings)
    if drives and settings.postgres_dsn:
        drives = not await workers_alive(settings)
    headers = {"X-API-Key": "operator"}
    async with (
        visit(settings, drives=drives) as app,
        httpx.AsyncClient(transport=Inside(app), base_url="http://inside", headers=headers) as client,
    ):
        yield Api(client, "the database", is_inside=True)


@asynccontextmanager
async def _open_services() -> AsyncIterator[Services]:
    from app import build_services

    settings = _settings()
    _quiet(settings)
    _make_folder(settings)
    here = build_services(settings)
    async with here.db:
        yield here


def _make_folder(settings: Settings) -> None:
    from controllers.terminal.api import CommandFailed

    try:
        settings.make_data_dir()
    except SettingsError as error:
        raise CommandFailed(str(error), USAGE) from error


def _quiet(settings: Settings) -> None:
    """Errors only: the terminal belongs to the answer, which says what was refused and what failed."""
    from services import logs

    logs.configure(level="error", form=settings.log_format, module=settings.log_module)
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # connections given up in the middle are not the user's


def _say_started(settings: Settings) -> Callable[[str], None]:
    kind = "PostgreSQL" if settings.postgres_dsn else f"SQLite in {settings.data_dir}"
    return lambda address: _say(f"Millrace {VERSION} listens on {address} ({kind}); documentation: {address}/docs")


def _say(text: str) -> None:
    """Tell the operator; a full disk or a closed pipe behind stdout is no reason not to serve."""
    with suppress(OSError):
        click.echo(text)


if __name__ == "__main__":
    main()
