"""Finding runs by what they say: by meaning where embeddings are configured, else by their words. The answer says which."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from models import embeddings, run_search, runs
from models.run_facts import RunFilter
from models.runs import RunSummary
from services.errors import MillraceError
from services.history.vectors import Embedder, EmbeddingFailed, Hit, VectorStore

log = logging.getLogger("millrace.history")

SNIPPET = 240
SEMANTIC, KEYWORD = "semantic", "keyword"


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A run with how well it fits and the part of its text that shows it."""

    run: RunSummary
    score: float
    snippet: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What was found, by which means; `degraded` says why meaning was not used although it is configured."""

    mode: str
    found: list[Found]
    degraded: str | None = None


class RunSearch:
    """Searches the run history."""

    def __init__(self, db: Any, embedder: Embedder | None = None, store: VectorStore | None = None) -> None:
        """Without an embedder and a store, search is by keyword."""
        self._db, self._embedder, self._store = db, embedder, store

    async def search(self, question: str, wanted: RunFilter, *, k: int) -> Answer:
        """The `k` runs that fit best among those the filter admits."""
        if self._embedder is None or self._store is None:
            return Answer(mode=KEYWORD, found=await self._by_words(question, wanted, k))
        try:
            [vector] = await self._embedder.embed([question])
            hits = await self._store.search(self._embedder.model, vector, wanted, k)
        except (EmbeddingFailed, MillraceError) as error:
            log.warning("history.search.degraded reason=%s", error)
            found = await self._by_words(question, wanted, k)
            return Answer(mode=KEYWORD, found=found, degraded=str(error))
        return Answer(mode=SEMANTIC, found=await self._resolved(hits, question))

    async def similar(self, run: RunSummary, wanted: RunFilter, *, k: int) -> Answer:
        """The `k` runs nearest to a run, itself left out."""
        texts = await embeddings.texts(self._db, [run.id])
        if not texts or not texts[0].text:
            return Answer(mode=KEYWORD, found=[], degraded="this run says nothing that could be compared")
        answer = await self._near(texts[0], wanted, k + 1)
        others = [found for found in answer.found if found.run.id != run.id]
        return Answer(mode=answer.mode, found=others[:k], degraded=answer.degraded)

    async def _near(self, text: embeddings.Text, wanted: RunFilter, k: int) -> Answer:
        import numpy as np

        question = text.text or ""
        embedder, store = self._embedder, self._store
        if embedder is None or store is None or text.model != embedder.model or text.vector is None:
            return Answer(mode=KEYWORD, found=await self._by_words(question, wanted, k, every=False))
        vector = np.frombuffer(text.vector, "<f4").tolist()
        try:
            hits = await store.search(embedder.model, vector, wanted, k)
        except MillraceError as error:
            found = await self._by_words(question, wanted, k, every=False)
            return Answer(mode=KEYWORD, found=found, degraded=str(error))
        return Answer(mode=SEMANTIC, found=await self._resolved(hits, question))

    async def _by_words(self, question: str, wanted: RunFilter, k: int, *, every: bool = True) -> list[Found]:
        words = run_search.words(question)
        if not words:
            return []
        matches = await run_search.search(self._db, words, wanted, every=every, count=k)
        if not matches and every and len(words) > 1:
            matches = await run_search.search(self._db, words, wanted, every=False, count=k)
        known = await runs.by_ids(self._db, [match.id for match in matches])
        return [
            Found(run=known[match.id], score=round(match.rank, 6), snippet=snippet(match.text, words))
            for match in matches
            if match.id in known
        ]

    async def _resolved(self, hits: Sequence[Hit], question: str) -> list[Found]:
        ids: list[UUID] = [hit.id for hit in hits]
        known = await runs.by_ids(self._db, ids)
        texts = {text.id: text.text or "" for text in await embeddings.texts(self._db, ids)}
        words = run_search.words(question)
        return [
            Found(run=known[hit.id], score=round(hit.score, 6), snippet=snippet(texts.get(hit.id, ""), words))
            for hit in hits
            if hit.id in known
        ]


def snippet(text: str, words: Sequence[str], *, length: int = SNIPPET) -> str:
    """The part of a text around the first of the words, at most `length` characters."""
    flat = re.sub(r"\s+", " ", text).strip()
    lowered = flat.lower()
    places = [place for word in words if (place := lowered.find(word)) >= 0]
    start = max(0, min(places, default=0) - length // 4)
    part = flat[start : start + length]
    return f"{'…' if start else ''}{part}{'…' if start + length < len(flat) else ''}"
