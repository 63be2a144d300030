"""A thread with one SQLite connection. It takes everything that waits and answers it with one wake-up of the loop.

Whatever happens to the thread, nobody waits for ever: when it ends, everything it had taken and everything still in
its inbox fails with Unavailable, and so does every later call.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from models.dal.call import Answer, Op
from models.dal.errors import DatabaseError, DeadlineExceeded, Stale, Unavailable
from models.dal.sqlite_connection import Deadline
from models.dal.sqlite_errors import translate

Outcome = tuple["asyncio.Future[Any]", Any, BaseException | None]
Opener = Callable[[], tuple[sqlite3.Connection, Deadline]]


class Job:
    """Statements to run as one unit."""

    __slots__ = ("ends_at", "future", "ops")

    def __init__(self, future: asyncio.Future[Any], ops: Sequence[Op], ends_at: float) -> None:
        self.future = future
        self.ops = ops
        self.ends_at = ends_at


class Stop:
    """The last item of an inbox."""

    __slots__ = ()
    future = None


def settle(outcomes: Sequence[Outcome]) -> None:
    """Answer on the loop's thread; who was cancelled in the meantime is passed over."""
    for future, value, error in outcomes:
        if future.done():
            continue
        if error is None:
            future.set_result(value)
        else:
            future.set_exception(error)


class Inbox:
    """A queue that can be closed without losing anybody: an item is taken, or fails."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._queue: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.get = self._queue.get
        self.get_nowait = self._queue.get_nowait
        self._reason: str | None = None

    def is_closed(self) -> bool:
        """Whether nothing is taken any more."""
        return self._reason is not None

    def put(self, item: Any) -> None:
        """Add an item. Raises Unavailable once the inbox is closed."""
        if self.is_closed():
            raise Unavailable(self._reason)
        self._queue.put(item)
        if self.is_closed():  # closed in between: whoever comes second empties it
            self._fail_rest()

    def close(self, reason: str) -> None:
        """Fail everything inside and everything to come."""
        self._reason = self._reason or reason
        self._fail_rest()

    def _fail_rest(self) -> None:
        rest = []
        try:
            while True:
                rest.append(self.get_nowait())
        except queue.Empty:
            pass
        self._queue.put(Stop())  # readers share an inbox: the other one ends, too
        self.answer([(item.future, None, Unavailable(self._reason)) for item in rest if item.future is not None])

    def answer(self, outcomes: Sequence[Outcome]) -> None:
        """Hand outcomes to the loop."""
        if not outcomes:
            return
        try:
            self._loop.call_soon_threadsafe(settle, outcomes)
        except RuntimeError:
            return  # the loop is closed: nobody is waiting any more


class Lane(threading.Thread):
    """One connection on one thread, fed through an inbox."""

    def __init__(self, name: str, loop: asyncio.AbstractEventLoop, opener: Opener, limit: int) -> None:
        super().__init__(name=f"sqlite-{name}", daemon=True)
        self.inbox = Inbox(loop)
        self.ready: asyncio.Future[Any] = loop.create_future()
        self.opened = False
        self.busy_since: float | None = None
        self.taken: list[Any] = []
        self._opener = opener
        self._limit = limit
        self.connection: sqlite3.Connection
        self.deadline: Deadline

    def run(self) -> None:
        """Serve until told to stop. An error ends the lane and everybody who waits for it."""
        try:
            self.connection, self.deadline = self._opener()
            self.opened = True
            self.inbox.answer([(self.ready, True, None)])
            self._serve()
        except BaseException as error:  # noqa: BLE001 - a thread that ended silently would leave its callers waiting
            self.die(error)
        else:
            self.inbox.close("the database is closed")
        finally:
            if hasattr(self, "connection"):
                self.connection.close()

    def die(self, error: BaseException) -> None:
        """Fail what was taken and what is waiting, now and later."""
        ours = translate(error)
        self.inbox.answer([(self.ready, None, ours if isinstance(ours, DatabaseError) else Unavailable(str(error)))])
        self.give_up(f"the {self.name} thread ended: {type(error).__name__}: {error}")

    def give_up(self, reason: str) -> None:
        """Answer everybody with Unavailable; safe to call from any thread."""
        taken = [item for item in self.taken if item.future is not None]
        self.inbox.answer([(item.future, None, Unavailable(reason)) for item in taken])
        self.inbox.close(reason)

    def _serve(self) -> None:
        while True:
            self.busy_since, self.taken = None, []
            last = self._take()
            stopping = isinstance(last, Stop)
            if stopping:
                self.taken.pop()
            if self.taken:
                self._work(self.taken)
            if stopping:
                return

    def _take(self) -> Any:
        """Everything that waits, up to the limit or to an item that wants to be last."""
        taken, more = self.taken, self.inbox.get_nowait
        taken.append(self.inbox.get())
        self.busy_since = time.monotonic()
        try:
            while len(taken) < self._limit and type(taken[-1]) is Job:
                taken.append(more())
        except queue.Empty:
            pass
        return taken[-1]

    def _work(self, items: list[Any]) -> None:
        self.inbox.answer([self._read(job) for job in items])

    def _read(self, job: Job) -> Outcome:
        if job.future.cancelled():
            return job.future, None, None
        connection, several = self.connection, len(job.ops) > 1
        try:
            if several:
                connection.execute("BEGIN")  # one snapshot for all of them
            return job.future, self.perform(job), None
        except Exception as error:  # noqa: BLE001 - it is the caller's, and is raised there
            return job.future, None, translate(error, connection)
        finally:
            if several and connection.in_transaction:
                connection.execute("ROLLBACK")

    def perform(self, job: Job) -> list[Answer]:
        """Run the statements of a job within its deadline. Raises Stale when a count is not the expected one."""
        deadline = self.deadline
        deadline.at = job.ends_at
        if deadline.passed():
            raise DeadlineExceeded("the statement waited longer than its deadline")
        execute = self.connection.execute
        answers = []
        try:
            for sql, arguments, expected, _ in job.ops:
                cursor = execute(sql, arguments)
                if cursor.description:
                    rows = cursor.fetchall()
                    answer = Answer(rows, len(rows), cursor.description)
                else:
                    answer = Answer((), max(cursor.rowcount, 0))
                if expected is not None and answer.count != expected:
                    raise Stale(expected=expected, found=answer.count)
                answers.append(answer)
        finally:
            deadline.at = float("inf")
        return answers
