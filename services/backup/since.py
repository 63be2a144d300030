"""What may have been done to the world behind a backup: the executions that had not ended when it was made."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from models import backup
from models.executions import ExecutionRow
from services.engine.outlook import outlook
from services.errors import MillraceError
from services.execution.library import Library

COLUMNS = ("execution_id", "workflow_ref", "node", "action", "effect", "in_flight", "repeats", "idempotency_key")


async def effects_since(db: Any, library: Library) -> tuple[list[dict[str, Any]], int]:
    """Every effect that unfinished executions may have done by now, in flight first; and how many those are."""
    found: list[dict[str, Any]] = []
    count, after = 0, backup.FIRST_ID
    while rows := await backup.unfinished(db, after=after):
        for row in rows:
            found += await _of(row, library)
        count, after = count + len(rows), rows[-1].execution_id
    return sorted(found, key=lambda line: not line["in_flight"]), count


async def _of(row: ExecutionRow, library: Library) -> list[dict[str, Any]]:
    head = {"execution_id": row.execution_id, "workflow_ref": row.workflow_ref}
    try:
        book = await library.folded_row(row)
    except MillraceError as error:
        return [{**head, **dict.fromkeys(COLUMNS[2:]), "effect": f"unknown: {error.message}", "in_flight": False}]
    lines = []
    for entry in outlook(book.state):
        facts = asdict(entry)
        lines.append({**head, **facts, "idempotency_key": facts.pop("key")})
    return [{name: line[name] for name in COLUMNS} for line in lines]
