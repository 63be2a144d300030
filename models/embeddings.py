"""Vectors kept beside the runs they belong to: the truth from which every vector store can be filled again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """A run's text, and what of it is embedded already. `vector`: float32, little endian."""

    id: UUID
    wpk_id: str
    run_id: str
    status: str
    source: str
    created_at: datetime
    duration_ms: int | None
    community_id: int | None
    workflow_id: UUID | None
    text: str | None
    model: str | None
    text_hash: str | None
    vector: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedding:
    """A vector to keep. `created` moves forward whenever the facts of the run change."""

    run: UUID
    model: str
    dims: int
    vector: bytes
    text_hash: str
    created: datetime


_FACTS = (
    "w.id, w.wpk_id, w.run_id, w.status, w.source, w.created_at, w.duration_ms, w.community_id, w.workflow_id,"
    " {text} AS text, m.model, m.text_hash, m.vector"
)
_TEXTS = (
    f"SELECT {_FACTS.format(text='d.text')} FROM workflow_runs w LEFT JOIN run_document d ON d.run = w.id"
    " LEFT JOIN run_embedding m ON m.run = w.id WHERE w.id"
)
_CHANGED = (
    f"SELECT {_FACTS.format(text='NULL')}, m.created AS updated_at FROM run_embedding m JOIN workflow_runs w ON w.id = m.run"
    " WHERE m.model = :model AND m.dims = :dims AND (m.created, m.run) > (:at, :run)"
    " ORDER BY m.created, m.run LIMIT :count"
)


async def texts(db: Any, ids: Sequence[UUID]) -> list[Text]:
    """The texts of these runs; runs that are gone are left out."""
    rows = await db.sql(
        pg=f"{_TEXTS} = ANY(:ids::uuid[])",
        sqlite=f"{_TEXTS} IN (SELECT value FROM json_each(:ids))",
        into=(db.workflow_runs, db.run_embedding),
        ids=list(ids),
    )
    return [Text(**row) for row in rows]


async def changed(
    db: Any, model: str, dims: int, *, after: tuple[datetime, UUID], count: int
) -> list[tuple[Text, tuple[datetime, UUID]]]:
    """Vectors of a model that were written after a point, and how far that is."""
    at, run = after
    rows = await db.sql(
        _CHANGED,
        into=(db.workflow_runs, db.run_embedding),
        model=model, dims=dims, at=at, run=run, count=count,
    )  # fmt: skip
    found = []
    for row in rows:
        moment = row.pop("updated_at")
        found.append((Text(**row), (moment, row["id"])))
    return found


def keep(db: Any, embedding: Embedding) -> Any:
    """Keep a vector, replacing the run's earlier one. A call, for a batch."""
    return db.run_embedding.upsert(
        db.run_embedding.run,
        run=embedding.run, model=embedding.model, dims=embedding.dims, vector=embedding.vector,
        text_hash=embedding.text_hash, created=embedding.created,
    )  # fmt: skip


async def of_other_models(db: Any, model: str, *, count: int) -> list[UUID]:
    """Runs whose vector is of another model."""
    other = db.run_embedding.model != model
    return [row["run"] for row in await db(other).select(db.run_embedding.run, limit=count)]


async def progress(db: Any, model: str) -> tuple[int, int]:
    """How many runs are embedded with this model, and how many with another."""
    row = await db.sql(
        "SELECT COALESCE(SUM(CASE WHEN model = :model THEN 1 ELSE 0 END), 0) AS mine, count(*) AS n FROM run_embedding",
        model=model,
    ).first()
    return int(row["mine"]), int(row["n"]) - int(row["mine"])
