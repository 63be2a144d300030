"""`store_signal`: keep a signal from a plain Python script; no server needs to run."""

from __future__ import annotations

import asyncio
import importlib
import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from services.errors import Invalid

MIGRATIONS = Path(__file__).parents[2] / "migrations"


def store_signal(
    metric: str, value: float, score: float, hint: str | None = None, *, database_url: str | None = None
) -> str:
    """Keep a signal in the database of this environment (or `database_url`) and return its id.

    Blocks until it is durable, also when called from a running event loop. Raises `Invalid` for values that are no
    numbers, `models.dal.Unavailable` when the database cannot be reached.
    """
    if not metric:
        raise Invalid("A signal needs a metric")
    if not (math.isfinite(value) and math.isfinite(score)):
        raise Invalid("Value and score of a signal are finite numbers")
    url = database_url or _environment_url()
    with ThreadPoolExecutor(max_workers=1) as pool:  # a loop of its own, whatever runs in the caller's thread
        return pool.submit(asyncio.run, _store(url, metric, float(value), float(score), hint)).result()


async def _store(url: str, metric: str, value: float, score: float, hint: str | None) -> str:
    from models import signals
    from models.dal import AsyncDAL
    from models.records import uuid7
    from models.schema import declare
    from services.access.authentication import utc_now

    row = signals.SignalRow(
        id=uuid7(),
        metric=metric,
        value=value,
        score=score,
        hint=hint,
        created_at=utc_now(),
        method="external",
        source="external",
        series=metric,
    )
    db: Any = declare(AsyncDAL(url))
    async with db:
        await db.migrate(MIGRATIONS)
        await signals.insert(db, row)
    return str(row.id)


def _environment_url() -> str:
    """The database the server would use. A script has no composition root that could hand it in."""
    from models.dal import sqlite_url

    settings = importlib.import_module("config").load()
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    return str(settings.postgres_dsn or sqlite_url(settings.data_dir / "millrace.db"))
