"""The stay of one command on the database: connect, migrate, be able to answer, and drive executions when asked to."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from composition.base import open_database
from composition.life import MIGRATIONS
from config import Settings
from controllers.context import Services
from models import executions
from services.access.authentication import utc_now
from services.history.adoption import upgrade
from services.metrics import Metrics
from services.readiness import Readiness

VISIT_JOBS = ("refresh-actions", "seal-audit")
"""What a command does beside what it was called for, as long as it lasts."""


@asynccontextmanager
async def stay(settings: Settings, here: Services, *, drives: bool) -> AsyncIterator[None]:
    """Everything between connecting and leaving.

    `drives`: packs are loaded as a server would load them at its start, and executions are taken on.
    """
    settings.make_data_dir()
    here.execution.reserve()
    async with here.db:
        await upgrade(here.db, MIGRATIONS, utc_now)
        if drives:
            await here.registry.start()
        else:
            await here.registry.actions.refresh()
        await here.execution.start()
        async with here.background.running(stop_limit_s=settings.shutdown_seconds):
            yield


async def workers_alive(settings: Settings) -> int:
    """How many processes drive executions of this PostgreSQL database now."""
    async with open_database(settings, Readiness(), Metrics()) as db:
        return await executions.count_alive(db)
