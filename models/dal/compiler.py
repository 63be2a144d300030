"""From a query to a `Statement`, once per shape.

A parts list is what a caller asked for; its shape is the cache key. Only when the key is new does pyDAL write SQL,
from the lifted parts, in which no value is left.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pydal.objects import Expression, Field

from models.dal.call import Column, RawStatement, Statement, Yields
from models.dal.dialects import Writer, trace
from models.dal.shape import Counter, lift, shape

# quoted text, comments and casts are stepped over; what remains are :parameters
_PARAMETER = re.compile(r"'(?:[^']|'')*'|\"[^\"]*\"|--[^\n]*|/\*.*?\*/|::|:([A-Za-z_]\w*)", re.S)
_IGNORED = re.compile(r"'(?:[^']|'')*'|\"[^\"]*\"|--[^\n]*|/\*.*?\*/", re.S)
_READS = re.compile(r"\s*(SELECT|VALUES|WITH|EXPLAIN)\b", re.I)
_CHANGES = re.compile(r"\b(INSERT|UPDATE|DELETE|REPLACE|MERGE)\b", re.I)
_RETURNS = re.compile(r"\bRETURNING\b|\s*PRAGMA\b|\s*SHOW\b", re.I)


@dataclass(frozen=True, slots=True, kw_only=True)
class Selecting:
    """What a SELECT was asked for."""

    query: Any
    fields: Sequence[Any] = ()
    join: Sequence[Any] = ()
    left: Sequence[Any] = ()
    orderby: Sequence[Any] = ()
    groupby: Sequence[Any] = ()
    having: Any = None
    distinct: bool = False
    limit: Any = None
    offset: Any = None
    for_update: bool | str = False

    def parts(self) -> tuple[Any, ...]:
        """Every tree in it, in one fixed order."""
        having = () if self.having is None else (self.having,)
        return (self.query, *self.fields, *self.join, *self.left, *self.orderby, *self.groupby, *having)

    def lifted(self, counter: Counter) -> Selecting:
        """The same with slots where the values stood."""

        def each(nodes: Sequence[Any]) -> list[Any]:
            return [lift(node, counter) for node in nodes]

        return Selecting(
            query=lift(self.query, counter),
            fields=each(self.fields),
            join=each(self.join),
            left=each(self.left),
            orderby=each(self.orderby),
            groupby=each(self.groupby),
            having=None if self.having is None else lift(self.having, counter),
            limit=None if self.limit is None else counter.slot(),
            offset=None if self.offset is None else counter.slot(),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Changing:
    """What an INSERT, UPDATE, DELETE or COUNT was asked for."""

    kind: str
    table: Any = None
    query: Any = None
    pairs: Sequence[tuple[Any, Any]] = ()
    conflict: tuple[tuple[str, ...], tuple[str, ...]] | None = None  # ON CONFLICT (columns) DO UPDATE SET columns
    distinct: Any = None
    returning: Sequence[Any] = ()


class Compiler:
    """Keeps the statements of a schema, the most recently used ones."""

    def __init__(self, adapter: Writer, limit: int) -> None:
        self._adapter = adapter
        self._limit = limit
        self._statements: OrderedDict[Any, Statement] = OrderedDict()
        self._raw: OrderedDict[Any, tuple[RawStatement, tuple[str, ...]]] = OrderedDict()
        self.misses = 0

    def statements(self) -> list[Statement]:
        """Every compiled statement, least recently used first."""
        return list(self._statements.values())

    def forget(self) -> None:
        """Build everything anew."""
        self._statements.clear()
        self._raw.clear()

    def select(self, wanted: Selecting) -> tuple[Statement, list[Any]]:
        """The statement and the values of a SELECT."""
        values: list[Any] = []
        shapes = tuple([shape(part, values) for part in wanted.parts()])
        key = (
            "select",
            shapes,
            len(wanted.fields),
            len(wanted.join),
            len(wanted.left),
            len(wanted.orderby),
            len(wanted.groupby),
            wanted.distinct,
            wanted.for_update,
            wanted.limit is None,
            wanted.offset is None,
        )
        values.extend(value for value in (wanted.limit, wanted.offset) if value is not None)
        return self._cached(key, lambda: self._build_select(wanted)), values

    def change(self, wanted: Changing) -> tuple[Statement, list[Any]]:
        """The statement and the values of a change or a count."""
        values: list[Any] = []
        key = (
            wanted.kind,
            wanted.table._tablename if wanted.table is not None else None,
            shape(wanted.query, values) if wanted.query is not None else None,
            tuple([(field.name, shape(value, values)) for field, value in wanted.pairs]),
            wanted.conflict,
            shape(wanted.distinct, values) if isinstance(wanted.distinct, Expression) else wanted.distinct,
            tuple([field.name for field in wanted.returning]),
        )
        return self._cached(key, lambda: self._build_change(wanted)), values

    def _cached(self, key: Any, build: Callable[[], Statement]) -> Statement:
        statement = self._statements.get(key)
        if statement is not None:
            self._statements.move_to_end(key)
            return statement
        self.misses += 1
        statement = self._statements[key] = build()
        if len(self._statements) > self._limit:
            self._statements.popitem(last=False)
        return statement

    def _build_select(self, wanted: Selecting) -> Statement:
        adapter, lifted = self._adapter, wanted.lifted(Counter())
        tables = adapter.tables(lifted.query, *lifted.join, *lifted.left, *lifted.orderby)
        fields = adapter.expand_all(lifted.fields, tables)

        def build() -> str:
            text: str = adapter._select_wcols(
                lifted.query,
                fields,
                left=lifted.left or False,
                join=lifted.join or False,
                orderby=lifted.orderby or False,
                groupby=lifted.groupby or False,
                having=lifted.having if lifted.having is not None else False,
                distinct=wanted.distinct,
            )[1]
            text = text.rstrip("; ") + adapter.dialect.page(lifted.limit, lifted.offset)
            return text + (adapter.dialect.lock(wanted.for_update) if wanted.for_update else "")

        sql, binds = adapter.finish(*trace(build))
        statement = Statement(sql, binds, write=bool(wanted.for_update), yields="rows", want="rows")
        return statement.reads([self._column(field) for field in fields], adapter.codecs.decoder)

    def _column(self, node: Any) -> Column:
        if isinstance(node, Field):
            return node._table._tablename, node.name, node.type
        if node.op == self._adapter.dialect._as:
            return None, node.second, node.type
        return None, re.sub(r"\W+", "_", str(node)).strip("_").lower(), node.type

    def _build_change(self, wanted: Changing) -> Statement:
        adapter, counter = self._adapter, Counter()
        query = None if wanted.query is None else lift(wanted.query, counter)
        pairs = [(field, lift(value, counter)) for field, value in wanted.pairs]
        distinct = lift(wanted.distinct, counter) if isinstance(wanted.distinct, Expression) else wanted.distinct

        def build() -> str:
            if wanted.kind == "insert":
                text = adapter._insert(wanted.table, pairs)
            elif wanted.kind == "update":
                text = adapter._update(wanted.table, query, pairs)
            elif wanted.kind == "delete":
                text = adapter._delete(adapter.get_table(query), query)
            else:
                text = adapter._count(query, distinct)
            return re.sub(r";\s*$", "", text) + _on_conflict(wanted) + _returning(wanted)

        sql, binds = adapter.finish(*trace(build))
        if wanted.kind == "count":
            return Statement(sql, binds, write=False, yields="rows", want="scalar")
        yields: Yields = "rows" if wanted.returning else "one" if _inserts_one(wanted) else "count"
        statement = Statement(sql, binds, write=True, yields=yields, want="rows" if wanted.returning else "count")
        return statement.reads([self._column(field) for field in wanted.returning], adapter.codecs.decoder)

    def raw(self, text: str, into: tuple[Any, ...]) -> tuple[RawStatement, tuple[str, ...]]:
        """A hand-written statement with `:named` parameters, and their names in the order of the values."""
        key = (
            text,
            tuple(
                [
                    (node._tablename, None) if not isinstance(node, Field) else (node._tablename, node.name)
                    for node in into
                ]
            ),
        )
        found = self._raw.get(key)
        if found is None:
            found = self._raw[key] = self._build_raw(text, into)
            if len(self._raw) > self._limit:
                self._raw.popitem(last=False)
        return found

    def _build_raw(self, text: str, into: tuple[Any, ...]) -> tuple[RawStatement, tuple[str, ...]]:
        codecs, names, binds = self._adapter.codecs, [], []
        encode = codecs.encoder((), None)

        def place(match: re.Match[str]) -> str:
            name = match[1]
            if not name:
                return match[0]
            if name not in names:
                names.append(name)
                binds.append((names.index(name), encode))
            elif not codecs.numbered:
                binds.append((names.index(name), encode))
            return f"${names.index(name) + 1}" if codecs.numbered else "?"

        sql = _PARAMETER.sub(place, text)
        bare = _IGNORED.sub("''", text)
        reads = bool(_READS.match(bare)) and not _CHANGES.search(bare)
        fetch = reads or bool(_RETURNS.search(bare))
        yields: Yields = "rows" if fetch else "count"
        statement = RawStatement(sql, tuple(binds), write=not reads, yields=yields, want=yields)
        fields = [field for node in into for field in ((node,) if isinstance(node, Field) else node)]
        decoders = [(field.name, codecs.decoder(field.type)) for field in fields]
        statement.by_name = {name: decode for name, decode in decoders if decode}
        return statement, tuple(names)


def _inserts_one(wanted: Changing) -> bool:
    return wanted.kind == "insert" and wanted.conflict is None


def _on_conflict(wanted: Changing) -> str:
    if wanted.conflict is None:
        return ""
    keys, changed = wanted.conflict
    table = wanted.table
    target = ",".join(table[name]._rname for name in keys)
    sets = ",".join(f"{table[name]._rname}=excluded.{table[name]._rname}" for name in changed)
    return f" ON CONFLICT ({target}) DO " + (f"UPDATE SET {sets}" if sets else "NOTHING")


def _returning(wanted: Changing) -> str:
    names = ",".join(field._rname for field in wanted.returning)
    return f" RETURNING {names}" if names else ""
