"""SQLite behind asyncio: one writer thread with group commit, a few reader threads."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

from models.dal.backend import OnFatal, OnRefused
from models.dal.call import Answer, Op
from models.dal.errors import Full, ReadOnly, Unavailable
from models.dal.migrate import read_migrations
from models.dal.migrate_sqlite import apply
from models.dal.options import Options
from models.dal.sqlite_connection import connect, copy_database
from models.dal.sqlite_lane import Inbox, Job, Lane, Stop
from models.dal.sqlite_writer import End, Group, GroupFunction, Held, Member, Writer
from models.dal.url import SqliteUrl

M = TypeVar("M")
R = TypeVar("R")
WATCH_S = 1.0
READ_LIMIT = 8  # a reader takes few at a time, so that the other one gets some
COLUMNS = (
    "SELECT m.name, c.name FROM sqlite_master m JOIN pragma_table_info(m.name) c WHERE m.type IN ('table', 'view')"
)


class Sqlite:
    """The lanes of one file."""

    def __init__(self, url: SqliteUrl, options: Options, on_fatal: OnFatal) -> None:
        self._url = url
        self._options = options
        self._on_fatal = on_fatal
        self._writer: Writer | None = None
        self._readers: list[Lane] = []
        self._watch: asyncio.TimerHandle | None = None
        self.on_refused: OnRefused = lambda _: None

    # ------------------------------------------------------------ lifecycle

    async def open(self) -> None:
        """Open the file. Raises Unavailable when it cannot be opened, ReadOnly when it cannot be written."""
        self._loop = asyncio.get_running_loop()
        try:
            await self._open()
        except BaseException:
            await self.close()  # it may be opened again
            raise

    async def _open(self) -> None:
        if not self._url.read_only:
            with contextlib.suppress(OSError):  # SQLite says it better
                self._url.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._writer = Writer(self._loop, self._opener(writer=True), self._options.group_limit, self._on_fatal)
            self._writer.on_commit = self._options.on_commit
            await self._start(self._writer)
        for number in range(max(1, self._options.readers)):
            reader = Lane(f"reader-{number}", self._loop, self._opener(writer=False), READ_LIMIT)
            if self._readers:
                reader.inbox = self._readers[0].inbox
            self._readers.append(reader)
            await self._start(reader)
        await self._check_writable()

    def _opener(self, *, writer: bool) -> Callable[[], Any]:
        return partial(connect, self._url.path, options=self._options, writer=writer, read_only=self._url.read_only)

    async def _start(self, lane: Lane) -> None:
        lane.start()
        await lane.ready

    async def _check_writable(self) -> None:
        if self._writer is None:
            return
        await self.run([("SELECT 1", (), None, "rows")], write=True)

    async def close(self) -> None:
        """Finish what was asked for, then end the threads."""
        if self._watch is not None:
            self._watch.cancel()
        readers, writers = self._readers, [self._writer] if self._writer else []
        self._readers, self._writer = [], None
        for lanes in (readers, writers):  # the writer is last: it folds the WAL back into the file
            for lane in lanes:
                with contextlib.suppress(Unavailable):
                    lane.inbox.put(Stop())
            if lanes:
                await asyncio.to_thread(_join, lanes, self._patience_s())

    @property
    def busy(self) -> int:
        """How many threads are at work, or held by a transaction."""
        lanes = [*self._readers, *([self._writer] if self._writer is not None else [])]
        return sum(bool(lane.taken) for lane in lanes)

    # ------------------------------------------------------------ statements

    async def run(
        self, ops: Sequence[Op], *, write: bool, within: Any = None, deadline_s: float | None = None
    ) -> list[Answer]:
        """Run statements as one unit."""
        future = self._loop.create_future()
        inbox = within.inbox if within is not None else self._inbox(write=write)
        inbox.put(Job(future, ops, time.monotonic() + (deadline_s or self._options.statement_timeout_s)))
        try:
            answers: list[Answer] = await self._watched(future)
        except (Full, ReadOnly) as error:
            self.on_refused(error)
            raise
        return answers

    def _patience_s(self) -> float:
        """How long a thread may be busy with one thing before it is taken for lost."""
        return self._options.busy_timeout_s + self._options.statement_timeout_s

    def _inbox(self, *, write: bool) -> Inbox:
        if not self._readers:
            raise Unavailable("the database is closed")
        if not write:
            return self._readers[0].inbox
        if self._writer is None:
            raise ReadOnly("the database was opened for reading only")
        return self._writer.inbox

    def grouped(self, function: GroupFunction, limit: int) -> SqliteLane[Any, Any]:
        """A lane whose members are written together by this function, on the writer thread."""
        return SqliteLane(self, Group(function, limit))

    async def submit(self, group: Group, member: Any) -> Any:
        """Add a member to the next round."""
        future = self._loop.create_future()
        ends_at = time.monotonic() + self._options.statement_timeout_s
        self._inbox(write=True).put(Member(future, group, member, ends_at))
        try:
            return await self._watched(future)
        except (Full, ReadOnly) as error:
            self.on_refused(error)
            raise

    async def begin(self, *, isolation: str | None = None, readonly: bool = False) -> Any:
        """An interactive transaction; it waits for the writer and then keeps it."""
        del isolation, readonly  # every SQLite transaction is serialisable
        held = Held(self._loop, self._options.idle_transaction_s)
        self._inbox(write=True).put(held)
        try:
            await self._watched(held.future)
        except asyncio.CancelledError:
            with contextlib.suppress(Unavailable):
                held.inbox.put(End(self._loop.create_future(), commit=False))
            raise
        return held

    async def end(self, handle: Any, *, commit: bool) -> None:
        """Commit or roll back."""
        future = self._loop.create_future()
        try:
            handle.inbox.put(End(future, commit=commit))
        except Unavailable:
            if commit:
                raise
            return  # it was rolled back already
        await self._watched(future)

    # ------------------------------------------------------------ nobody waits for ever

    def _watched(self, future: asyncio.Future[Any]) -> asyncio.Future[Any]:
        if self._watch is None:
            self._watch = self._loop.call_later(WATCH_S, self._look)
        return future

    def _look(self) -> None:
        """While somebody waits: a thread that hangs in the operating system is given up."""
        limit = self._patience_s()
        now, waiting = time.monotonic(), False
        for lane in [*self._readers, *([self._writer] if self._writer else [])]:
            since = lane.busy_since
            waiting = waiting or since is not None
            if since is not None and now - since > limit and not lane.inbox.is_closed():
                lane.give_up(f"the {lane.name} thread does not answer")
                if lane is self._writer:
                    self._on_fatal(TimeoutError("the SQLite writer does not answer"))
        self._watch = self._loop.call_later(WATCH_S, self._look) if waiting else None

    # ------------------------------------------------------------ schema and file

    async def backup(self, path: Path) -> None:
        """Copy the file as of one moment, while others read and write."""
        await asyncio.to_thread(copy_database, self._url.path, path)

    async def migrate(self, folder: Path, upto: int | None = None) -> list[str]:
        """Apply what is missing; the names of what was applied."""
        return await asyncio.to_thread(apply, self._url.path, read_migrations(folder / "sqlite", upto))

    async def columns(self) -> Mapping[str, set[str]]:
        """Table name to column names."""
        answer = (await self.run([(COLUMNS, (), None, "rows")], write=False))[0]
        found: dict[str, set[str]] = {}
        for table, column in answer.rows:
            found.setdefault(table, set()).add(column)
        return found


class SqliteLane(Generic[M, R]):
    """Collects members for the writer's next round."""

    __slots__ = ("_group", "_sqlite")

    def __init__(self, sqlite: Sqlite, group: Group) -> None:
        self._sqlite = sqlite
        self._group = group

    async def submit(self, member: M) -> R:
        """The outcome of this member, after COMMIT."""
        outcome: R = await self._sqlite.submit(self._group, member)
        return outcome


def _join(lanes: Sequence[Lane], timeout_s: float) -> None:
    for lane in lanes:
        lane.join(timeout_s)
