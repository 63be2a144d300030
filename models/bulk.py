"""One statement for many rows: the same text for both databases, with the rows as a table called `v`.

PostgreSQL gets one array per column (`unnest`), SQLite a list of VALUES whose length is one of a few, so that few texts
exist and all of them stay prepared. Small lists take one statement: each is a chance for another thread to interrupt.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from models.dal.codecs import dump_json, timestamp_text

Row = tuple[Any, ...]
Encode = Callable[[Any], Any]

MOST_VARIABLES = 900  # every SQLite build takes this many
CHUNKS = (1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 24, 32, 48, 64)
PG_TYPE = {"json": "text", "double": "float8"}


def _moment(value: datetime | None) -> str | None:
    if value is not None and value.tzinfo is UTC:  # as nearly always: nothing to convert
        return value.isoformat(timespec="microseconds")[:26] + "Z"
    return None if value is None else timestamp_text(value)


def _json(value: Any) -> str | None:
    return None if value is None else dump_json(value)


def _boolean(value: bool | None) -> int | None:
    return None if value is None else int(value)


SQLITE_ENCODERS: dict[str, Encode] = {"timestamptz": _moment, "json": _json, "boolean": _boolean}


@dataclass(frozen=True, kw_only=True)
class Bulk:
    """A statement over the rows `v`; its first column is the key that rows are sorted by.

    `columns` is text, `name type` by commas; uuid values are given as text, json values as data. `{v}` in
    `sql` becomes `WITH v(…) AS (…)`. With `returning` the statement answers with rows. `summed` makes one row of those of a key.
    """

    name: str
    columns: str
    sql: str
    returning: str = ""
    summed: Callable[[list[Row]], list[Row]] | None = None

    @cached_property
    def fields(self) -> tuple[tuple[str, str], ...]:
        """Pairs of column and type."""
        return tuple((name, kind) for name, kind in (c.split() for c in self.columns.split(",")))

    @cached_property
    def names(self) -> str:
        """The columns as SQL writes them."""
        return ", ".join(name for name, _ in self.fields)

    @cached_property
    def tail(self) -> str:
        """What the statement answers with."""
        return f" RETURNING {self.returning}" if self.returning else ""

    @cached_property
    def postgres(self) -> str:
        """The text for PostgreSQL: `$1` … are arrays, one per column."""
        return self.postgres_from(1)

    def postgres_from(self, first: int) -> str:
        """The same as a part of a longer statement, in which `first` is the number of its first array."""
        arrays = ", ".join(f"${n}::{PG_TYPE.get(kind, kind)}[]" for n, (_, kind) in enumerate(self.fields, first))
        names = ", ".join(f"{name}::jsonb" if kind == "json" else name for name, kind in self.fields)
        return self._text(f"SELECT {names} FROM unnest({arrays}) AS u({self.names})")

    def arrays(self, rows: Sequence[Row]) -> list[list[Any]]:
        """The values for PostgreSQL, one list per column. JSON goes as text: a list in a list would be a matrix."""
        columns = [list(column) for column in zip(*rows, strict=True)]
        for index, (_, kind) in enumerate(self.fields):
            if kind == "json":
                columns[index] = [_json(value) for value in columns[index]]
        return columns

    def _text(self, rows: str) -> str:
        return self.sql.replace("{v}", f"WITH v({self.names}) AS ({rows})") + self.tail

    @cached_property
    def _encoders(self) -> list[tuple[int, Encode]]:
        kinds = [kind for _, kind in self.fields]
        return [(index, SQLITE_ENCODERS[kind]) for index, kind in enumerate(kinds) if kind in SQLITE_ENCODERS]

    @cached_property
    def _sqlite_texts(self) -> dict[int, str]:
        one = f"({', '.join('?' * len(self.fields))})"
        sizes = [size for size in CHUNKS if size * len(self.fields) <= MOST_VARIABLES]
        return {size: self._text(f"VALUES {', '.join([one] * size)}") for size in sizes}

    @cached_property
    def _sizes(self) -> list[int]:
        return list(self._sqlite_texts)

    def sqlite(self, rows: Sequence[Row]) -> Iterator[tuple[str, list[Any]]]:
        """The texts and values for SQLite, in chunks."""
        texts, sizes, start = self._sqlite_texts, self._sizes, 0
        while start < len(rows):
            size = sizes[bisect_right(sizes, len(rows) - start) - 1]
            values: list[Any] = []
            for row in rows[start : start + size]:
                values += self._encoded(row)
            yield texts[size], values
            start += size

    def _encoded(self, row: Row) -> Sequence[Any]:
        if not self._encoders:
            return row
        values = list(row)
        for index, encode in self._encoders:
            values[index] = encode(values[index])
        return values
