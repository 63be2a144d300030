"""Whole tables out of PostgreSQL and back, as COPY text: one file a table, everything as of one moment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from models.dal.postgres_errors import translated
from models.dal.postgres_pool import Connection

COLUMNS = """
SELECT table_name::text AS name, array_agg(column_name::text ORDER BY ordinal_position) AS columns
FROM information_schema.columns WHERE table_schema = current_schema() AND table_name = ANY($1) GROUP BY 1 ORDER BY 1
"""
IDENTITIES = """
SELECT table_name::text AS name, column_name::text AS column FROM information_schema.columns
WHERE table_schema = current_schema() AND table_name = ANY($1) AND is_identity = 'YES'
"""
NO_LIMIT = "SET LOCAL statement_timeout = 0"
LONG_S = 24 * 3600.0

Tables = Mapping[str, Sequence[str]]
"""Table -> its columns, in the order of its file."""


async def copy_out(connection: Connection, names: Sequence[str], folder: Path) -> dict[str, list[str]]:
    """Write `folder/TABLE.copy` for those of the tables that are there; their columns."""
    with translated():
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            await connection.execute(NO_LIMIT)
            found = {row["name"]: row["columns"] for row in await connection.fetch(COLUMNS, list(names))}
            for name, columns in found.items():
                await connection.copy_from_table(
                    name, columns=columns, output=folder / f"{name}.copy", format="text", timeout=LONG_S
                )
    return found


async def copy_in(connection: Connection, tables: Tables, folder: Path, emptied: Sequence[str]) -> None:
    """Replace what the `emptied` tables hold by the rows of these files, all of them or none."""
    with translated():
        async with connection.transaction():
            await connection.execute(NO_LIMIT)
            if emptied:
                await connection.execute(f"TRUNCATE {', '.join(map(_quoted, emptied))} CASCADE")
            for name, columns in tables.items():
                await connection.copy_to_table(
                    name, columns=list(columns), source=folder / f"{name}.copy", format="text", timeout=LONG_S
                )
            await _restart_sequences(connection, list(tables))


async def _restart_sequences(connection: Connection, names: list[str]) -> None:
    """Let every identity column go on behind its greatest value."""
    rows: list[Any] = await connection.fetch(IDENTITIES, names)
    for row in rows:
        table, column = _quoted(row["name"]), _quoted(row["column"])
        await connection.execute(
            f"SELECT setval(pg_get_serial_sequence($1, $2), COALESCE(max({column}), 1), max({column}) IS NOT NULL)"
            f" FROM {table}",
            row["name"],
            row["column"],
        )


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
