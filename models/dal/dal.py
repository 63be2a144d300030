"""One object for the whole data layer: pyDAL declares and writes, asyncpg or sqlite3 runs."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from copy import copy
from pathlib import Path
from typing import Any

from pydal.objects import Query

from models.dal.backend import Lane, OnFatal
from models.dal.call import Call, Op, Row, Statement, WatchedCall
from models.dal.compiler import Changing, Compiler, Selecting
from models.dal.errors import ReadOnly
from models.dal.options import Options
from models.dal.postgres import Postgres
from models.dal.postgres_copy import copy_in, copy_out
from models.dal.postgres_group import How, Single
from models.dal.shape import Const, Param
from models.dal.sqlite import Sqlite
from models.dal.tables import AsyncTable, Schema, Selection, checked
from models.dal.transaction import enter, handle_of, leave
from models.dal.url import PostgresUrl, parse_url

PING: dict[str, Op] = {
    "sqlite": ("SELECT 1", (), None, "rows"),
    "postgres": ("SHOW transaction_read_only", (), None, "rows"),
}


class AsyncDAL:
    """A database: declared tables are its attributes, statements its calls.

    Nothing happens before `open()`. A table column or value that does not exist raises where it is written;
    everything the database itself refuses is one of `models.dal.errors`.
    """

    def __init__(self, url: str, options: Options | None = None, *, on_fatal: OnFatal | None = None) -> None:
        """`on_fatal` is called on the loop when SQLite cannot be written any more and the process should end."""
        self.options = options or Options()
        parsed = parse_url(url)
        self.engine = "postgres" if isinstance(parsed, PostgresUrl) else "sqlite"
        self._schema = Schema(self.engine, self)
        self._compiler = Compiler(self._schema._adapter, self.options.shapes)
        self._call: type[Call[Any]] = WatchedCall if self.options.debug else Call
        self._backend: Postgres | Sqlite = (
            Postgres(parsed, self.options)
            if isinstance(parsed, PostgresUrl)
            else Sqlite(parsed, self.options, on_fatal or (lambda _: None))
        )
        self.refusal: BaseException | None = None
        """Full or ReadOnly: why a write was refused the last time; whoever finds that it is over sets it to None."""
        self._backend.on_refused = self._refused

    def _refused(self, error: BaseException) -> None:
        self.refusal = error

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"no table {name} is declared")

    def __repr__(self) -> str:
        return f"<AsyncDAL {self.engine}>"

    # ------------------------------------------------------------ schema

    @property
    def tables(self) -> tuple[str, ...]:
        """Names of the declared tables."""
        return tuple(self._schema.tables)

    def define_table(self, name: str, *fields: Any, primarykey: Sequence[str] | None = None) -> Any:
        """Declare a table with pyDAL Fields. Raises ValueError for a name that is taken."""
        if hasattr(type(self), name) or name in self.__dict__:
            raise ValueError(f"a table cannot be called {name}")
        keys = {"primarykey": list(primarykey)} if primarykey else {}
        table = self._schema.define_table(name, *fields, table_class=AsyncTable, **keys)
        for hooks in (table._before_insert, table._before_update, table._before_delete):
            hooks.clear()
        self.__dict__[name] = table
        return table

    async def migrate(self, folder: str | Path, *, upto: int | None = None) -> list[str]:
        """Apply the numbered files of `folder/sqlite` or `folder/postgres`; the names of those that were missing.

        `upto`: none with a greater number.
        """
        return await self._backend.migrate(Path(folder), upto)

    async def check_schema(self) -> list[str]:
        """How the database and the declarations differ; empty when they agree."""
        found = await self._backend.columns()
        problems = []
        for name in self._schema.tables:
            table = self._schema[name]
            declared = {field._raw_rname.strip('"') for field in table}
            have = found.get(table._raw_rname.strip('"'))
            if have is None:
                problems.append(f"{name} missing")
                continue
            problems += [f"{name}.{column} missing" for column in sorted(declared - have)]
            problems += [f"{name}.{column} not declared" for column in sorted(have - declared)]
        return problems

    # ------------------------------------------------------------ lifecycle

    async def open(self) -> AsyncDAL:
        """Connect. Raises Unavailable when that is not possible now; on PostgreSQL later calls may still succeed."""
        await self._backend.open()
        return self

    async def close(self) -> None:
        """Finish what was asked for and let go of every connection."""
        await self._backend.close()

    async def __aenter__(self) -> AsyncDAL:
        return await self.open()

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def ping(self, *, within_s: float = 2.0) -> None:
        """Raise Unavailable unless the database answers now. One that takes no writes is noted in `refusal`."""
        answers = await self._backend.run([PING[self.engine]], write=True, deadline_s=within_s)
        if answers[0].rows[0][0] == "on":
            self.refusal = ReadOnly("the database takes no writes: a standby, or default_transaction_read_only")

    async def reclaim(self, pages: int = 1000) -> int:
        """Give up to so many free pages of a SQLite file back to the disk; how many it were. PostgreSQL does it alone."""
        if self.engine == "postgres":
            return 0
        free = int(await self.sql("SELECT freelist_count FROM pragma_freelist_count").scalar())
        # one page each: sqlite3 steps a pragma without columns only once
        await self.batch(*[self.sql("PRAGMA incremental_vacuum(1)") for _ in range(min(pages, free))])
        return min(pages, free)

    async def backup(self, path: Path) -> None:
        """Copy the SQLite database, as of one moment, into a new file. Raises TypeError on PostgreSQL: `copy_out`."""
        if not isinstance(self._backend, Sqlite):
            raise TypeError("a PostgreSQL database is no file")
        await self._backend.backup(path)

    async def copy_out(self, folder: Path) -> dict[str, list[str]]:
        """Write every declared table of a PostgreSQL database, as of one moment, into a folder; table -> columns."""
        async with self.dedicated() as connection:
            return await copy_out(connection, self.tables, folder)

    async def copy_in(self, folder: Path, tables: Mapping[str, Sequence[str]], *, emptied: Sequence[str] = ()) -> None:
        """Read what `copy_out` wrote, after emptying some tables; in one transaction."""
        async with self.dedicated() as connection:
            await copy_in(connection, tables, folder, emptied)

    # ------------------------------------------------------------ statements

    def __call__(self, query: Any) -> Selection:
        """The rows that match a query, or all rows of a table."""
        return Selection(self, self._schema, checked(query))

    def selecting(self, wanted: Selecting) -> Call[list[Row]]:
        """A call for a SELECT."""
        return self._call(self, *self._compiler.select(wanted))

    def changing(self, wanted: Changing) -> Call[Any]:
        """A call for a change or a count."""
        return self._call(self, *self._compiler.change(wanted))

    def before(self, fields: Any, values: Sequence[Any]) -> Any:
        """Keyset paging: `fields` is `a | b`, and the row value (a, b) is less than `values`."""
        return Query(self._schema, self._schema._adapter.dialect.row_lt, fields, tuple(values))

    def after(self, fields: Any, values: Sequence[Any]) -> Any:
        """Keyset paging: (a, b) is greater than `values`."""
        return Query(self._schema, self._schema._adapter.dialect.row_gt, fields, tuple(values))

    def sql(
        self, text: str | None = None, /, *, pg: str = "", sqlite: str = "", into: Any = (), **values: Any
    ) -> Call[Any]:
        """A hand-written statement with `:named` parameters, one text or one for each database.

        `into`: tables or fields whose types decode the columns of the same names. Yields rows, or how many rows
        were changed.
        """
        chosen = text if text is not None else pg if self.engine == "postgres" else sqlite
        if not chosen:
            raise ValueError(f"no SQL for {self.engine}")
        statement, names = self._compiler.raw(chosen, tuple(into) if isinstance(into, list | tuple) else (into,))
        if values.keys() != set(names):
            raise ValueError(f"parameters are {sorted(names)}, values are {sorted(values)}")
        return self._call(self, statement, [values[name] for name in names])

    def compiled(self, build: Callable[..., Call[Any]]) -> Callable[..., Call[Any]]:
        """Trace a function that builds a call, once; afterwards calling it only binds.

        Its arguments may be used as operands only: what the query looks like is decided here. Those with a default
        keep it.
        """
        parameters = inspect.signature(build).parameters.values()
        names = [parameter.name for parameter in parameters if parameter.default is parameter.empty]
        made: list[tuple[Statement, str, int | None, float | None]] = []

        def call(*arguments: Any, **named: Any) -> Call[Any]:
            if not made:
                made.append(_traced(build, names))
            statement, want, expected, deadline_s = made[0]
            if named:
                arguments += tuple([named.pop(name) for name in names[len(arguments) :]])
            if named or len(arguments) != len(names):
                raise TypeError(f"arguments are {', '.join(names)}")
            twin = self._call(self, statement, arguments)
            twin.want, twin.expected, twin.deadline_s = want, expected, deadline_s
            return twin

        return call

    # ------------------------------------------------------------ running

    async def run(self, call: Call[Any]) -> Any:
        """What awaiting a call does."""
        answers = await self._backend.run(
            [call.op()], write=call.statement.write, within=handle_of(self), deadline_s=call.deadline_s
        )
        return call.finish(answers[0])

    async def batch(self, *calls: Call[Any]) -> list[Any]:
        """Several calls as one transaction, with no Python in between: all of them, or none.

        Raises what the first failing call raises; Stale when an `expect` is not met. Run again by itself after a
        deadlock or a serialization failure. Calls that only read see one snapshot.
        """
        if not calls:
            return []
        write = any(call.statement.write for call in calls)
        answers = await self._backend.run([call.op() for call in calls], write=write, within=handle_of(self))
        return [call.finish(answer) for call, answer in zip(calls, answers, strict=True)]

    @asynccontextmanager
    async def transaction(self, **attributes: Any) -> AsyncIterator[AsyncDAL]:
        """An interactive transaction, for decisions between statements; `batch` is faster where there are none.

        PostgreSQL knows `isolation=` and `readonly=`. It belongs to this task: child tasks are refused. On SQLite it
        has the only writer for itself and is rolled back when it falls silent.
        """
        if handle_of(self) is not None:
            raise RuntimeError("transactions do not nest: use db.batch() inside")
        handle = await self._backend.begin(**attributes)
        entered = enter(self, handle)
        try:
            yield self
        except BaseException:
            leave(entered)
            await self._backend.end(handle, commit=False)
            raise
        leave(entered)
        await self._backend.end(handle, commit=True)

    def grouped(
        self,
        *,
        sqlite: Callable[..., Any],
        postgres: Callable[..., Any],
        single: Single | None = None,
        limit: int = 256,
    ) -> Lane[Any, Any]:
        """A lane that writes everything waiting in one transaction: `await lane.submit(member)`.

        `sqlite(round, members)` runs on the writer thread and shares its transaction; `await postgres(connection,
        members)` has a connection and a transaction of its own. Both return one outcome per member, in order; an
        exception among them is raised for that member only. When the function raises, the round is undone and
        repeated with each member alone. On PostgreSQL `single` writes what fits by one statement instead.
        """
        if isinstance(self._backend, Postgres):
            return self._backend.grouped(How(postgres, limit, single))
        return self._backend.grouped(sqlite, limit)

    @asynccontextmanager
    async def dedicated(self) -> AsyncIterator[Any]:
        """A PostgreSQL connection of one's own, for LISTEN. Raises TypeError on SQLite."""
        if not isinstance(self._backend, Postgres):
            raise TypeError("SQLite has no connections to listen on")
        async with self._backend.dedicated() as connection:
            yield connection

    @property
    def connection(self) -> Any:
        """The driver's connection of the running PostgreSQL transaction, for libraries that enqueue in it."""
        handle = handle_of(self)
        if handle is None or self.engine != "postgres":
            raise RuntimeError("not inside a PostgreSQL transaction")
        return handle.connection

    @property
    def connections_in_use(self) -> int:
        """How many connections are in use now: those of the PostgreSQL pool, or SQLite's threads."""
        backend = self._backend
        return backend.pool.checked_out if isinstance(backend, Postgres) else backend.busy

    @property
    def compiler(self) -> Compiler:
        """The kept statements, for tests and metrics."""
        return self._compiler


def _traced(build: Callable[..., Call[Any]], names: list[str]) -> tuple[Statement, str, int | None, float | None]:
    """Call the function once with placeholders and keep its statement, bound to the arguments by position."""
    call = build(*[Param(name) for name in names])
    original = call.statement
    if isinstance(call, WatchedCall):
        call.used = True
    sources = [names.index(value.name) if type(value) is Param else Const(value) for value in call.values]
    statement = copy(original)
    statement.binds = tuple(
        [(sources[source] if type(source) is int else source, encode) for source, encode in original.binds]
    )
    return statement, call.want, call.expected, call.deadline_s
