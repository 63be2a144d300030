"""Signals, watches and what is remembered of series: one function, one statement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from models.dal import AsyncDAL, Call
from models.run_facts import Visible
from models.runs import RunSql

BAR = "bar"
"""The kind of `series_state` rows that hold what people's verdicts added to a series' threshold."""
COLUMNS = (
    "w.id, w.metric, w.value, w.score, w.hint, w.created_at, w.labels, w.method, w.source, w.series, w.workflow_id,"
    " w.community_id, w.watch_id, w.verdict, w.note"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalRow:
    """A stored signal, without the window it was judged on."""

    id: UUID
    metric: str
    value: float
    score: float
    hint: str | None
    created_at: datetime
    labels: Mapping[str, str] | None = None
    method: str | None = None
    source: str | None = None
    series: str | None = None
    workflow_id: UUID | None = None
    community_id: int | None = None
    watch_id: UUID | None = None
    verdict: str | None = None
    note: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalFilter:
    """Which signals; fields that are None do not restrict. `until` is exclusive."""

    visible: Visible = field(default_factory=Visible)
    metric: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    min_score: float | None = None
    workflow_id: UUID | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchRow:
    """A probe that runs by itself."""

    id: UUID
    query: str
    every_seconds: int
    threshold: float
    method: str
    lookback_minutes: int
    step_seconds: int
    notify: Mapping[str, Any] | None
    owner_id: int | None
    community_id: int | None
    enabled: bool
    next_at: datetime
    last_at: datetime | None
    last_error: str | None
    worker: UUID | None
    created: datetime


class Whose(NamedTuple):
    """Which watches: of one owner or (None) of all; of one community and of none, or (None) of all."""

    owner: int | None
    community: int | None


Position = tuple[datetime, UUID]


# ---- signals -----------------------------------------------------------------------------------------------------------


def insert(db: AsyncDAL, row: SignalRow, window: Any = None) -> Call[Any]:
    """Store a signal, with the points it was judged on."""
    values = {name: getattr(row, name) for name in SignalRow.__slots__}
    call: Call[Any] = db.insight_signals.insert(**values, window=window)
    return call


async def page(db: Any, wanted: SignalFilter, *, after: Position | None, count: int) -> list[SignalRow]:
    """One page of signals, newest first."""
    sql = RunSql.of(db)
    where = _conditions(sql, wanted)
    if after is not None:
        where.append(f"(w.created_at, w.id) < ({sql.bind(after[0])}, {sql.bind(after[1])})")
    text = (
        f"SELECT {COLUMNS} FROM insight_signals w WHERE {' AND '.join(where) or '1 = 1'}"
        f" ORDER BY w.created_at DESC, w.id DESC LIMIT {sql.bind(count)}"
    )
    return [SignalRow(**row) for row in await db.sql(text, into=db.insight_signals, **sql.values)]


async def count(db: Any, wanted: SignalFilter, *, cap: int) -> int:
    """How many signals match, at most `cap`."""
    sql = RunSql.of(db)
    where = " AND ".join(_conditions(sql, wanted)) or "1 = 1"
    text = (
        f"SELECT count(*) AS n FROM (SELECT 1 FROM insight_signals w WHERE {where}"
        f" ORDER BY w.created_at DESC LIMIT {sql.bind(cap)}) AS found"
    )
    return int((await db.sql(text, **sql.values).first())["n"])


def _conditions(sql: RunSql, wanted: SignalFilter) -> list[str]:
    found = []
    comparisons = (
        ("w.metric =", wanted.metric),
        ("w.created_at >=", wanted.since),
        ("w.created_at <", wanted.until),
        ("w.score >=", wanted.min_score),
        ("w.workflow_id =", wanted.workflow_id),
    )
    for comparison, value in comparisons:
        if value is not None:
            found.append(f"{comparison} {sql.bind(value)}")
    if not wanted.visible.everything:
        members = sql.any_of("COALESCE(w.community_id, 0)", {0, *wanted.visible.communities}, "bigint")
        workflows = sql.any_of("w.workflow_id", [str(w) for w in wanted.visible.workflows], "uuid")
        found.append(f"((w.workflow_id IS NULL AND {members}) OR {workflows})")
    return found


async def get(db: Any, signal: UUID, visible: Visible) -> tuple[SignalRow, Any] | None:
    """A signal the caller may see, and the points it was judged on."""
    sql = RunSql.of(db)
    where = " AND ".join([f"w.id = {sql.bind(signal)}", *_conditions(sql, SignalFilter(visible=visible))])
    text = f'SELECT {COLUMNS}, w."window" FROM insight_signals w WHERE {where}'
    row = await db.sql(text, into=db.insight_signals, **sql.values).first()
    if row is None:
        return None
    window = row.pop("window")
    return SignalRow(**row), window


def judge(db: AsyncDAL, signal: UUID, *, verdict: str, note: str | None) -> Call[int]:
    """Write down what a person thinks of a signal."""
    call: Call[int] = db(db.insight_signals.id == signal).update(verdict=verdict, note=note)
    return call


# ---- series ------------------------------------------------------------------------------------------------------------


async def bars(db: Any, series: Sequence[str]) -> dict[str, float]:
    """What verdicts added to the thresholds of these series."""
    return {row.series: row.bar for row in await _states(db, series, BAR) if row.bar}


async def states(db: Any, kind: str) -> dict[str, bytes]:
    """What one watch remembers, by series."""
    s = db.series_state
    return {row.series: row.state for row in await db(s.kind == kind).select(s.series, s.state) if row.state}


async def _states(db: Any, series: Sequence[str], kind: str) -> list[Any]:
    s = db.series_state
    return list(await db((s.kind == kind) & s.series.belongs(list(series))).select(s.series, s.bar)) if series else []


def set_bar(db: AsyncDAL, series: str, bar: float, *, at: datetime) -> Call[int]:
    """What is added to every threshold of a series from now on."""
    s = db.series_state
    call: Call[int] = s.upsert(
        (s.series, s.kind), update=("bar", "updated_at"), series=series, kind=BAR, bar=bar, updated_at=at
    )
    return call


def remember(db: AsyncDAL, series: str, kind: str, state: bytes, *, at: datetime) -> Call[int]:
    """What a watch wants to know of a series next time."""
    s = db.series_state
    call: Call[int] = s.upsert(
        (s.series, s.kind),
        update=("state", "updated_at"),
        series=series,
        kind=kind,
        state=state,
        bar=0.0,
        updated_at=at,
    )
    return call


def forget(db: AsyncDAL, kind: str) -> Call[int]:
    """Drop everything a watch remembers."""
    call: Call[int] = db(db.series_state.kind == kind).delete()
    return call


# ---- watches -----------------------------------------------------------------------------------------------------------


def insert_watch(db: AsyncDAL, row: WatchRow) -> Call[Any]:
    """Store a watch."""
    call: Call[Any] = db.watch.insert(**{name: getattr(row, name) for name in WatchRow.__slots__})
    return call


async def watch(db: Any, watch_id: UUID) -> WatchRow | None:
    """One watch."""
    row = await db(db.watch.id == watch_id).select().first()
    return WatchRow(**row) if row else None


async def watches(db: Any, whose: Whose, *, after: UUID | None, count: int, skip: int = 0) -> list[WatchRow]:
    """Watches by id."""
    rows = await db(_watched(db, whose, after)).select(orderby=db.watch.id, limit=count, offset=skip)
    return [WatchRow(**row) for row in rows]


async def watch_total(db: Any, whose: Whose) -> int:
    """How many watches there are."""
    return int(await db(_watched(db, whose, None)).count())


def _watched(db: Any, whose: Whose, after: UUID | None) -> Any:
    w = db.watch
    query = w.id > (after or UUID(int=0))
    if whose.owner is not None:
        query &= w.owner_id == whose.owner
    if whose.community is not None:
        query &= (w.community_id == whose.community) | (w.community_id == None)  # noqa: E711 - SQL
    return query


def drop_watch(db: AsyncDAL, watch_id: UUID) -> Call[int]:
    """Remove a watch."""
    call: Call[int] = db(db.watch.id == watch_id).delete()
    return call


async def due(db: Any, *, now: datetime, count: int) -> list[WatchRow]:
    """Enabled watches whose time has come, the most overdue first."""
    w = db.watch
    rows = await db((w.enabled == True) & (w.next_at <= now)).select(orderby=w.next_at, limit=count)  # noqa: E712
    return [WatchRow(**row) for row in rows]


def claim(db: AsyncDAL, row: WatchRow, *, worker: UUID, next_at: datetime) -> Call[int]:
    """Take a due watch: of all workers that saw it only one changes a row."""
    w = db.watch
    seen = (w.id == row.id) & (w.next_at == row.next_at) & (w.enabled == True)  # noqa: E712
    call: Call[int] = db(seen).update(next_at=next_at, worker=worker)
    return call


def finished(db: AsyncDAL, watch_id: UUID, *, at: datetime, error: str | None) -> Call[int]:
    """Write down that a watch has run."""
    call: Call[int] = db(db.watch.id == watch_id).update(last_at=at, last_error=error)
    return call


async def running(db: Any, start: datetime, end: datetime, visible: Visible) -> list[Any]:
    """Runs that overlap a span of time, newest first, at most 50: `run_id, wpk_id, status, created_at, duration_ms`."""
    sql = RunSql.of(db)
    where = [f"w.created_at <= {sql.bind(end)}", f"w.created_at >= {sql.bind(start)}"]
    if not visible.everything:
        where += _conditions(sql, SignalFilter(visible=visible))
    text = (
        "SELECT w.run_id, w.wpk_id, w.status, w.created_at, w.duration_ms FROM workflow_runs w"
        f" WHERE {' AND '.join(where)} ORDER BY w.created_at DESC, w.id DESC LIMIT 50"
    )
    return list(await db.sql(text, into=db.workflow_runs, **sql.values))
