"""The command line: `millrace serve`, `worker`, `migrate`, `key`, `user` and the rest; also `python -m cli`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict
from pathlib import Path

import click
from quart import Quart

from app import ROOT, build_services, create_app, create_worker
from config import VERSION, Settings, SettingsError, load
from controllers import server
from controllers.context import EXTENSION, Services
from controllers.terminal import access, definitions, packs, remote
from controllers.terminal.session import USAGE, Terminal, fail
from models.dal import MigrationFailed, Unavailable
from services import logs
from services.access.authentication import utc_now
from services.errors import Invalid
from services.execution.worker import DatabaseLocked
from services.history.adoption import Imported, import_file, upgrade


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, prog_name="millrace")
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", help="Form of the answer.")
@click.pass_context
def main(context: click.Context, output: str) -> None:
    """Millrace: a self-hosted workflow server. Settings come from the environment (docs/reference/settings.md)."""
    context.obj = Terminal(open_services=_open_services, unavailable=(Unavailable,), form=output)


@main.command()
@click.option("--no-worker", is_flag=True, help="Only answer requests; `millrace worker` drives (PostgreSQL only).")
def serve(no_worker: bool) -> None:
    """Run the server: migrate, then answer until a signal comes; a second one ends at once."""
    settings = _settings()
    if no_worker:
        _require_postgres(settings, "serve --no-worker")
    app = create_app(settings, announce=click.echo, drives=not no_worker)
    _run(app, settings, port=settings.port, started=_say_started(settings))


@main.command()
@click.option("--port", type=click.IntRange(0, 65535), help="Port for health and metrics; default WORKER_PORT.")
def worker(port: int | None) -> None:
    """Drive executions beside a server, as many workers as you like, on any machine (PostgreSQL only).

    It answers /health, /ready and /metrics. A signal lets running work end or hands it to other workers.
    """
    settings = _settings()
    _require_postgres(settings, "worker")
    app = create_worker(settings, announce=click.echo)
    chosen = settings.worker_port if port is None else port
    _run(
        app,
        settings,
        port=chosen,
        started=lambda at: _say(f"Millrace {VERSION} worker listens on {at} (PostgreSQL)"),
    )


def _require_postgres(settings: Settings, command: str) -> None:
    if not settings.postgres_dsn:
        fail(f"millrace {command} needs POSTGRES_DSN: one process alone drives a SQLite file", USAGE)


def _run(app: Quart, settings: Settings, *, port: int, started: Callable[[str], None]) -> None:
    logs.configure(level=settings.log_level, form=settings.log_format, module=settings.log_module)
    here: Services = app.extensions[EXTENSION]
    try:
        here.execution.reserve()
    except DatabaseLocked as error:
        fail(str(error))
    listen = server.Listen(
        host=settings.host,
        port=port,
        drain_s=max(1, settings.shutdown_seconds // 4),
        most_connections=settings.max_connections,
    )
    server.serve(app, listen, on_started=started, on_stop=here.stop)
    if here.readiness.fatal:
        raise SystemExit(1)


@main.command()
@click.pass_obj
def migrate(session: Terminal) -> None:
    """Bring the database to the newest schema; says which files were applied."""

    async def work(here: Services) -> list[str]:
        return await upgrade(here.db, ROOT / "migrations", utc_now)

    try:
        applied = session.run(work)
    except MigrationFailed as error:
        fail(str(error))
    session.show([{"applied": name} for name in applied], ["applied"])


@main.command(name="import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.pass_obj
def import_runs(session: Terminal, file: Path) -> None:
    """Read the runs and signals of another service's SQLite FILE; doing it twice adds nothing."""

    async def work(here: Services) -> Imported:
        await upgrade(here.db, ROOT / "migrations", utc_now)
        return await import_file(here.db, file, utc_now)

    try:
        done = session.run(work)
    except Invalid as error:
        fail(str(error))
    session.show([asdict(done)], ["runs", "signals", "rejected"])


for command in (
    *(access.key_group, access.user_group),
    *(packs.pack_group, definitions.validate, remote.run, remote.executions_group),
):
    main.add_command(command)


def _settings() -> Settings:
    try:
        return load()
    except SettingsError as error:
        fail(str(error), USAGE)


@asynccontextmanager
async def _open_services() -> AsyncIterator[Services]:
    settings = _settings()
    logs.configure(level="warning", form=settings.log_format, module=settings.log_module)
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    here = build_services(settings)
    async with here.db:
        yield here


def _say_started(settings: Settings) -> Callable[[str], None]:
    kind = "PostgreSQL" if settings.postgres_dsn else f"SQLite in {settings.data_dir}"
    return lambda address: _say(f"Millrace {VERSION} listens on {address} ({kind}); documentation: {address}/docs")


def _say(text: str) -> None:
    """Tell the operator; a full disk or a closed pipe behind stdout is no reason not to serve."""
    with suppress(OSError):
        click.echo(text)


if __name__ == "__main__":
    main()
