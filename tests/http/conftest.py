"""An app under test, its test client, and people who call it.

`client` speaks to the running app; `admin`, `alice` and `bob` are headers with their keys; `key_for` makes others.
"""

import dataclasses
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from pathlib import Path
from uuid import UUID

import pytest
from quart import Quart
from quart.typing import TestClientProtocol

from app import create_app
from config import Settings, load
from controllers.context import EXTENSION
from models.records import uuid7
from services.access import keys
from services.access.authentication import Authentication, KeyRecord

Headers = dict[str, str]


class MemoryKeys:
    """Keys in memory, until the database brings its own."""

    def __init__(self):
        self.records: dict[str, KeyRecord] = {}
        self.rows: list[dict] = []

    async def find_key(self, key_hash: str, /) -> KeyRecord | None:
        return self.records.get(key_hash)

    async def touch_key(self, key_id: UUID, /, *, now: datetime, older_than: datetime) -> None:
        for key_hash, record in self.records.items():
            if record.id == key_id:
                self.records[key_hash] = dataclasses.replace(record, last_used_at=now)

    async def append(self, values, /) -> None:
        self.rows.append(dict(values))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load({"DATA_DIR": str(tmp_path), "PORT": "0", "PACKS_DIR": str(tmp_path / "packs")})


@pytest.fixture
def store() -> MemoryKeys:
    return MemoryKeys()


@pytest.fixture
async def app(settings: Settings, store: MemoryKeys) -> AsyncIterator[Quart]:
    built = create_app(settings)
    here = built.extensions[EXTENSION]
    here.authentication = Authentication(store)
    here.audit._sink = store
    async with built.test_app():
        yield built


@pytest.fixture
def client(app: Quart) -> TestClientProtocol:
    return app.test_client()


@pytest.fixture
def key_for(store: MemoryKeys) -> Callable[..., Headers]:
    """Headers with a new key: `key_for(7, is_admin=…, scopes={…}, community_id=…, roles={(1, "editor")})`."""

    def make(user_id: int, **more) -> Headers:
        key = keys.make(uuid7().bytes + uuid7().bytes, pepper=None)
        facts = {
            "user_name": f"user{user_id}",
            "scopes": frozenset(),
            "community_id": None,
            "is_admin": False,
            "is_active": True,
            "expires_at": None,
            "revoked_at": None,
            "last_used_at": None,
            "roles": frozenset(),
        }
        store.records[key.hash] = KeyRecord(id=uuid7(), user_id=user_id, hash=key.hash, **{**facts, **more})
        return {"X-API-Key": key.text}

    return make


@pytest.fixture
def admin(key_for) -> Headers:
    return key_for(1, is_admin=True)


@pytest.fixture
def alice(key_for) -> Headers:
    return key_for(2)


@pytest.fixture
def bob(key_for) -> Headers:
    return key_for(3)
