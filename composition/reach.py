"""Whom a command asks: a server somewhere, the one that holds this machine's database, or the database itself."""

from __future__ import annotations

import socket
from dataclasses import dataclass

from composition.execution import lock_path
from config import Settings
from controllers.terminal.session import Wish
from services.execution.file_lock import Holder, holder_of

LOOK_S = 0.5


@dataclass(frozen=True, slots=True)
class Remote:
    """A server, and the key to it."""

    url: str
    key: str


@dataclass(frozen=True, slots=True)
class Local:
    """The database of the environment. `drives`: nobody else does, so executions may be driven here."""

    drives: bool


@dataclass(frozen=True, slots=True)
class Nobody:
    """Why nobody can be asked, and what to do."""

    reason: str


def whom(settings: Settings, wish: Wish) -> Remote | Local | Nobody:
    """Whom this command asks: what was named, else who holds the database, else the database itself."""
    if not wish.url and wish.existing and _is_absent(settings, wish):
        where = settings.data_dir / "millrace.db"
        return Nobody(f"There is no database at {where}; DATA_DIR says where it is, --url where a server is")
    if wish.direct:
        return Local(drives=wish.drives and holder(settings) is None)
    if wish.url:
        return _server(wish.url, wish, f"The server at {wish.url}")
    found = holder(settings)
    if found is not None:
        return _held(settings, wish, found)
    here = settings.postgres_dsn is None and (settings.data_dir / "millrace.db").exists()
    if wish.key and not here and _answers(settings):
        return Remote(_default(settings), wish.key)
    return Local(drives=wish.drives)


def holder(settings: Settings) -> Holder | None:
    """The process that has locked the SQLite database; None when nobody has, or on PostgreSQL."""
    return None if settings.postgres_dsn else holder_of(lock_path(settings))


def _is_absent(settings: Settings, wish: Wish) -> bool:
    """Whether there is no database here, and no server at `HOST` and `PORT` that would be asked instead."""
    here = settings.postgres_dsn is not None or (settings.data_dir / "millrace.db").exists()
    asks = wish.key is not None and not wish.direct
    return not here and not (asks and _answers(settings))


def _held(settings: Settings, wish: Wish, found: Holder) -> Remote | Local | Nobody:
    if found.address is not None:
        return _server(found.address, wish, f"A server (process {found.pid}, {found.address}) holds this database: it")
    if not wish.drives:
        return Local(drives=False)
    return Nobody(
        f"Process {found.pid} drives the executions of {settings.data_dir / 'millrace.db'} and takes no requests: "
        "another command, or a server that is starting; try again in a moment, or start with --direct --no-wait"
    )


def _server(url: str, wish: Wish, who: str) -> Remote | Nobody:
    if wish.key:
        return Remote(url, wish.key)
    return Nobody(
        f"{who} wants an API key: give it with --key or in MILLRACE_KEY. "
        "On the machine of the database, --direct works on the database itself and needs none"
    )


def _default(settings: Settings) -> str:
    host = "127.0.0.1" if settings.host in ("0.0.0.0", "::", "localhost") else settings.host  # noqa: S104 - compared
    return f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"


def _answers(settings: Settings) -> bool:
    host = "127.0.0.1" if settings.host in ("0.0.0.0", "::", "localhost") else settings.host  # noqa: S104 - compared
    try:
        with socket.create_connection((host, settings.port), timeout=LOOK_S):
            return True
    except OSError:
        return False
