"""The list of workflows as SQL: every filter combines with AND, only what the caller may view, at constant cost.

A list is read from *streams*: index ranges that already have the order of the list (ids are UUIDv7, so id order is
order of creation). Which streams there are depends on the request: the caller's own workflows plus one per grant
subject, or one per wanted tag, or the whole index. Each stream gives at most one page; their union gives the page.
So a page costs the same for a caller who may see ten of a million workflows as for one who may see all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from models.workflows import W_COLUMNS, WorkflowRow

MAX_STREAMS = 24
"""With more subjects or tags than this the index is walked and each row checked instead."""

SORTS: Mapping[str, tuple[str, ...]] = {
    "created": ("id",),
    "updated": ("updated", "id"),
    "label": ("label", "id"),
    "name": ("name", "id"),
    "ref": ("ref",),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Viewer:
    """Whose view it is. `user_id` None = sees everything; `community_id` = limited to that one and to none."""

    user_id: int | None
    community_id: int | None = None
    roles: frozenset[tuple[int, str]] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """What a workflow must be to be listed; everything given must hold. `tags`: any of them."""

    tags: tuple[str, ...] = ()
    enabled: bool | None = None
    needle: str | None = None  # case-folded
    pack_ref: str | None = None
    community_id: int | None = None

    @property
    def only_pack(self) -> bool:
        """Whether at most the pack is asked for, so that maintained counters know the total."""
        return not self.tags and self.enabled is None and self.needle is None and self.community_id is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Which part of the list, in which order. `after`: the sort key of the last row seen."""

    sort_by: str = "created"
    descending: bool = True
    after: tuple[Any, ...] | None = None
    skip: int = 0
    count: int = 20


@dataclass(slots=True)
class _Sql:
    """Text and values of one statement under construction; every value is bound."""

    values: dict[str, Any] = field(default_factory=dict)

    def bind(self, value: Any) -> str:
        name = f"v{len(self.values)}"
        self.values[name] = value
        return f":{name}"


async def page(db: Any, viewer: Viewer, filters: Filters, window: Window) -> list[WorkflowRow]:
    """One page of workflows."""
    text, values = page_sql(viewer, filters, window)
    return [WorkflowRow(**row) for row in await db.sql(text, into=db.workflow, **values)]


async def count(db: Any, viewer: Viewer, filters: Filters, *, cap: int) -> int:
    """How many workflows match, at most `cap`."""
    text, values = count_sql(viewer, filters, cap)
    return int((await db.sql(text, **values).first())["n"])


def page_sql(viewer: Viewer, filters: Filters, window: Window) -> tuple[str, dict[str, Any]]:
    """The statement of one page."""
    sql = _Sql()
    key = SORTS[window.sort_by]
    direction = "DESC" if window.descending else "ASC"
    order = ", ".join(f"w.{column} {direction}" for column in key)
    tail = f"ORDER BY {order} LIMIT {sql.bind(window.count)}"
    if window.skip:
        tail += f" OFFSET {sql.bind(window.skip)}"
    where = _conditions(sql, filters) + _after(sql, window)
    streams = _streams(sql, viewer, filters) if key == ("id",) else []
    if not streams:
        seen = where + _visible(sql, viewer) + _tagged(sql, filters)
        return f"SELECT {W_COLUMNS} FROM workflow w WHERE {' AND '.join(seen)} {tail}", sql.values
    reach = sql.bind(window.count + window.skip)
    union = _union(sql, streams, where, viewer=viewer, order=f"ORDER BY {{key}} {direction} LIMIT {reach}")
    return f"SELECT {W_COLUMNS} FROM workflow w WHERE w.id IN ({union}) {tail}", sql.values


def count_sql(viewer: Viewer, filters: Filters, cap: int) -> tuple[str, dict[str, Any]]:
    """The statement that counts, stopping at `cap`."""
    sql = _Sql()
    where = _conditions(sql, filters)
    streams = _streams(sql, viewer, filters)
    limit = sql.bind(cap)
    if not streams:
        seen = where + _visible(sql, viewer) + _tagged(sql, filters)
        inner = f"SELECT w.id FROM workflow w WHERE {' AND '.join(seen)} LIMIT {limit}"
    else:
        inner = _union(sql, streams, where, viewer=viewer, order=f"LIMIT {limit}")
        inner = f"SELECT id FROM ({inner}) AS found LIMIT {limit}"
    return f"SELECT count(*) AS n FROM ({inner}) AS counted", sql.values


# ---- streams ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Stream:
    """An index range in id order: what it reads from, its condition, the column that has the order."""

    source: str
    condition: str
    key: str
    checked: bool  # whether being in the stream already proves that the caller may view the workflow


def _streams(sql: _Sql, viewer: Viewer, filters: Filters) -> list[_Stream]:
    if filters.tags:
        return _tag_streams(sql, filters) if len(filters.tags) <= MAX_STREAMS else []
    if viewer.user_id is None or 2 * len(viewer.roles) + 2 > MAX_STREAMS:
        return []
    return _subject_streams(sql, viewer)


def _tag_streams(sql: _Sql, filters: Filters) -> list[_Stream]:
    source = "workflow_tag t CROSS JOIN workflow w"
    return [
        _Stream(source, f"t.tag = {sql.bind(tag)} AND w.id = t.workflow_id", "t.workflow_id", checked=False)
        for tag in filters.tags
    ]


def _subject_streams(sql: _Sql, viewer: Viewer) -> list[_Stream]:
    source = "workflow_permission p CROSS JOIN workflow w"
    held = "p.subject_type = '{}' AND p.subject_id = {} AND p.can_view AND w.id = p.workflow_id"
    streams = [
        _Stream("workflow w", f"w.owner_id = {sql.bind(viewer.user_id)}", "w.id", checked=True),
        _Stream(source, held.format("user", sql.bind(str(viewer.user_id))), "p.workflow_id", checked=True),
    ]
    for community in sorted({community for community, _ in viewer.roles}):
        condition = held.format("community", sql.bind(str(community)))
        streams.append(_Stream(source, condition, "p.workflow_id", checked=True))
    for community, role in sorted(viewer.roles):
        condition = f"{held.format('role', sql.bind(role))} AND w.community_id = {sql.bind(community)}"
        streams.append(_Stream(source, condition, "p.workflow_id", checked=True))
    return streams


def _union(sql: _Sql, streams: list[_Stream], where: list[str], *, viewer: Viewer, order: str) -> str:
    visible = _visible(sql, viewer) if not all(stream.checked for stream in streams) else _inside(sql, viewer)
    parts = []
    for number, stream in enumerate(streams):
        seen = " AND ".join([stream.condition, *where, *visible])
        tail = order.format(key=stream.key)
        part = f"SELECT {stream.key} AS id FROM {stream.source} WHERE {seen} {tail}"
        parts.append(f"SELECT s{number}.id FROM ({part}) AS s{number}")
    return " UNION ".join(parts)


# ---- conditions ------------------------------------------------------------------------------------------------------


def _conditions(sql: _Sql, filters: Filters) -> list[str]:
    found = ["w.deleted_at IS NULL"]
    if filters.pack_ref is not None:
        found.append(f"w.pack_ref = {sql.bind(filters.pack_ref)}")
    if filters.community_id is not None:
        found.append(f"w.community_id = {sql.bind(filters.community_id)}")
    if filters.enabled is not None:
        found.append("w.enabled" if filters.enabled else "NOT w.enabled")
    if filters.needle is not None:
        found.append(f"w.search LIKE {sql.bind(_pattern(filters.needle))} ESCAPE '!'")
    return found


def _tagged(sql: _Sql, filters: Filters) -> list[str]:
    if not filters.tags:
        return []
    names = ", ".join(sql.bind(tag) for tag in filters.tags)
    return [f"EXISTS (SELECT 1 FROM workflow_tag t WHERE t.workflow_id = w.id AND t.tag IN ({names}))"]


def _after(sql: _Sql, window: Window) -> list[str]:
    if window.after is None:
        return []
    columns = ", ".join(f"w.{column}" for column in SORTS[window.sort_by])
    values = ", ".join(sql.bind(value) for value in window.after)
    return [f"({columns}) {'<' if window.descending else '>'} ({values})"]


def _visible(sql: _Sql, viewer: Viewer) -> list[str]:
    if viewer.user_id is None:
        return _inside(sql, viewer)
    me, name = sql.bind(viewer.user_id), sql.bind(str(viewer.user_id))
    held = (
        f"(w.owner_id = {me} OR EXISTS (SELECT 1 FROM workflow_permission p WHERE p.workflow_id = w.id AND p.can_view"
        f" AND ((p.subject_type = 'user' AND p.subject_id = {name})"
        f" OR (p.subject_type = 'community' AND EXISTS (SELECT 1 FROM user_role r WHERE r.user_id = {me}"
        " AND CAST(r.community_id AS text) = p.subject_id))"
        f" OR (p.subject_type = 'role' AND EXISTS (SELECT 1 FROM user_role r WHERE r.user_id = {me}"
        " AND r.community_id = w.community_id AND r.role = p.subject_id)))))"
    )
    return [held, *_inside(sql, viewer)]


def _inside(sql: _Sql, viewer: Viewer) -> list[str]:
    if viewer.community_id is None:
        return []
    return [f"(w.community_id IS NULL OR w.community_id = {sql.bind(viewer.community_id)})"]


def _pattern(needle: str) -> str:
    escaped = needle.replace("!", "!!").replace("%", "!%").replace("_", "!_")
    return f"%{escaped}%"
