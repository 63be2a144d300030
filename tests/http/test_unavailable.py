"""The server without its database: it lives, says so, and comes back by itself."""

import asyncio
import logging

import pytest

from app import create_app
from config import load


@pytest.fixture
def database_engine():
    """A server of PostgreSQL is what can be away."""
    return "postgres"


@pytest.fixture
def absent(settings, databases):
    """Settings that name a database which does not exist yet."""
    dsn = settings.postgres_dsn + "_later"
    yield load({"DATA_DIR": str(settings.data_dir), "POSTGRES_DSN": dsn, "MILLRACE_ADMIN_KEY": "k" * 40})
    databases.drop(dsn)


async def test_without_its_database_the_server_lives_and_refuses(absent):
    async with (built := create_app(absent)).test_app():
        client = built.test_client()

        health = await client.get("/health")
        ready = await client.get("/ready")
        call = await client.get("/api/v1/me", headers={"X-API-Key": "k" * 40})

    assert (health.status_code, ready.status_code, call.status_code) == (200, 503, 503)
    assert list(absent.data_dir.glob("*.db")) == []
    assert (await call.get_json())["error_code"] == "SERVICE_UNAVAILABLE"
    assert call.headers["Retry-After"]


async def test_the_server_comes_up_when_its_database_does(absent, databases, caplog):
    caplog.set_level(logging.CRITICAL)
    async with (built := create_app(absent)).test_app():
        client = built.test_client()
        before = await client.get("/ready")

        databases.server.execute(f'CREATE DATABASE "{absent.postgres_dsn.rpartition("/")[2]}"')
        async with asyncio.timeout(20):
            while (await client.get("/ready")).status_code != 200:
                await asyncio.to_thread(lambda: None)

        call = await client.get("/api/v1/me", headers={"X-API-Key": "k" * 40})

    assert before.status_code == 503
    assert call.status_code == 200
