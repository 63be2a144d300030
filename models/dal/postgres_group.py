"""A grouped writer on PostgreSQL: what waits goes through one connection in one transaction.

The round in flight belongs to a task of the lane, so a cancelled waiter never breaks it. A connection that fails is
opened again for the next round; whoever waited in the failed one gets Unavailable and does not know whether it
was committed.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from models.dal.backend import OnRefused
from models.dal.errors import Full, ReadOnly, Unavailable
from models.dal.options import Options
from models.dal.postgres_errors import DRIVER_ERRORS, is_refusal, is_worth_repeating, spoils_connection, translate
from models.dal.postgres_pool import GRACE_S, Connection, connect

M = TypeVar("M")
R = TypeVar("R")
GroupFunction = Callable[[Connection, Sequence[Any]], Awaitable[Sequence[Any]]]
ATTEMPTS = 3


class Single(Protocol):
    """How a round is written as one statement, which is its own transaction, by members that fit into it."""

    def fits(self, member: Any) -> bool:
        """Whether this member can be written so."""
        ...

    def statement(self, members: Sequence[Any]) -> tuple[str, Sequence[Any]]:
        """The text and its values. When the server refuses it, the round is written the other way."""
        ...

    def outcomes(self, members: Sequence[Any], rows: Sequence[Any]) -> Sequence[Any]:
        """One outcome for each member."""
        ...


Waiting = tuple["asyncio.Future[Any]", Any]


@dataclass(frozen=True, slots=True)
class How:
    """How the members of a lane are written: `limit` at a time, by a function, and where they fit by one statement."""

    function: GroupFunction
    limit: int
    single: Single | None = None


class PostgresLane(Generic[M, R]):
    """Collects members for the next round."""

    def __init__(self, dsn: str, options: Options, how: How) -> None:
        self._dsn = dsn
        self._options = options
        self._function = how.function
        self._single = how.single
        self._limit = how.limit
        self._waiting: deque[Waiting] = deque()
        self._task: asyncio.Task[None] | None = None
        self._connection: Connection | None = None
        self._closed = False
        self.on_refused: OnRefused = lambda _: None

    async def submit(self, member: M) -> R:
        """The outcome of this member, after COMMIT."""
        if self._closed:
            raise Unavailable("the database is closed")
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        self._waiting.append((future, member))
        if self._task is None:
            self._task = loop.create_task(self._drain())  # owned by the lane, awaited in close()
        outcome: R = await future
        return outcome

    async def close(self) -> None:
        """Finish the rounds that were asked for, then close the connection."""
        self._closed = True
        if self._task is not None:
            await asyncio.wait([self._task], timeout=self._options.statement_timeout_s + GRACE_S)
        await self._drop()

    async def _drain(self) -> None:
        taken: list[Waiting] = []
        try:
            while self._waiting:
                taken = [self._waiting.popleft() for _ in range(min(self._limit, len(self._waiting)))]
                for members in self._parted([waiting for waiting in taken if not waiting[0].done()]):
                    await self._round(members)
        except BaseException as error:  # the lane ends: nobody may be left waiting
            for future, _ in [*taken, *self._waiting]:
                _fail(future, Unavailable(f"the grouped writer ended: {error!r}"))
            self._waiting.clear()
            raise
        finally:
            self._task = None

    def _parted(self, members: list[Waiting]) -> list[list[Waiting]]:
        """Those that one statement can write, and the others."""
        if self._single is None:
            return [members]
        fitting: list[Waiting] = []
        others: list[Waiting] = []
        for waiting in members:
            (fitting if self._single.fits(waiting[1]) else others).append(waiting)
        return [fitting, others]

    async def _round(self, members: Sequence[Waiting]) -> None:
        if not members:
            return
        try:
            outcomes = await self._repeated([member for _, member in members])
        except Exception as error:  # noqa: BLE001 - it is a member's, and is raised there
            await self._failed(members, error)
            return
        for (future, _), outcome in zip(members, outcomes, strict=True):
            if isinstance(outcome, BaseException):
                _fail(future, translate(outcome))
            elif not future.done():
                future.set_result(outcome)

    async def _failed(self, members: Sequence[Waiting], error: Exception) -> None:
        ours = translate(error)
        if len(members) > 1 and not isinstance(ours, Unavailable):
            for waiting in members:  # one of them is to blame: each alone
                await self._round([waiting])
            return
        if isinstance(ours, Full | ReadOnly):
            self.on_refused(ours)
        for future, _ in members:
            _fail(future, ours)

    async def _repeated(self, members: Sequence[Any]) -> Sequence[Any]:
        for attempt in range(ATTEMPTS):
            try:
                return await self._transaction(members)
            except Exception as error:
                if attempt + 1 == ATTEMPTS or not is_worth_repeating(error):
                    raise
        raise AssertionError("unreachable")

    async def _transaction(self, members: Sequence[Any]) -> Sequence[Any]:
        began = time.monotonic()
        try:
            async with asyncio.timeout(self._options.statement_timeout_s + GRACE_S):
                if self._connection is None or self._connection.is_closed():
                    self._connection = await connect(self._dsn, self._options)
                outcomes = await self._at_once(self._connection, members)
                if outcomes is None:
                    async with self._connection.transaction():
                        outcomes = await self._outcomes(self._connection, members)
        except BaseException as error:
            if isinstance(error, TimeoutError | asyncio.CancelledError | OSError) or spoils_connection(error):
                await self._drop()
            raise
        if self._options.on_commit is not None:
            self._options.on_commit(time.monotonic() - began)
        return outcomes

    async def _at_once(self, connection: Connection, members: Sequence[Any]) -> Sequence[Any] | None:
        """The outcomes of a round that was written as one statement; None when it cannot be, or was refused."""
        single = self._single
        if single is None or not single.fits(members[0]):  # they were parted: all fit, or none
            return None
        text, values = single.statement(members)
        try:
            rows = await connection.fetch(text, *values)
        except DRIVER_ERRORS as error:
            if not is_refusal(error):
                raise
            return None
        return single.outcomes(members, rows)

    async def _outcomes(self, connection: Connection, members: Sequence[Any]) -> Sequence[Any]:
        outcomes = await self._function(connection, members)
        if len(outcomes) != len(members):
            raise RuntimeError(f"{len(members)} members, but {len(outcomes)} outcomes")
        return outcomes

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None and not connection.is_closed():
            connection.terminate()


def _fail(future: asyncio.Future[Any], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
