"""A database that takes nothing for a while: full or locked (SQLite), refusing connections or read-only (PostgreSQL)."""

from __future__ import annotations

import asyncio
import sqlite3
from typing import Any

from models.dal import AsyncDAL
from tests.support.databases import Databases

KINDS = {"sqlite": ("full", "locked"), "postgres": ("refused", "read_only")}
EVERY = [(engine, kind) for engine, kinds in KINDS.items() for kind in kinds]
READABLE = {"full", "locked", "read_only"}
"""During these, reads go on."""
MOST_PAGES = 4_294_967_294


class Outage:
    """`await begin()` and `await end()`; `db` is the open database of the server under test."""

    def __init__(self, kind: str, url: str, databases: Databases, db: AsyncDAL) -> None:
        self.kind = kind
        self._url = url
        self._databases = databases
        self._db = db
        self._holder: sqlite3.Connection | None = None

    async def begin(self) -> None:
        """From now on nothing is written."""
        await getattr(self, f"_begin_{self.kind}")()

    async def end(self) -> None:
        """All is well again."""
        await getattr(self, f"_end_{self.kind}")()

    # ---- SQLite ----------------------------------------------------------------------------------------------------

    async def _begin_full(self) -> None:
        await self._db.sql("PRAGMA incremental_vacuum")
        await self._db.sql("PRAGMA max_page_count = 1")  # SQLite takes that for "no page more than there are"
        free = await self._db.sql("SELECT freelist_count FROM pragma_freelist_count").scalar()
        assert free == 0, "free pages inside the file are room, too"

    async def _end_full(self) -> None:
        await self._db.sql(f"PRAGMA max_page_count = {MOST_PAGES}")

    async def _begin_locked(self) -> None:
        self._holder = sqlite3.connect("/" + self._url.partition(":////")[2], isolation_level=None)
        self._holder.execute("BEGIN IMMEDIATE")

    async def _end_locked(self) -> None:
        assert self._holder is not None
        self._holder.execute("ROLLBACK")
        self._holder.close()

    # ---- PostgreSQL ------------------------------------------------------------------------------------------------

    @property
    def _name(self) -> str:
        return self._url.rpartition("/")[2].partition("?")[0]

    async def _begin_refused(self) -> None:
        await self._execute(f'ALTER DATABASE "{self._name}" ALLOW_CONNECTIONS false')
        await self._cut()

    async def _end_refused(self) -> None:
        await self._execute(f'ALTER DATABASE "{self._name}" ALLOW_CONNECTIONS true')

    async def _begin_read_only(self) -> None:
        await self._execute(f'ALTER DATABASE "{self._name}" SET default_transaction_read_only = on')
        await self._cut()

    async def _end_read_only(self) -> None:
        """Who connected meanwhile stays read-only until it connects anew: that is for the server to find out."""
        await self._execute(f'ALTER DATABASE "{self._name}" RESET default_transaction_read_only')

    async def _cut(self) -> None:
        await self._execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{self._name}'")

    async def _execute(self, sql: str) -> Any:
        return await asyncio.to_thread(self._databases.server.execute, sql)
