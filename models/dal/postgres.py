"""PostgreSQL behind asyncio: bound parameters through asyncpg, no reset round trip, deadlocks run again."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from models.dal.backend import OnRefused
from models.dal.call import Answer, Op
from models.dal.errors import Full, ReadOnly, Stale
from models.dal.migrate import read_migrations
from models.dal.migrate_postgres import apply
from models.dal.options import Options
from models.dal.postgres_errors import DRIVER_ERRORS, is_lost, is_worth_repeating, translate, translated
from models.dal.postgres_group import How, PostgresLane
from models.dal.postgres_pool import GRACE_S, Connection, Pool, connect
from models.dal.url import PostgresUrl

ATTEMPTS = 8
COLUMNS = (
    "SELECT table_name::text, column_name::text FROM information_schema.columns WHERE table_schema = current_schema()"
)


class Held:
    """An interactive transaction."""

    __slots__ = ("connection", "transaction")

    def __init__(self, connection: Connection, transaction: Any) -> None:
        self.connection = connection
        self.transaction = transaction


class Postgres:
    """The pool of one server."""

    def __init__(self, url: PostgresUrl, options: Options) -> None:
        self._dsn = url.dsn
        self._options = options
        self.pool = Pool(url.dsn, options)
        self._lanes: list[PostgresLane[Any, Any]] = []
        self.on_refused: OnRefused = lambda _: None

    # ------------------------------------------------------------ lifecycle

    async def open(self) -> None:
        """Try one connection. Raises Unavailable when that fails, ReadOnly on a standby; later calls may succeed."""
        self.pool.open()
        answer = (await self.run([("SHOW transaction_read_only", (), None, "rows")], write=False))[0]
        if answer.rows[0][0] == "on":
            raise ReadOnly("the database takes no writes: a standby, or default_transaction_read_only")

    async def close(self) -> None:
        """Close every connection."""
        for lane in self._lanes:
            await lane.close()
        self._lanes.clear()
        await self.pool.close()

    @asynccontextmanager
    async def dedicated(self) -> AsyncIterator[Connection]:
        """A connection outside the pool, for LISTEN or advisory locks."""
        connection = await connect(self._dsn, self._options)
        try:
            yield connection
        finally:
            await connection.close(timeout=GRACE_S)

    # ------------------------------------------------------------ statements

    async def run(
        self, ops: Sequence[Op], *, write: bool, within: Any = None, deadline_s: float | None = None
    ) -> list[Answer]:
        """Run statements as one unit; outside a transaction a deadlock or serialization failure is tried again, and so
        is, once, a read whose connection turned out to be gone."""
        if within is not None:
            return await self._inside(within.connection, ops, deadline_s)
        for attempt in range(ATTEMPTS):
            try:
                return await self._once(ops, write=write, deadline_s=deadline_s)
            except DRIVER_ERRORS as error:
                again = is_worth_repeating(error) or (not write and attempt == 0 and is_lost(error))
                if attempt + 1 == ATTEMPTS or not again:
                    ours = translate(error)
                    if isinstance(ours, Full | ReadOnly):
                        self.on_refused(ours)
                    raise ours from error
            await asyncio.sleep(0.02 * 2**attempt * random.random())  # noqa: S311 - only to part two rivals
        raise AssertionError("unreachable")

    async def _once(self, ops: Sequence[Op], *, write: bool, deadline_s: float | None) -> list[Answer]:
        connection = await self.pool.acquire()
        try:
            if len(ops) == 1 and ops[0][2] is None:
                answers = [await perform(connection, ops[0], deadline_s)]
            else:
                answers = await self._unit(connection, ops, write=write, deadline_s=deadline_s)
        except BaseException as error:
            self.pool.release_after_failure(connection, error)
            raise
        self.pool.release(connection)
        return answers

    async def _unit(
        self, connection: Connection, ops: Sequence[Op], *, write: bool, deadline_s: float | None
    ) -> list[Answer]:
        limit = (deadline_s or self._options.statement_timeout_s) + GRACE_S
        attributes = {} if write else {"isolation": "repeatable_read", "readonly": True}  # one snapshot
        async with asyncio.timeout(limit), connection.transaction(**attributes):
            return [await perform(connection, op, deadline_s) for op in ops]

    async def _inside(self, connection: Connection, ops: Sequence[Op], deadline_s: float | None) -> list[Answer]:
        with translated():
            if len(ops) == 1:
                return [await perform(connection, ops[0], deadline_s)]
            async with connection.transaction():
                return [await perform(connection, op, deadline_s) for op in ops]

    # ------------------------------------------------------------ transactions

    async def begin(self, *, isolation: str | None = None, readonly: bool = False) -> Any:
        """An interactive transaction on a connection of its own."""
        connection = await self.pool.acquire()
        transaction = connection.transaction(isolation=isolation, readonly=readonly)
        with translated(), self._returned_on_failure(connection):
            await transaction.start()
        return Held(connection, transaction)

    async def end(self, handle: Any, *, commit: bool) -> None:
        """Commit or roll back."""
        connection, transaction = handle.connection, handle.transaction
        with translated(), self._returned_on_failure(connection):
            async with asyncio.timeout(self._options.statement_timeout_s + GRACE_S):
                await (transaction.commit() if commit else transaction.rollback())
        self.pool.release(connection)

    @contextmanager
    def _returned_on_failure(self, connection: Connection) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            self.pool.release_after_failure(connection, error)
            raise

    def grouped(self, how: How) -> PostgresLane[Any, Any]:
        """A lane whose members are written together, on a connection of its own."""
        lane: PostgresLane[Any, Any] = PostgresLane(self._dsn, self._options, how)
        lane.on_refused = self.on_refused
        self._lanes.append(lane)
        return lane

    # ------------------------------------------------------------ schema

    async def migrate(self, folder: Path, upto: int | None = None) -> list[str]:
        """Apply what is missing; the names of what was applied."""
        migrations = read_migrations(folder / "postgres", upto)
        async with self.dedicated() as connection:
            return await apply(connection, migrations)

    async def columns(self) -> Mapping[str, set[str]]:
        """Table name to column names."""
        answer = (await self.run([(COLUMNS, (), None, "rows")], write=False))[0]
        found: dict[str, set[str]] = {}
        for table, column in answer.rows:
            found.setdefault(table, set()).add(column)
        return found


async def perform(connection: Connection, op: Op, deadline_s: float | None) -> Answer:
    """Run one statement. Raises Stale when its count is not the expected one."""
    sql, arguments, expected, yields = op
    if yields == "rows":
        rows = await connection.fetch(sql, *arguments, timeout=deadline_s)
        count = len(rows)
    else:
        rows, status = (), await connection.execute(sql, *arguments, timeout=deadline_s)
        last = status.rpartition(" ")[2]
        count = int(last) if last.isdecimal() else 0
    if expected is not None and count != expected:
        raise Stale(expected=expected, found=count)
    return Answer(rows, count)
