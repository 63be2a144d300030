"""A fresh, migrated database per test.

SQLite: a copy of a file that was migrated once. PostgreSQL: a copy of a template, or one that an earlier test has
finished with and whose tables were not altered: emptied, it is as good as new and ten times as fast.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import uuid
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from pathlib import Path
from threading import Thread
from typing import Any

import asyncpg

from models.dal import AsyncDAL, sqlite_url
from tests.support.postgres_cluster import PostgresCluster

ROOT = Path(__file__).parents[2]


FINGERPRINT = """
SELECT md5(string_agg(line, '|' ORDER BY line)) FROM (
    SELECT format('%s.%s %s %s %s', c.relname, a.attname, a.atttypid, a.attnotnull, a.attisdropped) AS line
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid WHERE c.relnamespace = 'public'::regnamespace
    UNION ALL SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'
    UNION ALL SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE connamespace = 'public'::regnamespace
    UNION ALL SELECT md5(prosrc) FROM pg_proc WHERE pronamespace = 'public'::regnamespace
    UNION ALL SELECT tgname FROM pg_trigger
    UNION ALL SELECT format('%s %s', version, sha256) FROM schema_migration
    UNION ALL SELECT nspname FROM pg_namespace WHERE nspname NOT LIKE 'pg!_%' ESCAPE '!'
    UNION ALL SELECT array_to_string(setconfig, ',') FROM pg_db_role_setting
) lines
"""
EMPTY = """
DO $$ DECLARE name text; BEGIN
    SET LOCAL session_replication_role = replica;
    FOR name IN SELECT oid::regclass FROM pg_class
        WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND relname <> 'schema_migration'
    LOOP EXECUTE 'DELETE FROM ' || name; END LOOP;
    FOR name IN SELECT oid::regclass FROM pg_class WHERE relkind = 'S' AND relnamespace = 'public'::regnamespace
    LOOP EXECUTE 'ALTER SEQUENCE ' || name || ' RESTART'; END LOOP;
END $$
"""


class Databases:
    """Makes databases of both kinds; `close` removes what is left."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._templates: dict[tuple[str, Path | None], str] = {}
        self._fingerprints: dict[Path, str] = {}
        self._used: dict[str, Path] = {}  # PostgreSQL databases made from a template
        self._free: list[tuple[str, Path]] = []
        self._server: _Server | None = None

    def create(self, engine: str, migrations: Path | None = ROOT / "migrations") -> str:
        """The URL of a new database with these migrations applied, or of an empty one."""
        name = f"t{uuid.uuid4().hex}"
        if engine == "sqlite":
            return self._create_sqlite(name, migrations)
        return self._create_postgres(name, migrations)

    def drop(self, url: str) -> None:
        """Remove a database."""
        if url.startswith("sqlite"):
            path = "/" + url.partition(":////")[2]
            for suffix in ("", "-wal", "-shm"):
                Path(path + suffix).unlink(missing_ok=True)
            return
        name = url.rpartition("/")[2].partition("?")[0]
        if name in self._used:
            self._free.append((name, self._used.pop(name)))
        else:
            self._forget(name)

    def _forget(self, name: str) -> None:
        self.server.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def close(self) -> None:
        """Remove the templates and stop the server."""
        if self._server is not None:
            if self._server.cluster is None:  # somebody else's server: leave nothing behind
                templates = [name for (engine, _), name in self._templates.items() if engine == "postgres"]
                for name in [*templates, *self._used, *(name for name, _ in self._free)]:
                    self._forget(name)
            self._server.close()

    @property
    def server(self) -> _Server:
        """The PostgreSQL server, started when it is first needed."""
        if self._server is None:
            self._server = _Server()
        return self._server

    def _create_sqlite(self, name: str, migrations: Path | None) -> str:
        path = self._folder / f"{name}.db"
        key = ("sqlite", migrations)
        if migrations is not None:
            if key not in self._templates:
                template = self._folder / f"template-{name}.db"
                _in_thread(lambda: _migrate(sqlite_url(template), migrations))
                self._templates[key] = str(template)
            shutil.copyfile(self._templates[key], path)
        return sqlite_url(path)

    def _create_postgres(self, name: str, migrations: Path | None) -> str:
        key = ("postgres", migrations)
        template = "template1"
        if migrations is not None:
            if key not in self._templates:
                made = f"template_{name}"
                self.server.execute(f'CREATE DATABASE "{made}"')
                self._templates[key] = made
                self.server.do(lambda: _migrate(self.server.dsn(made), migrations))
                self._fingerprints[migrations] = self.server.do(lambda: _reset(self.server.dsn(made)))
            template = self._templates[key]
            cleaned = self._reuse(migrations)
            if cleaned is not None:
                self._used[cleaned] = migrations
                return self.server.dsn(cleaned)
            self._used[name] = migrations
        self.server.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return self.server.dsn(name)

    def _reuse(self, migrations: Path) -> str | None:
        """A database that an earlier test has finished with, emptied; None when there is none as good as new."""
        for candidate in [entry for entry in self._free if entry[1] == migrations]:
            self._free.remove(candidate)
            if self._emptied(candidate[0]) == self._fingerprints[migrations]:
                return candidate[0]
            self._forget(candidate[0])
        return None

    def _emptied(self, name: str) -> str:
        self.server.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
        try:
            return str(self.server.do(lambda: _reset(self.server.dsn(name))))
        except asyncpg.PostgresError:
            return "it cannot be emptied"


class _Server:
    """The server under test and one connection for CREATE DATABASE, on a loop of its own."""

    def __init__(self) -> None:
        given = os.environ.get("POSTGRES_TEST_DSN")
        self.cluster = None if given else PostgresCluster()
        self._dsn = given or self.cluster.dsn()  # type: ignore[union-attr]  # one of them is there
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._connection = self.do(lambda: asyncpg.connect(self._dsn))

    def dsn(self, database: str) -> str:
        base, _, query = self._dsn.partition("?")
        scheme, _, rest = base.partition("://")
        return f"{scheme}://{rest.partition('/')[0]}/{database}" + (f"?{query}" if query else "")

    def execute(self, sql: str) -> None:
        self.do(lambda: self._connection.execute(sql))

    def value(self, sql: str) -> Any:
        return self.do(lambda: self._connection.fetchval(sql))

    def do(self, work: Callable[[], Awaitable[Any]]) -> Any:
        async def run() -> Any:
            return await work()

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(120)

    def close(self) -> None:
        self.do(self._connection.close)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()
        if self.cluster is not None:
            self.cluster.stop()


async def _migrate(url: str, migrations: Path) -> None:
    async with AsyncDAL(url) as db:
        await db.migrate(migrations)


async def _reset(dsn: str) -> str:
    """Delete every row; what the database looks like then."""
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(EMPTY)
        return str(await connection.fetchval(FINGERPRINT))
    finally:
        await connection.close()


def _in_thread(work: Callable[[], Any]) -> None:
    """Run a coroutine away from the test's own loop."""
    done: Future[None] = Future()

    def run() -> None:
        try:
            done.set_result(asyncio.run(work()))
        except BaseException as error:
            done.set_exception(error)

    thread = Thread(target=run)
    thread.start()
    thread.join()
    done.result()
