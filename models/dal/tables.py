"""The face of pyDAL that callers see: tables that build calls, and selections of rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn, Protocol

from pydal import DAL
from pydal.objects import Expression, Field, Query, Set, Table

from models.dal.call import Call, Row
from models.dal.compiler import Changing, Selecting
from models.dal.dialects import register


class Builder(Protocol):
    """Who turns a wish into a call."""

    def selecting(self, wanted: Selecting) -> Call[list[Row]]:
        """A call for a SELECT."""
        ...

    def changing(self, wanted: Changing) -> Call[Any]:
        """A call for a change or a count."""
        ...


class Schema(DAL):  # type: ignore[misc]  # pyDAL is untyped
    """pyDAL's own object: it holds the tables and writes SQL. It is never connected."""

    front: Builder

    def __new__(cls, *_: Any, **__: Any) -> Schema:
        """Stay out of pyDAL's thread-local registry, which keeps every instance until close()."""
        schema: Schema = object.__new__(cls)
        object.__setattr__(schema, "_db_uid", "dal")
        return schema

    def __init__(self, engine: str, front: Builder) -> None:
        register()
        super().__init__(f"dal{engine}://", migrate=False, migrate_enabled=False, attempts=1)
        self._request_tenant = "\0"  # no column has this name: pyDAL adds no conditions of its own
        object.__setattr__(self, "front", front)


class AsyncTable(Table):  # type: ignore[misc]  # pyDAL is untyped
    """A declared table; its methods build calls."""

    def columns_for(self, values: dict[str, Any], *, insert: bool) -> list[tuple[Any, Any]]:
        """(field, value) in the order of declaration, defaults filled in. Raises ValueError for unknown names."""
        plan = self.__dict__.get("_plan")
        if plan is None:
            plan = [(field.name, field, field.default, field.update) for field in self]
            object.__setattr__(self, "_plan", plan)
            object.__setattr__(self, "_names", frozenset(self.fields))
        if not values.keys() <= self._names:
            unknown = ", ".join(sorted(values.keys() - self._names))
            raise ValueError(f"no such column in {self._tablename}: {unknown}")
        pairs = []
        for name, field, default, update in plan:
            if name in values:
                pairs.append((field, values[name]))
                continue
            value = default if insert else update
            if value is not None:
                pairs.append((field, value() if callable(value) else value))
        return pairs

    def insert(self, returning: Sequence[Any] = (), **values: Any) -> Call[Any]:
        """INSERT; yields the number of rows, or the `returning` columns."""
        pairs = self.columns_for(values, insert=True)
        return _front(self).changing(Changing(kind="insert", table=self, pairs=pairs, returning=returning))

    def upsert(
        self, on: Any, update: Sequence[str] | None = None, returning: Sequence[Any] = (), **values: Any
    ) -> Call[Any]:
        """INSERT … ON CONFLICT (on) DO UPDATE SET update, every other column by default, or DO NOTHING for ()."""
        keys = tuple(field.name for field in (on if isinstance(on, list | tuple) else (on,)))
        pairs = self.columns_for(values, insert=True)
        changed = [field.name for field, _ in pairs if field.name not in keys] if update is None else list(update)
        conflict = (keys, tuple(changed))
        return _front(self).changing(
            Changing(kind="insert", table=self, pairs=pairs, conflict=conflict, returning=returning)
        )

    def __call__(self, key: Any) -> Call[Row | None]:
        """The row with this primary key, or None."""
        keys = key_fields(self)
        if len(keys) != 1:
            raise TypeError(f"{self._tablename} has a compound key: use db(query).select().first()")
        return _front(self).selecting(Selecting(query=keys[0] == key, limit=1)).first()

    def __getitem__(self, name: Any) -> Any:
        return getattr(self, str(name))

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise TypeError("pyDAL's synchronous methods are not available: await a call")

    bulk_insert = update_or_insert = validate_and_insert = validate_and_update = truncate = drop = _refuse


def _front(table: Any) -> Builder:
    front: Builder = table._db.front
    return front


class Selection:
    """The rows that match a query."""

    __slots__ = ("_front", "_schema", "query")

    def __init__(self, front: Builder, schema: Schema, query: Any) -> None:
        self._front = front
        self._schema = schema
        self.query = query

    def where(self, query: Any) -> Selection:
        """Those of them that match this, too."""
        return Selection(self._front, self._schema, self.query & checked(query))

    __call__ = where

    def select(self, *fields: Any, **attributes: Any) -> Call[list[Row]]:
        """SELECT: join, left, orderby, groupby, having, distinct, limit, offset, for_update; all columns by default."""
        for name in ("join", "left", "orderby", "groupby"):
            if name in attributes:
                attributes[name] = _several(attributes[name])
        for node in (*fields, *attributes.get("orderby", ()), *attributes.get("groupby", ())):
            if isinstance(node, str):
                raise TypeError("raw SQL in a query: use db.sql()")
        return self._front.selecting(Selecting(query=self.query, fields=fields, **attributes))

    def nested_select(self, *fields: Any, correlated: bool = False) -> Any:
        """A sub-select for `belongs`; it sees the tables outside only when `correlated`."""
        return Set(self._schema, self.query).nested_select(*fields, correlated=correlated)

    def count(self, distinct: Any = None) -> Call[int]:
        """How many rows."""
        return self._front.changing(Changing(kind="count", query=self.query, distinct=distinct))

    def update(self, returning: Sequence[Any] = (), **values: Any) -> Call[Any]:
        """UPDATE; yields how many rows were changed, or the `returning` columns of them."""
        table = self._schema._adapter.get_table(self.query)
        pairs = table.columns_for(values, insert=False)
        return self._front.changing(
            Changing(kind="update", table=table, query=self.query, pairs=pairs, returning=returning)
        )

    def delete(self, returning: Sequence[Any] = ()) -> Call[Any]:
        """DELETE; yields how many rows were deleted, or the `returning` columns of them."""
        return self._front.changing(Changing(kind="delete", query=self.query, returning=returning))


def key_fields(table: Any) -> list[Any]:
    """The primary key of a declared table."""
    names = getattr(table, "_primarykey", None)
    return [table[name] for name in names] if names else [table._id]


def checked(query: Any) -> Any:
    """A query, or every row of a table. Raises TypeError for anything else, strings above all."""
    if isinstance(query, Table):
        return key_fields(query)[0] != None  # noqa: E711 - pyDAL writes IS NOT NULL
    if not isinstance(query, Query | Expression) or isinstance(query, Field):
        raise TypeError("db(…) takes a query or a table; hand-written SQL goes through db.sql()")
    return query


def _several(nodes: Any) -> Sequence[Any]:
    return nodes if isinstance(nodes, list | tuple) else (nodes,) if nodes is not None else ()
