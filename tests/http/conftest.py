"""An app under test on both databases, its test client, and people who call it.

`client` speaks to the running app; `admin`, `alice` and `bob` are their headers (`alice.user_id` is her id);
`key_for` makes other people and other keys.
"""

import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from quart import Quart
from quart.typing import TestClientProtocol

from app import create_app
from config import Settings, load
from controllers.context import EXTENSION, Services
from models.access import RoleRow
from services.access.actor import SYSTEM
from services.access.key_service import KeyWish
from tests.support.doors import World


class Headers(dict[str, str]):
    """The headers of a caller, and who they are."""

    user_id: int


@pytest.fixture
def environ() -> dict[str, str]:
    """More environment for the app; override it in a module, or parametrize it."""
    return {}


@pytest.fixture
def settings(tmp_path: Path, database_engine: str, database_url: str, environ: dict[str, str]) -> Settings:
    """The settings of the app: a database of its own, migrated."""
    found = {"DATA_DIR": str(tmp_path), "PORT": "0", "PACKS_DIR": str(tmp_path / "packs"), **environ}
    if database_engine == "postgres":
        found["POSTGRES_DSN"] = database_url
    else:
        shutil.copyfile("/" + database_url.partition(":////")[2], tmp_path / "millrace.db")
    return load(found)


@pytest.fixture
def built(settings: Settings) -> Quart:
    """The app, not started; tests that add routes override `app` and start it themselves."""
    return create_app(settings, announce=lambda _: None)


@pytest.fixture
async def app(built: Quart) -> AsyncIterator[Quart]:
    """The app, serving."""
    async with built.test_app():
        yield built


@pytest.fixture
def here(app: Quart) -> Services:
    """The services of the app."""
    return app.extensions[EXTENSION]


@pytest.fixture
def client(app: Quart) -> TestClientProtocol:
    """A client of the app."""
    return app.test_client()


@pytest.fixture
def key_for(here: Services) -> Callable[..., Awaitable[Headers]]:
    """`await key_for("carol", is_admin=…, roles={(1, "editor")}, scopes=[…], community_id=…, expires_at=…)`.

    A name that exists gets another key.
    """

    async def make(name: str, *, is_admin: bool = False, roles=(), **wish) -> Headers:
        found = await here.db(here.db.app_user.name == name).select().first()
        user_id = found.id if found else None
        if user_id is None:
            account = await here.accounts.create({"name": name, "email": None, "is_admin": is_admin}, by=SYSTEM)
            user_id = account.user.id
        for community_id, role in roles:
            await here.accounts.give_role(RoleRow(user_id=user_id, community_id=community_id, role=role), by=SYSTEM)
        made = await here.keys.create(KeyWish(name="test", user_id=user_id, **wish), by=SYSTEM)
        headers = Headers({"X-API-Key": made.text})
        headers.user_id = user_id
        return headers

    return make


@pytest.fixture
async def admin(key_for) -> Headers:
    """An administrator."""
    return await key_for("root", is_admin=True)


@pytest.fixture
async def alice(key_for) -> Headers:
    """An ordinary user."""
    return await key_for("alice")


@pytest.fixture
async def bob(key_for) -> Headers:
    """Another ordinary user."""
    return await key_for("bob")


@pytest.fixture
async def world(client: TestClientProtocol, here: Services, key_for: Callable[..., Awaitable[Headers]]) -> World:
    """Everybody and everything a route may be asked for."""
    made = World(client, here, key_for)
    await made.fill()
    return made
