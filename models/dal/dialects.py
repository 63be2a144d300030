"""What pyDAL needs to write SQL for us: two adapters without a driver and two dialects that bind every value.

pyDAL has one gate through which a value becomes text, `adapter.represent`. Ours leaves a numbered mark there and
remembers the slot and its encoder; `finish` turns the marks into placeholders by their place in the final text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any, NoReturn

from pydal.adapters import adapters
from pydal.adapters.base import SQLAdapter
from pydal.dialects import dialects
from pydal.dialects.postgre import PostgreDialectBooleanJSON
from pydal.dialects.sqlite import SQLiteDialect
from pydal.objects import Expression, Field, Select

from models.dal.codecs import POSTGRES, SQLITE, Codecs, Encode
from models.dal.shape import Const, Slot

Bind = tuple[Any, Encode | None]  # (index into the values, or Const) and its encoder
_MARK = re.compile("\x01(\\d+)\x02")
NO_ENV: Mapping[str, Any] = MappingProxyType({})
_traced: ContextVar[list[tuple[Slot, Any, bool]] | None] = ContextVar("dal_traced", default=None)


def trace(build: Callable[[], Any]) -> tuple[Any, list[tuple[Slot, Any, bool]]]:
    """Run a pyDAL SQL builder and collect the slots it wrote."""
    slots: list[tuple[Slot, Any, bool]] = []
    token = _traced.set(slots)
    try:
        return build(), slots
    finally:
        _traced.reset(token)


class Writer(SQLAdapter):  # type: ignore[misc]  # pyDAL is untyped
    """A pyDAL adapter that writes SQL and owns no connection."""

    drivers = ()
    codecs: Codecs

    def find_driver(self) -> None:
        """None: asyncpg and sqlite3 run the statements."""
        self.driver, self.driver_name = None, "none"

    def _initialize_(self) -> None:
        pass

    def connector(self) -> NoReturn:
        """Refuse pyDAL's own synchronous connection."""
        raise RuntimeError("there is no synchronous connection: a statement was not awaited")

    def represent(self, value: Any, field_type: Any) -> str:
        """A placeholder for a value, the text of an expression."""
        return str(value) if isinstance(value, Expression | Field) else self.bind(value, field_type)

    def _expand(self, node: Any, field_type: Any = None, colnames: bool = False, query_env: Any = NO_ENV) -> Any:
        if type(node) is Slot and not field_type:
            return self.bind(node, None)
        return super()._expand(node, field_type, colnames, query_env)

    def bind(self, value: Any, field_type: Any, many: bool = False) -> str:
        """A mark for a value of a field type, with the cast that tells the server its type."""
        slots = _traced.get()
        if slots is None:
            return "?"  # repr(query) in a log line never shows a value
        if isinstance(field_type, str) and field_type.startswith("reference "):
            field_type = self.db[field_type[10:].partition(".")[0]]._id.type
        slots.append((value if type(value) is Slot else Slot(Const(value)), field_type, many))
        return f"\x01{len(slots) - 1}\x02{self.codecs.cast(field_type, many)}"

    def finish(self, text: str, slots: list[tuple[Slot, Any, bool]]) -> tuple[str, tuple[Bind, ...]]:
        """Number the placeholders by their place in the text."""
        binds: list[Bind] = []

        def place(match: re.Match[str]) -> str:
            slot, field_type, many = slots[int(match[1])]
            binds.append((slot.index, self.codecs.encoder(slot.edits, field_type, many)))
            return f"${len(binds)}" if self.codecs.numbered else "?"

        return _MARK.sub(place, text).rstrip("; \n"), tuple(binds)


class PostgresWriter(Writer):
    """Writes PostgreSQL."""

    dbengine = "postgres"
    codecs = POSTGRES


class SqliteWriter(Writer):
    """Writes SQLite."""

    dbengine = "sqlite"
    codecs = SQLITE


def _double_backslash(value: str) -> str:
    return value.replace("\\", "\\\\")


def like_literal(value: str) -> str:
    """Text in which no character is a wildcard."""
    return value.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def _any_before(value: str) -> str:
    return "%" + value


def _any_after(value: str) -> str:
    return value + "%"


def _other_escape(escape: str) -> Encode:
    def to_backslash(value: str) -> str:
        return re.sub(re.escape(escape) + "(.)", lambda m: m[1] if m[1] == escape else "\\" + m[1], value, flags=re.S)

    return to_backslash


def _slot(value: Any) -> Slot:
    if isinstance(value, Expression):
        raise TypeError("a pattern is a value, not an expression")
    return value if type(value) is Slot else Slot(Const(value))


class _Bound:
    """The dialect methods that would write a value into the text, or read it."""

    adapter: Any
    expand: Any
    no_limit = ""

    def _text(self, first: Any, env: Any) -> str:
        sql: str = self.expand(first, query_env=env)
        return sql if first.type in ("string", "text") else f"CAST({sql} AS TEXT)"

    def _match(self, first: Any, slot: Slot, env: Any, *, fold: bool = False) -> str:
        text, pattern = self._text(first, env), self.adapter.bind(slot, "string")
        return self._folded(text, pattern) if fold else f"({text} LIKE {pattern} ESCAPE '\\')"

    def _folded(self, text: str, pattern: str) -> str:
        raise NotImplementedError

    @staticmethod
    def _pattern(value: Any, escape: str | None) -> Slot:
        slot = _slot(value)
        if escape == "\\":
            return slot
        return slot.map(_double_backslash, _other_escape(escape)) if escape else slot.map(_double_backslash)

    def like(self, first: Any, second: Any, escape: str | None = None, query_env: Any = NO_ENV) -> str:
        """Case-sensitive pattern."""
        return self._match(first, self._pattern(second, escape), query_env)

    def ilike(self, first: Any, second: Any, escape: str | None = None, query_env: Any = NO_ENV) -> str:
        """Pattern regardless of case (ASCII only on SQLite)."""
        return self._match(first, self._pattern(second, escape), query_env, fold=True)

    def startswith(self, first: Any, second: Any, query_env: Any = NO_ENV) -> str:
        """Begins with this text."""
        return self._match(first, _slot(second).map(like_literal, _any_after), query_env)

    def endswith(self, first: Any, second: Any, query_env: Any = NO_ENV) -> str:
        """Ends with this text."""
        return self._match(first, _slot(second).map(like_literal, _any_before), query_env)

    def contains(self, first: Any, second: Any, case_sensitive: bool = True, query_env: Any = NO_ENV) -> str:
        """A list that has this member, or a text that has this part."""
        if first.type.startswith("list:"):
            member = self.expand(second, "string" if first.type == "list:string" else "bigint", query_env=query_env)
            return self._has(self.expand(first, query_env=query_env), member)
        return self._match(
            first, _slot(second).map(like_literal, _any_before, _any_after), query_env, fold=not case_sensitive
        )

    def _has(self, column: str, member: str) -> str:
        raise NotImplementedError

    def belongs(self, first: Any, second: Any, query_env: Any = NO_ENV) -> Any:
        """One of a list of any length (one parameter), or of a nested select."""
        if isinstance(second, Select):
            return super().belongs(first, second, query_env)  # type: ignore[misc]  # the pyDAL dialect's
        return self._in(self.expand(first, query_env=query_env), self.adapter.bind(second, first.type, many=True))

    def _in(self, column: str, values: str) -> str:
        raise NotImplementedError

    def row_lt(self, first: Any, second: Any, query_env: Any = NO_ENV) -> str:
        """Row values: (a, b) < (x, y)."""
        return self._row("<", first, second, query_env)

    def row_gt(self, first: Any, second: Any, query_env: Any = NO_ENV) -> str:
        """Row values: (a, b) > (x, y)."""
        return self._row(">", first, second, query_env)

    def _row(self, sign: str, first: Any, second: Any, env: Any) -> str:
        types: list[Any] = []
        node = first
        while isinstance(node, Expression) and not isinstance(node, Field):  # (a | b) | c
            types.insert(0, node.second.type)
            node = node.first
        types.insert(0, node.type)
        values = ",".join(self.expand(value, kind, query_env=env) for value, kind in zip(second, types, strict=True))
        return f"(({self.expand(first, query_env=env)}) {sign} ({values}))"

    def case(self, query: Any, true_false: tuple[Any, Any], query_env: Any = NO_ENV) -> str:
        """CASE WHEN with bound or computed results."""
        yes, no = (
            self.expand(value, query_env=query_env) if isinstance(value, Expression) else self.adapter.bind(value, None)
            for value in true_false
        )
        return f"CASE WHEN {self.expand(query, query_env=query_env)} THEN {yes} ELSE {no} END"

    def page(self, limit: Slot | None, offset: Slot | None) -> str:
        """LIMIT and OFFSET, bound."""
        text = "" if limit is None else f" LIMIT {self.adapter.bind(limit, 'bigint')}"
        if offset is not None:
            text += f"{'' if limit is not None else self.no_limit} OFFSET {self.adapter.bind(offset, 'bigint')}"
        return text

    def lock(self, how: bool | str) -> str:
        """The row lock of a SELECT."""
        raise NotImplementedError


class PostgresText(_Bound, PostgreDialectBooleanJSON):  # type: ignore[misc]  # pyDAL is untyped
    """PostgreSQL's way of saying it."""

    def _folded(self, text: str, pattern: str) -> str:
        return f"({text} ILIKE {pattern} ESCAPE '\\')"

    def _in(self, column: str, values: str) -> str:
        return f"({column} = ANY({values}))"

    def _has(self, column: str, member: str) -> str:
        return f"({column} @> ARRAY[{member}])"  # served by a GIN index

    def lock(self, how: bool | str) -> str:
        """FOR UPDATE, or one of its variants."""
        if how is True:
            return " FOR UPDATE"
        if how in ("SKIP LOCKED", "NOWAIT"):
            return f" FOR UPDATE {how}"
        raise ValueError("for_update is True, 'SKIP LOCKED' or 'NOWAIT'")


class SqliteText(_Bound, SQLiteDialect):  # type: ignore[misc]  # pyDAL is untyped
    """SQLite's way of saying it."""

    true_exp, false_exp = "1", "0"
    no_limit = " LIMIT -1"

    def _folded(self, text: str, pattern: str) -> str:
        return f"(LOWER({text}) LIKE LOWER({pattern}) ESCAPE '\\')"

    def _in(self, column: str, values: str) -> str:
        return f"({column} IN (SELECT value FROM json_each({values})))"

    def _has(self, column: str, member: str) -> str:
        return f"EXISTS (SELECT 1 FROM json_each({column}) WHERE value = {member})"

    def lock(self, how: bool | str) -> str:
        """Nothing: there is one writer at a time."""
        del how
        return ""


def register() -> None:
    """Make both known to pyDAL's registries. Called where the first schema is made, not at import."""
    if "dalsqlite" in adapters._registry_:
        return
    for scheme, writer, dialect in (
        ("dalpostgres", PostgresWriter, PostgresText),
        ("dalsqlite", SqliteWriter, SqliteText),
    ):
        adapters.register_for(scheme)(writer)
        dialects.register_for(writer)(dialect)
        # else every new Expression patches its own class again: 3 us each, and two dialects overwrite each other
        dialect._all_expressions_ = {}
