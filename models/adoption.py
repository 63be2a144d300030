"""A database that had `workflow_runs` or `insight_signals` before us: its rows, columns and defaults are kept.

PostgreSQL: the tables are completed where they are, so that others who write to them go on undisturbed. SQLite, which
cannot change a column: the old tables are set aside under another name and their rows are read from there.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from models.schema import TABLES

ADOPTABLE = ("workflow_runs", "insight_signals")
ASIDE = "_adopted"
PAGE = 500

_PG_TYPES = {
    "uuid": "uuid", "timestamptz": "timestamptz", "json": "jsonb", "boolean": "boolean", "bigint": "bigint",
    "integer": "bigint", "double": "double precision", "string": "text", "text": "text",
}  # fmt: skip
_PG_DEFAULTS = {
    "created_at": "now()", "updated_at": "now()", "source": "'import'", "pinned": "false", "status": "'interrupted'",
}  # fmt: skip
_LOCK = 7305182


async def tables_of_others(db: Any) -> list[str]:
    """Those of our tables that are there although we never migrated this database."""
    rows = await db.sql(
        pg="SELECT table_name AS name FROM information_schema.tables WHERE table_schema = current_schema()",
        sqlite="SELECT name FROM sqlite_master WHERE type = 'table'",
    )
    names = {row["name"] for row in rows}
    if "schema_migration" in names:
        return []
    return [name for name in ADOPTABLE if name in names]


async def take_over(db: Any, table: str) -> None:
    """Make the table ours before the first migration runs."""
    if db.engine == "sqlite":
        await db.sql(f'ALTER TABLE "{table}" RENAME TO "{table}{ASIDE}"')
        return
    async with db.transaction():
        await db.sql("SELECT pg_advisory_xact_lock(:n)", n=_LOCK).first()
        for statement in await _completing(db, table):
            await db.sql(statement)


async def _completing(db: Any, table: str) -> list[str]:
    rows = await db.sql(
        "SELECT column_name AS name, data_type AS type FROM information_schema.columns"
        " WHERE table_schema = current_schema() AND table_name = :t",
        t=table,
    )
    have = {row["name"]: row["type"] for row in rows}
    statements = []
    for column in TABLES[table]:
        kind, name = _PG_TYPES[column.type], column.name
        default = _PG_DEFAULTS.get(name)
        if name not in have:
            tail = f" DEFAULT {default}" if default else ""
            statements.append(f'ALTER TABLE {table} ADD COLUMN "{name}" {kind}{tail}')
        elif kind in {"bigint", "timestamptz", "jsonb"} and have[name] not in {kind, "timestamp with time zone"}:
            statements.append(f'ALTER TABLE {table} ALTER COLUMN "{name}" TYPE {kind} USING "{name}"::{kind}')
        if default and column.notnull:
            statements.append(f'UPDATE {table} SET "{name}" = {default} WHERE "{name}" IS NULL')
            statements.append(f'ALTER TABLE {table} ALTER COLUMN "{name}" SET NOT NULL')
    return statements + (_RUNS_IN_PLACE if table == "workflow_runs" else [])


_RUNS_IN_PLACE = [
    "UPDATE workflow_runs SET reported_status = status, status = CASE WHEN status IN ('success', 'succeeded')"
    " THEN 'completed' WHEN status IN ('error', 'timeout') THEN 'failed' ELSE 'interrupted' END"
    " WHERE status NOT IN ('running', 'interrupted', 'completed', 'failed', 'cancelled')",
    "WITH ordered AS (SELECT id, wpk_id, run_id, row_number() OVER (PARTITION BY wpk_id, run_id, COALESCE(community_id, 0)"
    " ORDER BY status = 'running', created_at DESC, id) AS n FROM workflow_runs), facts AS ("
    " SELECT o.wpk_id, o.run_id, (array_agg(w.inputs ORDER BY o.n) FILTER (WHERE w.inputs IS NOT NULL))[1] AS inputs,"
    " (array_agg(w.outputs ORDER BY o.n) FILTER (WHERE w.outputs IS NOT NULL))[1] AS outputs,"
    " (array_agg(w.node_logs ORDER BY o.n) FILTER (WHERE w.node_logs IS NOT NULL))[1] AS node_logs,"
    " (array_agg(w.duration_ms ORDER BY o.n) FILTER (WHERE w.duration_ms IS NOT NULL))[1] AS duration_ms"
    " FROM ordered o JOIN workflow_runs w USING (id) GROUP BY 1, 2 HAVING count(*) > 1)"
    " UPDATE workflow_runs w SET inputs = f.inputs, outputs = f.outputs, node_logs = f.node_logs,"
    " duration_ms = f.duration_ms FROM facts f WHERE w.wpk_id = f.wpk_id AND w.run_id = f.run_id",
    "DELETE FROM workflow_runs WHERE id IN (SELECT id FROM (SELECT id, row_number() OVER (PARTITION BY wpk_id, run_id,"
    " COALESCE(community_id, 0) ORDER BY status = 'running', created_at DESC, id) AS n FROM workflow_runs) o WHERE n > 1)",
]


async def count_in_place(db: Any) -> None:
    """Bring counters, aggregates and the outbox up to rows that were there before them (PostgreSQL)."""
    row = await db.sql(
        "SELECT EXISTS (SELECT 1 FROM run_count) AS counted, EXISTS (SELECT 1 FROM workflow_runs) AS runs"
    ).first()
    if row["counted"] or not row["runs"]:
        return
    async with db.transaction():
        await db.sql("SELECT pg_advisory_xact_lock(:n)", n=_LOCK).first()
        await db.sql(
            "INSERT INTO run_count (wpk_id, community_id, status, runs) SELECT wpk_id, COALESCE(community_id, 0), status,"
            " count(*) FROM workflow_runs GROUP BY 1, 2, 3 ON CONFLICT DO NOTHING"
        )
        await db.sql(
            "INSERT INTO workflow_daily (wpk_id, community_id, day, status, runs, duration_ms_sum)"
            " SELECT wpk_id, COALESCE(community_id, 0), to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD'), status,"
            " count(*), COALESCE(SUM(duration_ms), 0) FROM workflow_runs GROUP BY 1, 2, 3, 4 ON CONFLICT DO NOTHING"
        )
        await db.sql(
            "INSERT INTO outbox (id, kind, subject, next_at, created) SELECT gen_random_uuid(), 'index', id, now(), now()"
            " FROM workflow_runs WHERE status <> 'running' ON CONFLICT DO NOTHING"
        )


async def set_aside(db: Any) -> list[str]:
    """Tables whose rows still wait to be read (SQLite)."""
    if db.engine != "sqlite":
        return []
    rows = await db.sql("SELECT name FROM sqlite_master WHERE type = 'table'")
    names = {row["name"] for row in rows}
    return [name for name in ADOPTABLE if f"{name}{ASIDE}" in names]


async def rows_set_aside(db: Any, table: str) -> AsyncIterator[list[dict[str, Any]]]:
    """The old rows, page by page, oldest first."""
    last = -1
    while True:
        rows = await db.sql(
            f'SELECT rowid AS adopted_row, * FROM "{table}{ASIDE}" WHERE rowid > :last ORDER BY rowid LIMIT :n',
            last=last,
            n=PAGE,
        )
        if not rows:
            return
        last = rows[-1]["adopted_row"]
        yield [dict(row) for row in rows]


async def drop_set_aside(db: Any, table: str) -> None:
    """The old rows have all been read."""
    await db.sql(f'DROP TABLE "{table}{ASIDE}"')
