"""A statement and its values, not run yet."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Generator, Iterable, Sequence
from typing import Any, Generic, Literal, Protocol, Self, TypeVar, cast

from models.dal.codecs import Decode
from models.dal.dialects import Bind

T = TypeVar("T")
Yields = Literal["rows", "count", "one"]  # "one": each run changes exactly one row, or fails
Op = tuple[str, Sequence[Any], int | None, Yields]  # SQL, arguments, expected row count, what comes back
Column = tuple[str | None, str, Any]  # table, name, field type


class Row(dict[str, Any]):
    """One row: `row.name` and `row["name"]`; of a join, `row.table.name`.

    A column named like a method of dict (`items`, `values`, …) is read with brackets.
    """

    __slots__ = ()

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


class Answer:
    """What a backend answers: rows, how many were found or changed, and a cursor's description when there is one."""

    __slots__ = ("count", "names", "rows")

    def __init__(self, rows: Sequence[Any], count: int, names: Sequence[Any] | None = None) -> None:
        self.rows = rows
        self.count = count
        self.names = names


class Statement:
    """The SQL of one query shape, how its values are bound and its rows are read."""

    __slots__ = ("binds", "decoders", "names", "nest", "sql", "want", "write", "yields")

    def __init__(self, sql: str, binds: tuple[Bind, ...], *, write: bool, yields: Yields, want: str) -> None:
        """`want`: what awaiting yields: rows, first, scalar or count."""
        self.sql = sql
        self.binds = binds
        self.write = write
        self.yields = yields
        self.want = want
        self.names: list[str] = []
        self.nest: list[str | None] | None = None
        self.decoders: list[tuple[int, Decode]] = []

    def reads(self, columns: Sequence[Column], decoder: Callable[[Any], Decode | None]) -> Self:
        """Declare the columns that come back."""
        self.names = [name for _, name, _ in columns]
        if len({table for table, _, _ in columns if table}) > 1:
            self.nest = [table for table, _, _ in columns]
        found = [(index, decoder(kind) if kind else None) for index, (_, _, kind) in enumerate(columns)]
        self.decoders = [(index, decode) for index, decode in found if decode]
        return self

    def bound(self, values: Sequence[Any]) -> list[Any]:
        """The arguments for the driver, in the order of the placeholders."""
        arguments = []
        for source, encode in self.binds:
            value = values[source] if type(source) is int else source.value
            arguments.append(value if value is None or encode is None else encode(value))
        return arguments

    def load(self, rows: Iterable[Any], described: Sequence[Any] | None) -> list[Row]:
        """Rows as the caller sees them."""
        del described
        columns, decoders, nest = self.names, self.decoders, self.nest
        if not decoders and not nest:
            return [Row(zip(columns, row, strict=False)) for row in rows]
        loaded = []
        for row in rows:
            values = list(row)
            for index, decode in decoders:
                if values[index] is not None:
                    values[index] = decode(values[index])
            loaded.append(self._nested(values) if nest else Row(zip(columns, values, strict=False)))
        return loaded

    def _nested(self, values: list[Any]) -> Row:
        row = Row()
        for table, name, value in zip(self.nest or (), self.names, values, strict=True):
            if table is None:
                row[name] = value
            elif table in row:
                row[table][name] = value
            else:
                row[table] = Row({name: value})
        return row

    def scalar(self, value: Any) -> Any:
        """The first column of a row, decoded."""
        if value is not None and self.decoders and self.decoders[0][0] == 0:
            return self.decoders[0][1](value)
        return value


class RawStatement(Statement):
    """Hand-written SQL: its columns are known when the first row is there."""

    __slots__ = ("by_name",)

    def __init__(self, sql: str, binds: tuple[Bind, ...], *, write: bool, yields: Yields, want: str) -> None:
        super().__init__(sql, binds, write=write, yields=yields, want=want)
        self.by_name: dict[str, Decode] = {}

    def load(self, rows: Iterable[Any], described: Sequence[Any] | None) -> list[Row]:
        """Rows with the names the database gave; decoded where a declared Field says how."""
        if described is None:
            return [Row(row.items()) for row in rows]  # asyncpg has decoded everything
        names = [column[0] for column in described]
        decoders = [(name, self.by_name[name]) for name in names if name in self.by_name]
        loaded = [Row(zip(names, row, strict=True)) for row in rows]
        for row in loaded if decoders else ():
            for name, decode in decoders:
                if row[name] is not None:
                    row[name] = decode(row[name])
        return loaded


class Runner(Protocol):
    """Who runs a call."""

    async def run(self, call: Call[Any]) -> Any:
        """Run it and finish its answer."""
        ...


class Call(Generic[T]):
    """SQL plus values, not run yet: `await` runs it, `db.batch(call, call)` runs several as one transaction."""

    __slots__ = ("deadline_s", "expected", "runner", "statement", "values", "want")

    def __init__(self, runner: Runner, statement: Statement, values: Sequence[Any]) -> None:
        self.runner = runner
        self.statement = statement
        self.values = values
        self.want = statement.want
        self.expected: int | None = None
        self.deadline_s: float | None = None

    def first(self) -> Call[Row | None]:
        """The first row, or None."""
        return self._wanting("first")

    def scalar(self) -> Call[Any]:
        """The first column of the first row, or None."""
        return self._wanting("scalar")

    def _wanting(self, want: str) -> Call[Any]:
        self.want = want
        return cast("Call[Any]", self)

    def expect(self, count: int) -> Self:
        """Raise Stale, and undo the whole unit, when another number of rows was found or changed."""
        self.expected = count
        return self

    def within(self, seconds: float) -> Self:
        """Another deadline than the connection's default."""
        self.deadline_s = seconds
        return self

    def bound(self) -> tuple[str, list[Any]]:
        """The SQL and its arguments as the driver takes them, for statements of a grouped round."""
        return self.statement.sql, self.statement.bound(self.values)

    def op(self) -> Op:
        """What a backend runs."""
        statement = self.statement
        return statement.sql, statement.bound(self.values), self.expected, statement.yields

    def finish(self, answer: Answer) -> Any:
        """From the backend's answer to what the caller asked for."""
        want = self.want
        if want == "count":
            return answer.count
        if want == "scalar":
            return self._scalar(answer)
        if want == "first":
            return self.statement.load(answer.rows[:1], answer.names)[0] if answer.rows else None
        return self.statement.load(answer.rows, answer.names)

    def _scalar(self, answer: Answer) -> Any:
        if not answer.rows:
            return None
        if isinstance(self.statement, RawStatement):
            return next(iter(self.statement.load(answer.rows[:1], answer.names)[0].values()))
        return self.statement.scalar(answer.rows[0][0])

    def __await__(self) -> Generator[Any, None, T]:
        return self.runner.run(self).__await__()


class WatchedCall(Call[T]):
    """A call that complains when nobody awaited it: `Options(debug=True)`."""

    __slots__ = ("used",)

    def __init__(self, runner: Runner, statement: Statement, values: Sequence[Any]) -> None:
        super().__init__(runner, statement, values)
        self.used = False

    def bound(self) -> tuple[str, list[Any]]:
        """See Call."""
        self.used = True
        return super().bound()

    def op(self) -> Op:
        """See Call."""
        self.used = True
        return super().op()

    def __del__(self) -> None:
        if not self.used:
            warnings.warn(f"statement was never awaited: {self.statement.sql}", RuntimeWarning, stacklevel=2)
