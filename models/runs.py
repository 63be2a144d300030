"""Reading runs: one function, one statement. Lists continue by keyset and cost the same however deep they are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from models.dal import Call
from models.run_facts import RunFilter, Visible

SCANNED = 50_000
"""Index rows that one page of a filtered list may look at before it answers with what it has and a cursor."""

SUMMARY = (
    "w.id, w.wpk_id, w.run_id, w.status, w.duration_ms, w.created_at, w.updated_at, w.source, w.community_id,"
    " w.workflow_id, w.workflow_version, w.reported_status, w.error, w.pinned"
)
Position = tuple[datetime, UUID]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """A run without its payloads."""

    id: UUID
    wpk_id: str
    run_id: str
    status: str
    duration_ms: int | None
    created_at: datetime
    updated_at: datetime
    source: str
    community_id: int | None
    workflow_id: UUID | None
    workflow_version: str | None
    reported_status: str | None
    error: str | None
    pinned: bool

    @property
    def position(self) -> Position:
        """Where the run stands in a list, newest first."""
        return self.created_at, self.id


@dataclass(frozen=True, slots=True, kw_only=True)
class Payloads:
    """What a run was given, what it answered and what its nodes did."""

    inputs: Any
    outputs: Any
    node_logs: Any


@dataclass(slots=True)
class RunSql:
    """Values of one statement under construction; every value is bound."""

    postgres: bool
    values: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, db: Any) -> RunSql:
        """An empty statement for this database."""
        return cls(postgres=db.engine == "postgres")

    def bind(self, value: Any) -> str:
        """A placeholder for the value."""
        name = f"v{len(self.values)}"
        self.values[name] = value
        return f":{name}"

    def any_of(self, column: str, values: Iterable[Any], cast: str) -> str:
        """The condition that `column` is one of `values`."""
        bound = self.bind(sorted(values))
        if self.postgres:
            return f"{column} = ANY({bound}::{cast}[])"
        return f"{column} IN (SELECT value FROM json_each({bound}))"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowRuns:
    """The runs of one workflow: of these package ids, in these communities (0 = none; None = all)."""

    packages: Sequence[str]
    communities: frozenset[int] | None = None
    status: str | None = None
    since: datetime | None = None
    until: datetime | None = None


async def workflow_page(
    db: Any, wanted: WorkflowRuns, *, after: Position | None, skip: int, count: int
) -> list[RunSummary]:
    """One page of a workflow's runs, newest first."""
    sql = RunSql.of(db)
    where = " AND ".join([*_workflow_conditions(sql, wanted), *_after(sql, after)])
    reach = sql.bind(skip + count)
    streams = " UNION ALL ".join(
        f"SELECT s{n}.id FROM (SELECT w.id FROM workflow_runs w WHERE w.wpk_id = {sql.bind(package)} AND {where}"
        f" ORDER BY w.created_at DESC, w.id DESC LIMIT {reach}) AS s{n}"
        for n, package in enumerate(wanted.packages)
    )
    text = (
        f"SELECT {SUMMARY} FROM workflow_runs w WHERE w.id IN ({streams})"
        f" ORDER BY w.created_at DESC, w.id DESC LIMIT {sql.bind(count)} OFFSET {sql.bind(skip)}"
    )
    return await _summaries(db, text, sql)


async def workflow_total(db: Any, wanted: WorkflowRuns) -> int:
    """How many runs a workflow has (of that status), from the maintained counters."""
    sql = RunSql.of(db)
    where = " AND ".join(_counted(sql, wanted))
    text = f"SELECT COALESCE(SUM(runs), 0) AS n FROM run_count WHERE {where}"
    return int((await db.sql(text, **sql.values).first())["n"])


async def workflow_count(db: Any, wanted: WorkflowRuns, *, cap: int) -> int:
    """How many runs of a workflow match, at most `cap`."""
    sql = RunSql.of(db)
    where = " AND ".join([sql.any_of("w.wpk_id", wanted.packages, "text"), *_workflow_conditions(sql, wanted)])
    text = f"SELECT count(*) AS n FROM (SELECT 1 FROM workflow_runs w WHERE {where} LIMIT {sql.bind(cap)}) AS c"
    return int((await db.sql(text, **sql.values).first())["n"])


async def page(
    db: Any, runs: RunFilter, *, after: Position | None, count: int
) -> tuple[list[RunSummary], Position | None]:
    """One page of all visible runs, newest first, and where the search stopped when it gave up early.

    Filters that have an index are applied by it; the others (duration, visibility) are applied to at most
    50,000 rows of it.
    """
    sql = RunSql.of(db)
    indexed = " AND ".join(_indexed(sql, runs) + _after(sql, after)) or "1 = 1"
    rest = " AND ".join(_rest(sql, runs))
    newest = f"FROM workflow_runs w WHERE {indexed} ORDER BY w.created_at DESC, w.id DESC LIMIT"
    if rest:
        # the order of the inner query is that of the outer one: sorting again would read all of it first
        inner = f"SELECT w.id, w.duration_ms, w.community_id, w.workflow_id {newest} {sql.bind(SCANNED)}"
        found = f"SELECT w.id FROM ({inner}) AS w WHERE {rest} LIMIT {sql.bind(count)}"
    else:
        found = f"SELECT w.id {newest} {sql.bind(count)}"
    text = f"SELECT {SUMMARY} FROM workflow_runs w WHERE w.id IN ({found}) ORDER BY w.created_at DESC, w.id DESC"
    rows = await _summaries(db, text, sql)
    if len(rows) == count or not rest:
        return rows, None
    return rows, await _given_up_at(db, runs, after)


async def count(db: Any, runs: RunFilter, *, cap: int) -> int:
    """How many visible runs match, at most `cap`, among the newest 50,000 rows of the index."""
    sql = RunSql.of(db)
    indexed = " AND ".join(_indexed(sql, runs)) or "1 = 1"
    rest = " AND ".join(_rest(sql, runs)) or "1 = 1"
    inner = (
        f"SELECT w.duration_ms, w.community_id, w.workflow_id FROM workflow_runs w WHERE {indexed}"
        f" ORDER BY w.created_at DESC, w.id DESC LIMIT {sql.bind(cap if rest == '1 = 1' else SCANNED)}"
    )
    text = f"SELECT count(*) AS n FROM (SELECT 1 FROM ({inner}) AS w WHERE {rest} LIMIT {sql.bind(cap)}) AS c"
    return int((await db.sql(text, **sql.values).first())["n"])


async def _given_up_at(db: Any, runs: RunFilter, after: Position | None) -> Position | None:
    """The last of the rows that one page may look at, when there are more behind it."""
    sql = RunSql.of(db)
    indexed = " AND ".join(_indexed(sql, runs) + _after(sql, after)) or "1 = 1"
    text = (
        f"SELECT w.created_at, w.id FROM workflow_runs w WHERE {indexed}"
        f" ORDER BY w.created_at DESC, w.id DESC LIMIT 1 OFFSET {sql.bind(SCANNED - 1)}"
    )
    row = await db.sql(text, into=db.workflow_runs, **sql.values).first()
    return (row["created_at"], row["id"]) if row else None


async def by_id(db: Any, run: UUID) -> RunSummary | None:
    """A run by our row id."""
    row = await db.sql(f"SELECT {SUMMARY} FROM workflow_runs w WHERE w.id = :id", into=db.workflow_runs, id=run).first()
    return RunSummary(**row) if row else None


async def by_run_id(db: Any, run_id: str, wpk_id: str | None) -> list[RunSummary]:
    """Runs by their client's id, newest first; several workflows or communities may use the same."""
    sql = RunSql.of(db)
    where = f"w.run_id = {sql.bind(run_id)}" + (f" AND w.wpk_id = {sql.bind(wpk_id)}" if wpk_id is not None else "")
    text = f"SELECT {SUMMARY} FROM workflow_runs w WHERE {where} ORDER BY w.created_at DESC, w.id DESC LIMIT 50"
    return await _summaries(db, text, sql)


async def by_ids(db: Any, ids: Sequence[UUID]) -> dict[UUID, RunSummary]:
    """Runs by our row ids."""
    rows = await db.sql(
        pg=f"SELECT {SUMMARY} FROM workflow_runs w WHERE w.id = ANY(:ids::uuid[])",
        sqlite=f"SELECT {SUMMARY} FROM workflow_runs w WHERE w.id IN (SELECT value FROM json_each(:ids))",
        into=db.workflow_runs,
        ids=list(ids),
    )
    return {row["id"]: RunSummary(**row) for row in rows}


async def payloads(db: Any, run: UUID) -> Payloads | None:
    """What a run was given and answered, as stored with it."""
    row = (
        await db(db.workflow_runs.id == run)
        .select(db.workflow_runs.inputs, db.workflow_runs.outputs, db.workflow_runs.node_logs)
        .first()
    )
    return Payloads(inputs=row["inputs"], outputs=row["outputs"], node_logs=row["node_logs"]) if row else None


def pin(db: Any, run: UUID, *, pinned: bool) -> Call[int]:
    """Keep a run for ever, or no longer."""
    call: Call[int] = db(db.workflow_runs.id == run).update(pinned=pinned)
    return call


async def _summaries(db: Any, text: str, sql: RunSql) -> list[RunSummary]:
    return [RunSummary(**row) for row in await db.sql(text, into=db.workflow_runs, **sql.values)]


def _after(sql: RunSql, after: Position | None) -> list[str]:
    return [f"(w.created_at, w.id) < ({sql.bind(after[0])}, {sql.bind(after[1])})"] if after else []


def _times(sql: RunSql, since: datetime | None, until: datetime | None) -> list[str]:
    found = [f"w.created_at >= {sql.bind(since)}"] if since else []
    return [*found, f"w.created_at < {sql.bind(until)}"] if until else found


def _workflow_conditions(sql: RunSql, wanted: WorkflowRuns) -> list[str]:
    found = ["1 = 1", *_times(sql, wanted.since, wanted.until)]
    if wanted.status is not None:
        found.append(f"w.status = {sql.bind(wanted.status)}")
    if wanted.communities is not None:
        found.append(sql.any_of("COALESCE(w.community_id, 0)", wanted.communities, "bigint"))
    return found


def _counted(sql: RunSql, wanted: WorkflowRuns) -> list[str]:
    found = [sql.any_of("wpk_id", wanted.packages, "text")]
    if wanted.communities is not None:
        found.append(sql.any_of("community_id", wanted.communities, "bigint"))
    if wanted.status is not None:
        found.append(f"status = {sql.bind(wanted.status)}")
    return found


def conditions(sql: RunSql, runs: RunFilter) -> list[str]:
    """Everything a filter asks of a row called `w`; empty when it asks for nothing."""
    return _indexed(sql, runs) + _rest(sql, runs)


def _indexed(sql: RunSql, runs: RunFilter) -> list[str]:
    found = _times(sql, runs.since, runs.until)
    for column, value in (("wpk_id", runs.wpk_id), ("status", runs.status), ("source", runs.source)):
        if value is not None:
            found.append(f"w.{column} = {sql.bind(value)}")
    return found


def _rest(sql: RunSql, runs: RunFilter) -> list[str]:
    found = [f"w.duration_ms >= {sql.bind(runs.min_duration_ms)}"] if runs.min_duration_ms is not None else []
    return found if runs.visible.everything else [*found, _visible(sql, runs.visible)]


def _visible(sql: RunSql, visible: Visible) -> str:
    """The rows (called `w`) that somebody may see; `sql` binds values."""
    members = sql.any_of("COALESCE(w.community_id, 0)", {0, *visible.communities}, "bigint")
    workflows = sql.any_of("w.workflow_id", [str(w) for w in visible.workflows], "uuid")
    return f"((w.workflow_id IS NULL AND {members}) OR {workflows})"
