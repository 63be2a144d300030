"""The work behind the run history: indexing ended runs, embedding their text. Delivered at least once, settled once.

A dead, slow or confused embedding service costs time and never a run: tasks are tried again with growing pauses and
put aside as dead after `GIVE_UP` attempts, where `GET /api/v1/outbox` shows them.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from models import embeddings, outbox
from models.dal import DatabaseError, Round
from models.embeddings import Embedding, Text
from models.index_writer import PostgresIndexWriter, SqliteIndexWriter
from models.outbox import Task
from models.run_writer import PostgresRunWriter, SqliteRunWriter
from services.conversation import drive, drive_async
from services.errors import MillraceError
from services.history.database_vectors import entry
from services.history.index_round import EMBED, index_round
from services.history.log_round import INDEX
from services.history.vectors import Embedder, EmbeddingFailed, VectorStore
from services.metrics import Metrics

log = logging.getLogger("millrace.history")

LEASE = timedelta(seconds=120)
GIVE_UP = 12
BATCH = 128
REST = 6.0
"""Pause after a full batch, as a multiple of the time it took: indexing takes a seventh of the time at most."""
LONGEST_REST_S = 2.0
LONGEST_PAUSE_S = 600.0
Now = Callable[[], datetime]


class Indexer:
    """Indexes ended runs."""

    def __init__(self, db: Any, now: Now, *, embed: bool, metrics: Metrics | None = None) -> None:
        """`embed`: whether texts shall be embedded afterwards."""
        self._db, self._now, self._embed, self._metrics = db, now, embed, metrics
        self._lane = db.grouped(sqlite=self._sqlite, postgres=self._postgres, limit=4)

    async def work(self) -> int:
        """Index what is due, at most one batch; how many runs that were."""
        now = self._now()
        tasks = await outbox.claim(self._db, INDEX, now=now, until=now + LEASE, count=BATCH)
        if not tasks:
            return 0
        try:
            await self._lane.submit(tasks)
        except DatabaseError as error:
            if len(tasks) == 1:
                await self._retry(tasks, error)
            else:
                await self._one_by_one(tasks)
        return len(tasks)

    async def catch_up(self) -> None:
        """Index until nothing is due."""
        await _while_some(self.work)

    async def _one_by_one(self, tasks: Sequence[Task]) -> None:
        for task in tasks:
            try:
                await self._lane.submit([task])
            except DatabaseError as error:
                await self._retry([task], error)

    async def _retry(self, tasks: Sequence[Task], error: Exception) -> None:
        _count_failures(self._metrics, INDEX, tasks)
        await _retry(self._db, tasks, error, self._now())

    def _sqlite(self, round_: Round, members: Sequence[Sequence[Task]]) -> list[list[UUID]]:
        writers = SqliteIndexWriter(round_), SqliteRunWriter(round_)
        return [drive(self._conversation(tasks), *writers) for tasks in members]

    async def _postgres(self, connection: Any, members: Sequence[Sequence[Task]]) -> list[list[UUID]]:
        writers = PostgresIndexWriter(connection), PostgresRunWriter(connection)
        return [await drive_async(self._conversation(tasks), *writers) for tasks in members]

    def _conversation(self, tasks: Sequence[Task]) -> Any:
        return index_round(tasks, now=self._now(), embed=self._embed)


class Embeddings:
    """Embeds the texts of runs and keeps the vectors."""

    def __init__(
        self, db: Any, embedder: Embedder, store: VectorStore, now: Now, *, metrics: Metrics | None = None
    ) -> None:
        self._db, self._embedder, self._store, self._now, self._metrics = db, embedder, store, now, metrics

    async def work(self) -> int:
        """Embed what is due, at most one batch; how many runs that were."""
        now = self._now()
        tasks = await outbox.claim(self._db, EMBED, now=now, until=now + LEASE, count=BATCH)
        if tasks:
            await self._try(tasks)
        return len(tasks)

    async def catch_up(self) -> None:
        """Embed until nothing is due."""
        await _while_some(self.work)

    async def progress(self) -> str:
        """How far the present model has come, in words."""
        mine, others = await embeddings.progress(self._db, self._embedder.model)
        backlog = await outbox.backlog(self._db, EMBED)
        return (
            f"{mine} runs embedded with {self._embedder.model}, {others} with another model, {backlog.waiting} waiting"
        )

    async def adopt_model(self) -> int:
        """Ask for the embedding of runs that have a vector of another model, a page at a time; how many."""
        runs = await embeddings.of_other_models(self._db, self._embedder.model, count=1_000)
        waiting = await outbox.backlog(self._db, EMBED)
        if not runs or waiting.waiting:
            return 0
        await outbox.enqueue(self._db, EMBED, runs, now=self._now())
        return len(runs)

    async def _try(self, tasks: Sequence[Task]) -> None:
        try:
            await self._embed(tasks)
        except EmbeddingFailed as error:
            if error.permanent and len(tasks) > 1:
                for task in tasks:  # one text is to blame: each alone
                    await self._try([task])
            else:
                await self._retry(tasks, error)
        except (MillraceError, DatabaseError) as error:
            await self._retry(tasks, error)

    async def _retry(self, tasks: Sequence[Task], error: Exception) -> None:
        _count_failures(self._metrics, EMBED, tasks)
        await _retry(self._db, tasks, error, self._now())

    async def _embed(self, tasks: Sequence[Task]) -> None:
        texts = await embeddings.texts(self._db, [task.subject for task in tasks])
        model, now = self._embedder.model, self._now()
        fresh = [text for text in texts if text.text and (text.model, text.text_hash) != (model, _hash(text.text))]
        vectors = dict(
            zip((text.id for text in fresh), await self._embedder.embed([t.text or "" for t in fresh]), strict=True)
            if fresh
            else ()
        )
        kept = [self._embedding(text, vectors.get(text.id), now) for text in texts if text.text]
        await self._store_all(texts, kept)
        if kept:
            await self._db.batch(*(embeddings.keep(self._db, embedding) for embedding in kept))
        await outbox.settle(self._db, tasks)

    def _embedding(self, text: Text, vector: Sequence[float] | None, now: datetime) -> Embedding:
        import numpy as np

        data = (text.vector or b"") if vector is None else np.asarray(vector, "<f4").tobytes()
        return Embedding(
            run=text.id, model=self._embedder.model, dims=len(data) // 4, vector=data,
            text_hash=_hash(text.text or ""), created=now,
        )  # fmt: skip

    async def _store_all(self, texts: Sequence[Text], kept: Sequence[Embedding]) -> None:
        by_run = {embedding.run: embedding for embedding in kept}
        entries = [entry(replace(text, vector=by_run[text.id].vector)) for text in texts if text.id in by_run]
        await self._store.upsert(self._embedder.model, entries)


async def _retry(db: Any, tasks: Sequence[Task], error: Exception, now: datetime) -> None:
    """Later again, or never: the pause doubles, the service's own wish is respected."""
    reason = str(error) or type(error).__name__
    permanent = isinstance(error, EmbeddingFailed) and error.permanent
    for task in tasks:
        if permanent or task.attempts + 1 >= GIVE_UP:
            log.error("history.outbox.dead subject=%s reason=%s", task.subject, reason)
            await outbox.bury(db, [task], at=now, error=reason)
            continue
        wished = error.retry_after_s if isinstance(error, EmbeddingFailed) else None
        pause = min(LONGEST_PAUSE_S, max(wished or 0.0, 2.0**task.attempts))
        await outbox.postpone(db, [task], at=now + timedelta(seconds=pause), error=reason)


def _count_failures(metrics: Metrics | None, kind: str, tasks: Sequence[Task]) -> None:
    if metrics is not None:
        metrics.outbox_failures.labels(kind).inc(len(tasks))


async def _while_some(work: Callable[[], Awaitable[int]]) -> None:
    """Work until less than a batch was due, with pauses: what follows a run must not slow down the next ones."""
    loop = asyncio.get_running_loop()
    done = BATCH
    while done >= BATCH:
        began = loop.time()
        done = await work()
        if done >= BATCH:
            await asyncio.sleep(min(LONGEST_REST_S, REST * (loop.time() - began)))


def _hash(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
