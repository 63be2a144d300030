"""The life of the server: connect, migrate, first admin, background work, readiness."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from composition.base import features
from composition.insight import starter
from config import Settings
from controllers.context import Services
from models import writing
from models.dal import Unavailable
from services.access.authentication import utc_now
from services.access.bootstrap import first_admin
from services.background import Job
from services.history.adoption import upgrade
from services.readiness import Check

log = logging.getLogger("millrace.app")

MIGRATIONS = Path(__file__).parents[1] / "migrations"
RECONNECT_S = 1.0
MIN_FREE_BYTES = 64 * 1024 * 1024
Announce = Callable[[str], None]


@asynccontextmanager
async def lifetime(settings: Settings, here: Services, announce: Announce) -> AsyncIterator[None]:
    """Everything between the start of serving and its end; `announce` is told what only the operator may read."""
    settings.make_data_dir()
    _say(settings, await asyncio.to_thread(here.execution.secrets.open_to_all))
    connected = asyncio.Event()
    steps = deque(_steps(settings, here, announce))

    async def connect() -> None:
        if await _through(steps):
            connected.set()

    here.execution.reserve()
    here.readiness.add("migrations", lambda: _migrated(connected))
    try:
        await connect()
        if not connected.is_set():
            here.background.add(Job(name="connect", work=connect, every_s=RECONNECT_S, until=connected.is_set))
        async with here.background.running(stop_limit_s=settings.shutdown_seconds):
            yield
    finally:
        await here.db.close()


def _say(settings: Settings, open_secrets: list[str]) -> None:
    """What an operator should know of these settings."""
    for note in settings.aliases_used:
        log.info("settings.note %s", note)
    for feature in features(settings):
        if feature.missing:
            log.warning("feature.missing feature=%s %s", feature.name, feature.advice)
    if open_secrets:
        log.warning(
            "secrets.open_to_all secrets=%s every pack may use them: NAME.packs says which", ",".join(open_secrets)
        )
    if not settings.packs_dir.is_dir():
        log.warning("packs.missing folder=%s there are no packs but those of the server; PACKS_DIR", settings.packs_dir)


Step = Callable[[], Awaitable[object]]


def _steps(settings: Settings, here: Services, announce: Announce) -> list[Step]:
    """Connect, migrate and bring up what the first start needs. Each may be begun again when it failed."""

    async def migrate() -> None:
        for name in await upgrade(here.db, MIGRATIONS, utc_now):
            log.info("database.migrated migration=%s", name)

    async def first_key() -> None:
        made = await first_admin(
            here.db, audit=here.audit, given=settings.admin_key, pepper=settings.key_pepper, now=utc_now()
        )
        if made is not None:
            announce(f"The first admin key, shown only now: {made}")

    async def watch() -> None:
        here.insight.watches.start = starter(here.execution)

    return [here.db.open, migrate, first_key, here.registry.start, here.execution.start, watch]


async def _through(steps: deque[Step]) -> bool:
    """Take the steps that are left; False when the database cannot do one of them now."""
    try:
        while steps:
            await steps[0]()
            steps.popleft()
    except Unavailable as error:
        log.warning("database.unreachable error=%s trying again", error)
        return False
    return True


async def _migrated(connected: asyncio.Event) -> Check:
    return Check(connected.is_set(), "applied" if connected.is_set() else "waiting for the database")


def add_checks(here: Services, settings: Settings) -> None:
    """What `/ready` looks at."""

    async def database() -> Check:
        await here.db.ping()
        if here.db.refusal is not None:
            await writing.probe(here.db)
            log.warning("database.writes_again after=%s", here.db.refusal)
            here.db.refusal = None
        return Check(True, here.db.engine)

    async def disk() -> Check:
        free = shutil.disk_usage(settings.data_dir).free
        return Check(free >= MIN_FREE_BYTES, f"{free // 1024**2} MiB free")

    async def dispatcher() -> Check:
        paused = ", paused by an operator" if here.execution.pause_all.is_on else ""
        return Check(here.execution.is_alive, f"{here.execution.driving} executions in hand{paused}")

    here.readiness.add("database", database)
    here.readiness.add("dispatcher", dispatcher)
    here.readiness.add("disk", disk)
