"""W=dal: what the data layer costs over the bare drivers.

`python -m bench.dal`: PostgreSQL (its own, with fsync) against raw asyncpg and pyDAL in threads, SQLite with and
without group commit. Contestants take turns in short slices, three runs; under a minute in all.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from operator import truediv
from pathlib import Path
from statistics import geometric_mean
from typing import Any

import asyncpg

from bench.report import Figure, report
from models.dal import AsyncDAL, Field, Options
from models.records import uuid7
from tests.support.postgres_cluster import PostgresCluster

RUNS = 3
TURNS = 7  # slices in a run, the contestants in turn; the best one counts, as the least disturbed
SLICE_S = 0.06
POOL = 12
ROWS = 2000
T0 = datetime(2026, 1, 1, tzinfo=UTC)
KEYS = [uuid.UUID(int=n) for n in range(ROWS)]
Operation = Callable[[int], Awaitable[Any]]
Contestant = dict[str, Operation]

COLUMNS = "id, ref, title, n, score, active, meta, tags, created, version"
TABLE = (
    "CREATE TABLE work (id uuid PRIMARY KEY, ref text NOT NULL UNIQUE, title text NOT NULL, n bigint, score float8,"
    " active boolean NOT NULL, meta jsonb, tags text[] NOT NULL DEFAULT '{}', created timestamptz NOT NULL, version bigint NOT NULL)"
)
SQLITE_TABLE = (
    "CREATE TABLE work (id TEXT PRIMARY KEY NOT NULL, ref TEXT NOT NULL UNIQUE, title TEXT NOT NULL, n INTEGER,"
    " score REAL, active INTEGER NOT NULL, meta TEXT, tags TEXT NOT NULL, created TEXT NOT NULL,"
    " version INTEGER NOT NULL) STRICT"
)


def declare(db: AsyncDAL) -> AsyncDAL:
    db.define_table(
        "work",
        Field("id", "uuid"),
        Field("ref"),
        Field("title", "text"),
        Field("n", "integer"),
        Field("score", "double"),
        Field("active", "boolean"),
        Field("meta", "json"),
        Field("tags", "list:string"),
        Field("created", "timestamptz"),
        Field("version", "integer"),
        primarykey=["id"],
    )
    return db


def columns(key: uuid.UUID) -> dict[str, Any]:
    return {
        "id": key,
        "ref": str(key),
        "title": "a title of some length",
        "n": key.int % 100,
        "score": 1.5,
        "active": True,
        "meta": {"k": [1, 2, 3]},
        "tags": ["a", "b"],
        "created": T0,
        "version": 0,
    }


async def rate(operation: Operation, clients: int, slice_s: float = SLICE_S) -> float:
    """Operations per second of a closed loop."""
    numbers, done = itertools.count(), 0
    until = time.perf_counter() + slice_s

    async def client() -> None:
        nonlocal done
        while time.perf_counter() < until:
            await operation(next(numbers))
            done += 1

    began = time.perf_counter()
    await asyncio.gather(*[client() for _ in range(clients)])
    return done / (time.perf_counter() - began)


# ---------------------------------------------------------------- contestants


@asynccontextmanager
async def raw_asyncpg(dsn: str) -> AsyncIterator[Contestant]:
    """asyncpg as fast as it goes: its own pool, without the reset round trip."""

    async def no_reset(_: Any) -> None:
        pass

    async def codecs(connection: Any) -> None:
        import orjson

        await connection.set_type_codec(
            "jsonb", encoder=lambda v: orjson.dumps(v).decode(), decoder=orjson.loads, schema="pg_catalog"
        )

    insert = f"INSERT INTO work ({COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"
    one = f"SELECT {COLUMNS} FROM work WHERE id = $1"
    page = f"SELECT {COLUMNS} FROM work WHERE n = $1 ORDER BY created DESC, id DESC LIMIT $2"
    pool = await asyncpg.create_pool(
        dsn, min_size=POOL, max_size=POOL, reset=no_reset, init=codecs, max_cached_statement_lifetime=0
    )
    async with pool:
        yield {
            "insert": lambda _: pool.execute(insert, *columns(uuid7()).values()),
            "key": lambda n: pool.fetchrow(one, KEYS[n % ROWS]),
            "page": lambda n: pool.fetch(page, n % 100, 20),
        }


@asynccontextmanager
async def compiled(dsn: str) -> AsyncIterator[Contestant]:
    """AsyncDAL with queries declared once."""
    async with declare(AsyncDAL(dsn, Options(pool_size=POOL))) as db:
        w = db.work
        put = db.compiled(
            lambda id, ref, title, n, score, active, meta, tags, created, version: w.insert(  # noqa: A006
                id=id, ref=ref, title=title, n=n, score=score, active=active, meta=meta, tags=tags,
                created=created, version=version,
            )
        )  # fmt: skip
        one = db.compiled(w.__call__)
        page = db.compiled(lambda n, limit: db(w.n == n).select(orderby=~w.created | ~w.id, limit=limit))
        yield {
            "insert": lambda _: put(*columns(uuid7()).values()),
            "key": lambda n: one(KEYS[n % ROWS]),
            "page": lambda n: page(n % 100, 20),
        }


@asynccontextmanager
async def expressions(dsn: str) -> AsyncIterator[Contestant]:
    """AsyncDAL with queries written where they are used."""
    async with declare(AsyncDAL(dsn, Options(pool_size=POOL))) as db:
        w = db.work
        yield {
            "insert": lambda _: w.insert(**columns(uuid7())),
            "key": lambda n: w(KEYS[n % ROWS]),
            "page": lambda n: db(w.n == n % 100).select(orderby=~w.created | ~w.id, limit=20),
        }


class PlainDatabases(threading.local):
    """pyDAL as it comes, on psycopg2: each thread has a connection and declarations of its own."""

    def __init__(self, dsn: str) -> None:
        import psycopg2  # noqa: F401 - pyDAL's driver for PostgreSQL: pip install '.[bench]'
        from pydal import DAL
        from pydal import Field as PlainField

        self.db = DAL(dsn.replace("postgresql://", "postgres:psycopg2://"), migrate=False, attempts=1)
        types = {"id": "string", "ref": "string", "title": "text", "n": "bigint", "score": "double"}
        types |= {"active": "boolean", "meta": "json", "created": "datetime", "version": "bigint"}
        self.db.define_table("work", *itertools.starmap(PlainField, types.items()), primarykey=["id"])

    def insert(self, _: int) -> None:
        values = columns(uuid7())
        values.pop("tags")  # it has no type for text[]
        self.db.work.insert(**{**values, "id": str(values["id"]), "created": T0.replace(tzinfo=None)})
        self.db.commit()

    def key(self, n: int) -> Any:
        row = self.db(self.db.work.id == str(KEYS[n % ROWS])).select().first()
        self.db.commit()
        return row

    def page(self, n: int) -> Any:
        w = self.db.work
        rows = self.db(w.n == n % 100).select(orderby=~w.created | ~w.id, limitby=(0, 20))
        self.db.commit()
        return rows


@asynccontextmanager
async def pydal_threads(dsn: str) -> AsyncIterator[Contestant]:
    """pyDAL in a thread pool."""
    plain, loop = PlainDatabases(dsn), asyncio.get_running_loop()
    with ThreadPoolExecutor(POOL) as threads:
        yield {
            name: (lambda n, work=work: loop.run_in_executor(threads, work, n))
            for name, work in (("insert", plain.insert), ("key", plain.key), ("page", plain.page))
        }


# ---------------------------------------------------------------- workloads


async def in_turns(contestants: dict[str, Contestant], operation: str, clients: int) -> dict[str, list[float]]:
    """Three runs; in each the contestants alternate in short slices."""
    rates: dict[str, list[float]] = {name: [] for name in contestants}
    for contestant in contestants.values():
        await rate(contestant[operation], clients)
    for _ in range(RUNS):
        slices: dict[str, list[float]] = {name: [] for name in contestants}
        for _ in range(TURNS):
            for name, contestant in contestants.items():
                slices[name].append(await rate(contestant[operation], clients))
        for name, seen in slices.items():
            rates[name].append(max(seen))
    return rates


async def on_postgres(dsn: str) -> bool:
    """Against raw asyncpg and against pyDAL in threads."""
    ok, gains = True, []
    async with (
        raw_asyncpg(dsn) as raw,
        compiled(dsn) as fast,
        expressions(dsn) as plain,
        pydal_threads(dsn) as threads,
    ):
        for operation, clients in itertools.product(("key", "page", "insert"), (1, 64)):
            contestants = {"raw": raw, "compiled": fast, "expressions": plain}
            if clients > 1:
                contestants["threads"] = threads
            rates = await in_turns(contestants, operation, clients)
            name = f"dal/postgres/{operation}/c{clients}"
            against_raw = {"unit": "1/s", "ceilings": rates["raw"]}
            ok &= report(Figure(workload=f"{name}/compiled:asyncpg", runs=rates["compiled"], bar=0.85, **against_raw))
            report(Figure(workload=f"{name}/expressions:asyncpg", runs=rates["expressions"], **against_raw))
            if clients > 1:
                gains.append(list(map(truediv, rates["compiled"], rates["threads"])))
                figure = Figure(
                    workload=f"{name}/compiled:pydal-threads",
                    runs=rates["compiled"],
                    unit="1/s",
                    ceilings=rates["threads"],
                )
                report(figure)
    overall = [geometric_mean(run) for run in zip(*gains, strict=True)]
    return report(Figure(workload="dal/postgres/compiled:pydal-threads", unit="x", runs=overall, bar=3.0)) and ok


async def on_sqlite(folder: Path) -> bool:
    """64 writers, each insert durable before it is answered."""
    databases = {}
    for name, limit in (("single", 1), ("grouped", 256)):
        db = declare(AsyncDAL(f"sqlite:///{folder}/{name}.db", Options(group_limit=limit)))
        await db.open()
        await db.sql(SQLITE_TABLE)
        put = db.compiled(
            lambda id, ref, title, n, score, active, meta, tags, created, version, w=db.work: w.insert(  # noqa: A006
                id=id, ref=ref, title=title, n=n, score=score, active=active, meta=meta, tags=tags,
                created=created, version=version,
            )
        )  # fmt: skip
        databases[name] = (db, {"insert": lambda _, put=put: put(*columns(uuid7()).values())})
    rates = await in_turns({name: operations for name, (_, operations) in databases.items()}, "insert", 64)
    for db, _ in databases.values():
        await db.close()
    figure = Figure(
        workload="dal/sqlite/insert/c64/grouped:single", unit="1/s", runs=rates["grouped"], ceilings=rates["single"],
        bar=5.0,
    )  # fmt: skip
    return report(figure)


async def main() -> bool:
    """Every figure; whether all reach their bars."""
    with tempfile.TemporaryDirectory(prefix="millrace-bench-") as folder:
        ok = await on_sqlite(Path(folder))
    cluster = PostgresCluster()
    try:
        connection = await asyncpg.connect(cluster.dsn())
        await connection.execute(TABLE)
        await connection.execute("CREATE INDEX work_page ON work (n, created DESC, id DESC)")
        async with declare(AsyncDAL(cluster.dsn())) as db:
            for start in range(0, ROWS, 500):
                await db.batch(*[db.work.insert(**columns(key)) for key in KEYS[start : start + 500]])
        await connection.execute("VACUUM ANALYZE work")
        await connection.close()
        return await on_postgres(cluster.dsn()) and ok
    finally:
        cluster.stop()


if __name__ == "__main__":
    sys.exit(0 if asyncio.run(main()) else 1)
