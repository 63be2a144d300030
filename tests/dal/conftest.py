"""A small schema of its own: every field type, a renamed column, a reference, a compound unique constraint."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from models.dal import AsyncDAL, Field, Options
from tests.support.databases import Databases

MIGRATIONS = Path(__file__).parent / "migrations"
T0 = datetime(2026, 1, 1, tzinfo=UTC)


def declare(db: AsyncDAL) -> AsyncDAL:
    db.define_table(
        "workflow",
        Field("id", "uuid", default=uuid.uuid4),
        Field("ref"),
        Field("title", "text", default="t"),
        Field("n", "integer"),
        Field("score", "double"),
        Field("active", "boolean", default=True),
        Field("meta", "json"),
        Field("tags", "list:string", default=lambda: []),
        Field("position", "integer", rname='"order"'),
        Field("created", "timestamptz", default=lambda: T0),
        Field("version", "integer", default=0),
        primarykey=["id"],
    )
    db.define_table(
        "step",
        Field("id", "id"),
        Field("workflow", "reference workflow"),
        Field("name"),
        Field("done", "boolean", default=False),
    )
    return db


@pytest.fixture
def small_url(database_engine: str, databases: Databases) -> Iterator[str]:
    url = databases.create(database_engine, MIGRATIONS)
    yield url
    databases.drop(url)


@pytest.fixture
async def small(small_url: str) -> AsyncIterator[AsyncDAL]:
    async with declare(AsyncDAL(small_url, Options(debug=True, pool_size=8))) as db:
        yield db
