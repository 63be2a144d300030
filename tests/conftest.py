"""Databases for tests: every test that asks for one runs on SQLite and on PostgreSQL, and none is skipped."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from models.dal import AsyncDAL, Options
from models.schema import declare
from tests.support.databases import Databases


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever uses a database carries the marker `db`."""
    for item in items:
        if "databases" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.db)


@pytest.fixture(scope="session")
def databases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Databases]:
    """Makes databases; the PostgreSQL server is started when the first test needs it."""
    made = Databases(tmp_path_factory.mktemp("databases"))
    yield made
    made.close()


@pytest.fixture(params=["sqlite", "postgres"])
def database_engine(request: pytest.FixtureRequest) -> str:
    """Which database: a test that uses it runs on both."""
    return str(request.param)


@pytest.fixture
def database_url(database_engine: str, databases: Databases) -> Iterator[str]:
    """The URL of a fresh database with our migrations applied."""
    url = databases.create(database_engine)
    yield url
    databases.drop(url)


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[AsyncDAL]:
    """An open database with the whole schema declared; a statement that is never awaited fails the test."""
    async with declare(AsyncDAL(database_url, Options(debug=True, pool_size=8))) as opened:
        yield opened
