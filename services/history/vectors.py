"""What a store of embedded runs and an embedding service have to offer. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from models.run_facts import RunFilter


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One embedded run: its row id, its vector (of unit length) and what filters need."""

    id: UUID
    vector: Sequence[float]
    wpk_id: str
    run_id: str
    status: str
    source: str
    created_at: datetime
    duration_ms: int | None = None
    community_id: int | None = None
    workflow_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class Hit:
    """A run found by meaning; `score` is the cosine similarity, 1.0 = the same."""

    id: UUID
    score: float


class VectorStore(Protocol):
    """Keeps embedded runs of one model and finds the nearest among those a filter admits."""

    async def upsert(self, model: str, entries: Sequence[Entry]) -> None:
        """Keep the entries, replacing earlier ones of the same runs. Unavailable when the store is down."""

    async def search(self, model: str, vector: Sequence[float], runs: RunFilter, k: int) -> list[Hit]:
        """The `k` nearest runs, best first; the filter applies before ranking."""

    async def delete(self, ids: Sequence[UUID]) -> None:
        """Forget these runs."""

    async def rest(self) -> None:
        """Give back what is not needed while nobody searches."""

    async def close(self) -> None:
        """Let go of connections and memory."""


class Embedder(Protocol):
    """Turns text into vectors."""

    @property
    def model(self) -> str:
        """The model's name; vectors of different models are never compared."""

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """One vector of unit length per text. EmbeddingFailed when the service does not deliver."""

    async def close(self) -> None:
        """Let go of connections."""


class EmbeddingFailed(Exception):
    """The embedding service did not deliver.

    `permanent` is whether trying the same text again is pointless; `retry_after_s` is what the service asked for.
    """

    def __init__(self, message: str, *, permanent: bool = False, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.permanent = permanent
        self.retry_after_s = retry_after_s
