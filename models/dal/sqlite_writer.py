"""The one writer of a SQLite file: everything that waits shares one transaction and one fsync.

Nobody is answered before COMMIT. A failing member undoes only itself. When SQLite gives the whole transaction up (full
disk, interrupted statement), every member is tried alone. After an I/O error the file is reopened once; a second one
in a row ends the lane.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import queue
import sqlite3
import time
from collections.abc import Callable, Sequence
from typing import Any

from models.dal.call import Answer
from models.dal.errors import DeadlineExceeded, Unavailable
from models.dal.sqlite_errors import is_broken, translate
from models.dal.sqlite_lane import Inbox, Job, Lane, Opener, Outcome, Stop

GroupFunction = Callable[["Round", Sequence[Any]], Sequence[Any]]


class Group:
    """Whose members are written together: by this function, at most `limit` in one call."""

    __slots__ = ("function", "limit")

    def __init__(self, function: GroupFunction, limit: int) -> None:
        self.function = function
        self.limit = limit


class Member:
    """One participant of a grouped round."""

    __slots__ = ("ends_at", "future", "group", "value")

    def __init__(self, future: asyncio.Future[Any], group: Group, value: Any, ends_at: float) -> None:
        self.future = future
        self.group = group
        self.value = value
        self.ends_at = ends_at


class End:
    """Commit or roll back an interactive transaction."""

    __slots__ = ("commit", "future")

    def __init__(self, future: asyncio.Future[Any], *, commit: bool) -> None:
        self.future = future
        self.commit = commit


class Held:
    """An interactive transaction: it has the writer for itself until it ends or falls silent."""

    def __init__(self, loop: asyncio.AbstractEventLoop, idle_s: float) -> None:
        self.future: asyncio.Future[Any] = loop.create_future()
        self.inbox = Inbox(loop)
        self.idle_s = idle_s


class Lost(Exception):
    """The transaction is gone, with everything in it."""


class Round:
    """The shared transaction as a grouped function sees it; SQL and values are SQLite's own."""

    __slots__ = ("_connection",)

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def fetch(self, sql: str, arguments: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """The rows of a statement."""
        return self._connection.execute(sql, arguments).fetchall()

    def change(self, sql: str, arguments: Sequence[Any] = ()) -> int:
        """Run a statement; how many rows it changed."""
        return max(self._connection.execute(sql, arguments).rowcount, 0)

    def each(self, sql: str, rows: Sequence[Sequence[Any]]) -> list[int]:
        """One statement for many rows of arguments; how many rows each of them changed.

        Each may change at most one row: as long as all do, it costs one executemany.
        """
        if len(rows) < 2:
            return [self.change(sql, row) for row in rows]
        self._connection.execute("SAVEPOINT each")
        if self._connection.executemany(sql, rows).rowcount == len(rows):
            counts = [1] * len(rows)
        else:
            self._connection.execute("ROLLBACK TO each")
            counts = [self.change(sql, row) for row in rows]
        self._connection.execute("RELEASE each")
        return counts


class Writer(Lane):
    """Groups commits."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, opener: Opener, limit: int, on_fatal: Callable[[BaseException], None]
    ) -> None:
        super().__init__("writer", loop, opener, limit)
        self._loop = loop
        self._on_fatal = on_fatal
        self._failures = 0  # I/O errors in a row
        self.on_commit: Callable[[float], None] | None = None

    def die(self, error: BaseException) -> None:
        """Tell whoever decides about the process, then fail everybody. What could not even be opened may be tried again."""
        if self.opened:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._on_fatal, error)
        super().die(error)

    def _take(self) -> Any:
        taken, more = self.taken, self.inbox.get_nowait
        taken.append(self.inbox.get())
        self.busy_since = time.monotonic()
        try:
            while len(taken) < self._limit and not isinstance(taken[-1], Held | Stop):
                taken.append(more())
        except queue.Empty:
            pass
        return taken[-1]

    def _work(self, items: list[Any]) -> None:
        held = items[-1] if isinstance(items[-1], Held) else None
        members = [item for item in items if item is not held and not item.future.cancelled()]
        if members:
            self._round(members)
        if held is not None and not held.future.cancelled():
            self._hold(held)

    # ------------------------------------------------------------ rounds

    def _round(self, items: list[Any]) -> None:
        try:
            try:
                outcomes = self._commit(items)
            except Lost as lost:
                outcomes = self._one_by_one(items, lost)
        except sqlite3.Error as error:  # the file cannot be written: what was committed is unknown
            self._reopen(error)
            self.inbox.answer([(item.future, None, translate(error)) for item in items])
        else:
            self.inbox.answer(outcomes)

    def _one_by_one(self, items: list[Any], lost: Lost) -> list[Outcome]:
        """Each in a transaction of its own; one that was alone already has its answer."""
        if len(items) == 1:
            return [(items[0].future, None, translate(lost.__cause__ or lost))]
        outcomes = []
        for item in items:
            try:
                outcomes.extend(self._commit([item]))
            except Lost as again:
                outcomes.extend(self._one_by_one([item], again))
        return outcomes

    def _commit(self, items: list[Any]) -> list[Outcome]:
        """One transaction for all. Raises Lost when it is gone, sqlite3.Error when the file is broken."""
        execute = self.connection.execute
        try:
            execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            if is_broken(error):
                raise
            return [(item.future, None, translate(error)) for item in items]
        try:
            outcomes = self._perform_all(items)
            execute("COMMIT")
        except sqlite3.Error as error:
            self._rollback()
            if is_broken(error):
                raise
            raise Lost from error
        self._failures = 0
        if self.on_commit is not None and self.busy_since is not None:
            self.on_commit(time.monotonic() - self.busy_since)
        return outcomes

    def _perform_all(self, items: list[Any]) -> list[Outcome]:
        if len(items) == 1 and type(items[0]) is Job:
            return [self._unit(items[0], nested=False)]
        jobs: list[Job] = []
        groups: dict[Group, list[Member]] = {}
        for item in items:
            if type(item) is Job:
                jobs.append(item)
            else:
                groups.setdefault(item.group, []).append(item)
        outcomes: list[Outcome] = []
        for sql, run in itertools.groupby(jobs, _insert_text):  # neighbours only: their order stays
            neighbours = list(run)
            if sql is not None and len(neighbours) > 1:
                outcomes += self._inserts(sql, neighbours)
            else:
                outcomes += [self._unit(job, nested=True) for job in neighbours]
        for group, members in groups.items():
            nested = len(members) < len(items) or len(members) > group.limit
            for start in range(0, len(members), group.limit):
                outcomes += self._group(group.function, members[start : start + group.limit], nested=nested)
        return outcomes

    def _inserts(self, sql: str, jobs: list[Job]) -> list[Outcome]:
        """The same insert several times; when one fails, each of them again."""
        execute = self.connection.execute
        execute("SAVEPOINT inserts")
        self.deadline.at = min(job.ends_at for job in jobs)
        try:
            self.connection.executemany(sql, [job.ops[0][1] for job in jobs])
            execute("RELEASE inserts")
        except Exception as error:  # noqa: BLE001 - whose it is shows when each is alone
            self._keep_transaction(error)
            execute("ROLLBACK TO inserts")
            execute("RELEASE inserts")
            return [self._unit(job, nested=True) for job in jobs]
        finally:
            self.deadline.at = float("inf")
        return [(job.future, [Answer((), 1)], None) for job in jobs]

    def _unit(self, job: Job, *, nested: bool) -> Outcome:
        """A plain job. Only several statements, or an expectation, need a savepoint to be undone."""
        execute = self.connection.execute
        guarded = nested and (len(job.ops) > 1 or job.ops[0][2] is not None)
        try:
            if guarded:
                execute("SAVEPOINT unit")
            answers = self.perform(job)
            if guarded:
                execute("RELEASE unit")
        except Exception as error:  # noqa: BLE001 - it is the caller's, and is raised there
            self._keep_transaction(error)
            if guarded:
                execute("ROLLBACK TO unit")
                execute("RELEASE unit")
            elif not nested:
                execute("ROLLBACK")
                execute("BEGIN")
            return job.future, None, translate(error, self.connection)
        return job.future, answers, None

    def _group(self, function: GroupFunction, members: list[Member], *, nested: bool) -> list[Outcome]:
        """A grouped function over its members; when it raises, over each of them alone.

        Not `nested`: nothing else is in the transaction, so that it needs no savepoint.
        """
        execute = self.connection.execute
        if nested:
            execute("SAVEPOINT grouped")
        self.deadline.at = max(member.ends_at for member in members)
        try:
            results = self._results(function, members)
            if nested:
                execute("RELEASE grouped")
        except Exception as error:  # noqa: BLE001 - it is a member's, and is raised there
            self._keep_transaction(error)
            self._take_back(nested=nested)
            if len(members) == 1:
                return [(members[0].future, None, translate(error, self.connection))]
            return [outcome for member in members for outcome in self._group(function, [member], nested=True)]
        finally:
            self.deadline.at = float("inf")
        return [_outcome(member, result) for member, result in zip(members, results, strict=True)]

    def _take_back(self, *, nested: bool) -> None:
        """Undo a group, and be where it began."""
        if nested:
            self.connection.execute("ROLLBACK TO grouped")
            self.connection.execute("RELEASE grouped")
        else:
            self.connection.execute("ROLLBACK")
            self.connection.execute("BEGIN IMMEDIATE")

    def _results(self, function: GroupFunction, members: list[Member]) -> Sequence[Any]:
        if self.deadline.passed():
            raise DeadlineExceeded("the round waited longer than its deadline")
        results = function(Round(self.connection), [member.value for member in members])
        if len(results) != len(members):
            raise RuntimeError(f"{len(members)} members, but {len(results)} outcomes")
        return results

    def _keep_transaction(self, error: Exception) -> None:
        """Go on only while the transaction is there and the file can be written."""
        if is_broken(error):
            raise error
        if not self.connection.in_transaction:
            raise Lost from error

    def _rollback(self) -> None:
        if self.connection.in_transaction:
            self.connection.execute("ROLLBACK")

    def _reopen(self, error: BaseException) -> None:
        self._failures += 1
        if self._failures > 1:
            raise error
        self.connection.close()
        self.connection, self.deadline = self._opener()

    # ------------------------------------------------------------ interactive transactions

    def _hold(self, held: Held) -> None:
        self.taken = [held]
        try:
            self.connection.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            if is_broken(error):
                self._reopen(error)
            self.inbox.answer([(held.future, None, translate(error))])
            return
        self.inbox.answer([(held.future, True, None)])
        try:
            self._converse(held)
        finally:
            held.inbox.close("the transaction has ended")

    def _converse(self, held: Held) -> None:
        while True:
            self.busy_since = None
            try:
                item = held.inbox.get(timeout=held.idle_s)
            except queue.Empty:
                self._rollback()
                held.inbox.close(f"the transaction was silent for {held.idle_s} s and has been rolled back")
                return
            self.busy_since, self.taken = time.monotonic(), [item]
            if isinstance(item, End):
                self._end(item)
                return
            held.inbox.answer([self._step(item)])

    def _step(self, job: Job) -> Outcome:
        if not self.connection.in_transaction:
            return job.future, None, Unavailable("the transaction was lost")
        try:
            return self._unit(job, nested=True)
        except Lost as lost:
            return job.future, None, translate(lost.__cause__ or lost)

    def _end(self, end: End) -> None:
        lost = end.commit and not self.connection.in_transaction
        try:
            if end.commit and not lost:
                self.connection.execute("COMMIT")
            else:
                self._rollback()
        except sqlite3.Error as error:
            self._rollback()
            if is_broken(error):
                self._reopen(error)
            self.inbox.answer([(end.future, None, translate(error))])
        else:
            self._failures = 0
            self.inbox.answer([(end.future, True, Unavailable("the transaction was lost") if lost else None)])


def _insert_text(job: Job) -> str | None:
    """The text of a job that is one plain insert: neighbours with the same text are one executemany."""
    sql, _, expected, yields = job.ops[0]
    return sql if yields == "one" and expected is None and len(job.ops) == 1 else None


def _outcome(member: Member, result: Any) -> Outcome:
    if isinstance(result, BaseException):
        return member.future, None, translate(result)
    return member.future, result, None
