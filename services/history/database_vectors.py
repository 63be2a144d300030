"""The vector store that needs nothing else: vectors from the database, ranked in memory.

The index is filled on the first search, follows the table afterwards, and is dropped when nobody has searched for ten
minutes. It holds the newest 200,000 runs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

from models import embeddings
from models.run_facts import RunFilter
from services.history.vectors import Entry, Hit

if TYPE_CHECKING:
    from services.history.vector_index import VectorIndex

IDLE_S = 600.0
NEWEST = 200_000
PAGE = 5_000
START = (datetime(1970, 1, 1, tzinfo=UTC), UUID(int=0))


class DatabaseVectors:
    """Ranks the vectors of `run_embedding`."""

    def __init__(self, db: Any) -> None:
        self._db = db
        self._filling = asyncio.Lock()
        self._index: VectorIndex | None = None
        self._model = ""
        self._seen = START
        self._used_at = 0.0

    async def upsert(self, model: str, entries: Sequence[Entry]) -> None:
        """Nothing to do: the vectors are in the database already, and the index follows it."""

    async def search(self, model: str, vector: Sequence[float], runs: RunFilter, k: int) -> list[Hit]:
        """The `k` nearest runs that the filter admits."""
        index = await self._follow(model, len(vector))
        return await asyncio.to_thread(index.search, vector, runs, k)

    async def delete(self, ids: Sequence[UUID]) -> None:
        """Forget these runs."""
        if self._index is not None:
            self._index.remove(ids)

    async def close(self) -> None:
        """Give the memory back."""
        self._index = None

    async def rest(self) -> None:
        """Give the memory back when nobody has searched for a while."""
        if asyncio.get_running_loop().time() - self._used_at > IDLE_S:
            self._index = None

    async def _follow(self, model: str, dims: int) -> VectorIndex:
        from services.history.vector_index import VectorIndex

        async with self._filling:
            self._used_at = asyncio.get_running_loop().time()
            if self._index is None or (self._model, self._index.dims) != (model, dims):
                self._index, self._model, self._seen = VectorIndex(dims), model, START
            index = self._index
            while True:
                rows = await embeddings.changed(self._db, model, dims, after=self._seen, count=PAGE)
                if rows:
                    index.add([entry(text) for text, _ in rows])
                    self._seen = rows[-1][1]
                if len(rows) < PAGE:
                    index.keep_newest(NEWEST)
                    return index


def entry(text: embeddings.Text) -> Entry:
    """An embedded run as vector stores know it."""
    import numpy as np

    return facts_of(text, cast("Sequence[float]", np.frombuffer(text.vector or b"", "<f4")))


def facts_of(text: embeddings.Text, vector: Sequence[float]) -> Entry:
    """A run and a vector as vector stores know them."""
    return Entry(
        id=text.id,
        vector=vector,
        wpk_id=text.wpk_id,
        run_id=text.run_id,
        status=text.status,
        source=text.source,
        created_at=text.created_at,
        duration_ms=text.duration_ms,
        community_id=text.community_id,
        workflow_id=text.workflow_id,
    )
