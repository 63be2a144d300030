"""What making and restoring a backup asks of a database."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from models.executions import COLUMNS, ExecutionRow

UNFINISHED = f"""
SELECT {COLUMNS} FROM workflow_executions WHERE ended_at IS NULL AND execution_id > :after
ORDER BY execution_id LIMIT :count
"""
FIRST_ID = UUID(int=0)


async def is_ours(db: Any) -> bool:
    """Whether this database was ever migrated by us."""
    text = "SELECT count(*) AS n FROM {catalogue} WHERE {name} = 'schema_migration'"
    return bool(
        await db.sql(
            pg=text.format(
                catalogue="information_schema.tables", name="table_schema = current_schema() AND table_name"
            ),
            sqlite=text.format(catalogue="sqlite_master", name="name"),
        ).scalar()
    )


async def schema(db: Any) -> dict[str, str]:
    """The migrations that were applied: version, as text -> checksum. Nothing in a database that is not ours."""
    if not await is_ours(db):
        return {}
    rows = await db.sql("SELECT version, sha256 FROM schema_migration ORDER BY version")
    return {str(row["version"]): row["sha256"] for row in rows}


async def count_rows(db: Any) -> dict[str, int]:
    """How many rows each of our tables has; a table that this schema does not have yet is left out."""
    there = await tables(db)
    return {name: int(await db.sql(f"SELECT count(*) AS n FROM {name}").scalar()) for name in there}


async def tables(db: Any) -> Sequence[str]:
    """Those of our tables that are there."""
    rows = await db.sql(
        pg="SELECT table_name AS name FROM information_schema.tables WHERE table_schema = current_schema()",
        sqlite="SELECT name FROM sqlite_master WHERE type = 'table'",
    )
    found = {row["name"] for row in rows}
    return [name for name in db.tables if name in found]


async def holds_anything(db: Any) -> list[str]:
    """Those of our tables that have a row."""
    asked = {name: await db.sql(f"SELECT 1 AS one FROM {name} LIMIT 1").first() for name in await tables(db)}
    return [name for name, row in asked.items() if row is not None]


async def unfinished(db: Any, *, after: UUID = FIRST_ID, count: int = 200) -> list[ExecutionRow]:
    """Executions that have not ended, by id, behind one."""
    rows = await db.sql(UNFINISHED, into=db.workflow_executions, after=after, count=count)
    return [ExecutionRow(**row) for row in rows]


async def problems_of_file(db: Any) -> list[str]:
    """What SQLite finds wrong with a file; nothing: it is whole."""
    rows = await db.sql("SELECT integrity_check FROM pragma_integrity_check(10)")
    found = [str(row["integrity_check"]) for row in rows]
    return [] if found == ["ok"] else found
