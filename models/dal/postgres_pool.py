"""Connections to PostgreSQL, handed out without a round trip.

asyncpg's own pool resets a connection on every release and runs each release in a task; both cost more than a short
query. Nothing here changes session state, so nothing needs resetting; a connection left in a transaction is dropped.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import Any

import asyncpg
import orjson

from models.dal.codecs import dump_json
from models.dal.errors import Unavailable
from models.dal.options import Options
from models.dal.postgres_errors import DRIVER_ERRORS, spoils_connection, translate

Connection = Any  # asyncpg.Connection, untyped
SETTLE_S = 1.0  # a cancelled statement has this long to stop before its connection is dropped
GRACE_S = 5.0  # the server stops a statement first; we stop waiting this much later


def _settings(options: Options) -> dict[str, str]:
    settings = {"application_name": options.application_name, "timezone": "UTC"}
    if not options.pgbouncer:  # it refuses start-up parameters that it does not track
        settings |= {
            "statement_timeout": str(int(options.statement_timeout_s * 1000)),
            "idle_in_transaction_session_timeout": "60000",
            "client_connection_check_interval": "1000",  # ms: a dropped connection ends its statement
            "jit": "off",  # compiling costs more than any of our queries
        }
    return settings


def _jsonb(value: Any) -> bytes:
    return b"\x01" + orjson.dumps(value)


def _from_jsonb(data: bytes) -> Any:
    return orjson.loads(data[1:])


async def connect(dsn: str, options: Options) -> Connection:
    """One connection with our settings and codecs. Raises Unavailable when the server cannot be reached."""
    try:
        async with asyncio.timeout(options.connect_timeout_s):
            connection = await asyncpg.connect(
                dsn,
                timeout=options.connect_timeout_s,
                command_timeout=options.statement_timeout_s + GRACE_S,
                statement_cache_size=0 if options.pgbouncer else 256,
                max_cached_statement_lifetime=0,
                server_settings=_settings(options),
            )
            return await _with_codecs(connection)
    except DRIVER_ERRORS as error:
        ours = translate(error)
        if type(ours) is Unavailable:
            raise ours from error
        raise Unavailable(f"PostgreSQL cannot be reached: {error or type(error).__name__}") from error


async def _with_codecs(connection: Connection) -> Connection:
    try:
        await connection.set_type_codec("json", encoder=dump_json, decoder=orjson.loads, schema="pg_catalog")
        await connection.set_type_codec(
            "jsonb", encoder=_jsonb, decoder=_from_jsonb, schema="pg_catalog", format="binary"
        )
    except BaseException:
        connection.terminate()
        raise
    return connection


class Pool:
    """At most `pool_size` connections, opened when they are needed, last used first."""

    def __init__(self, dsn: str, options: Options) -> None:
        self._dsn = dsn
        self._options = options
        self._idle: list[Connection] = []
        self._out: set[Connection] = set()
        self._opening = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._settling: set[asyncio.Task[None]] = set()
        self._closed = True

    def open(self) -> None:
        """Allow connections."""
        self._closed = False

    @property
    def checked_out(self) -> int:
        """How many connections are in use now."""
        return len(self._out)

    async def acquire(self) -> Connection:
        """A connection. Raises Unavailable when none comes free in time or the server cannot be reached."""
        while True:
            if self._closed:
                raise Unavailable("the database is closed")
            while self._idle:
                connection = self._idle.pop()
                if not connection.is_closed():
                    self._out.add(connection)
                    return connection
            if len(self._out) + self._opening < self._options.pool_size:
                return await self._open()
            await self._turn()

    async def _open(self) -> Connection:
        self._opening += 1
        try:
            connection = await connect(self._dsn, self._options)
        except BaseException:
            self._opening -= 1
            self._wake()
            raise
        self._opening -= 1
        self._out.add(connection)
        return connection

    async def _turn(self) -> None:
        """Wait until a place may be free."""
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        self._waiting.append(future)
        timer = loop.call_later(self._options.acquire_timeout_s, _too_late, future)
        try:
            await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                self._wake()  # our turn goes to the next one
            raise
        finally:
            timer.cancel()

    def _wake(self) -> None:
        while self._waiting:
            future = self._waiting.popleft()
            if not future.done():
                future.set_result(None)
                return

    def release(self, connection: Connection) -> None:
        """Give a connection back after a clean end; one left in a transaction is dropped."""
        self._out.discard(connection)
        if self._closed or connection.is_closed() or connection.is_in_transaction():
            if not connection.is_closed():
                connection.terminate()
        else:
            self._idle.append(connection)
        self._wake()

    def release_after_failure(self, connection: Connection, error: BaseException) -> None:
        """Give a connection back after an error; when a statement may still be running, only once it is quiet."""
        if spoils_connection(error):
            connection.terminate()
            self._drop_idle()
        if connection.is_closed() or not isinstance(error, asyncio.CancelledError | TimeoutError):
            self.release(connection)
            return
        task = asyncio.get_running_loop().create_task(self._settle(connection))
        self._settling.add(task)  # the pool owns it until it is done
        task.add_done_callback(self._settling.discard)

    def _drop_idle(self) -> None:
        """What befell one connection may have befallen those that rest, too."""
        idle, self._idle = self._idle, []
        for connection in idle:
            connection.terminate()

    async def _settle(self, connection: Connection) -> None:
        """asyncpg has asked the server to cancel; wait for that, or drop the connection."""
        try:
            async with asyncio.timeout(SETTLE_S):
                await connection.execute("SELECT 1")
        except DRIVER_ERRORS:
            connection.terminate()
        finally:
            self.release(connection)

    async def close(self) -> None:
        """Close every connection; those in use are dropped after a moment."""
        self._closed = True
        for future in self._waiting:
            if not future.done():
                future.set_exception(Unavailable("the database is closed"))
        self._waiting.clear()
        if self._settling:
            await asyncio.wait(self._settling, timeout=GRACE_S)
        idle, self._idle = self._idle, []
        for connection in idle:
            with contextlib.suppress(*DRIVER_ERRORS):
                await connection.close(timeout=GRACE_S)
        for connection in list(self._out):
            connection.terminate()


def _too_late(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_exception(Unavailable("all database connections are busy"))
