"""The run history with its background work and its neighbours."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from uuid import UUID

from config import Settings
from models.dal import AsyncDAL
from models.runs import Payloads
from services.access.actor import SYSTEM
from services.access.authentication import utc_now
from services.access.permission_service import PermissionService
from services.adapters.milvus import MilvusStore
from services.adapters.openai import OpenAIEmbedder
from services.background import Background, Job
from services.errors import ExecutionNotFound
from services.execution.service import Execution
from services.execution.view import Show
from services.history.database_vectors import DatabaseVectors
from services.history.history import Details, History
from services.history.outbox import Embeddings, Indexer
from services.history.retention import Policy, Retention
from services.history.runs import RunLog
from services.history.search import RunSearch
from services.history.vectors import VectorStore
from services.metrics import Metrics
from services.readiness import Check, Readiness
from services.registry import lookup


@dataclass(frozen=True, slots=True)
class Shared:
    """What the run history shares with the rest of the server."""

    db: AsyncDAL
    permissions: PermissionService
    background: Background
    metrics: Metrics
    readiness: Readiness


def build_history(settings: Settings, shared: Shared) -> tuple[History, Retention]:
    """The run history with its background work: indexing always, embedding where it is configured."""
    db, background, metrics = shared.db, shared.background, shared.metrics
    search = RunSearch(db)
    store: VectorStore | None = None
    indexer = Indexer(db, utc_now, embed=settings.embeddings_on, metrics=metrics)
    background.add(Job(name="index-runs", work=indexer.catch_up, every_s=0.5))
    if settings.embeddings_on:
        search, store = _build_embeddings(settings, shared)
    kept = Retention(db, _retention_policy(settings), utc_now, store=store)
    background.add(Job(name="apply-retention", work=kept.keep_up, every_s=60.0))
    log_of_runs = RunLog(db, utc_now, metrics=metrics)
    history = History(db, log_of_runs, search, permissions=shared.permissions, find=partial(lookup.find, db))

    async def measure() -> None:
        waiting = (await history.outbox())["waiting"]
        metrics.outbox_backlog.set(sum(waiting.values()))

    background.add(Job(name="measure-outbox", work=measure, every_s=10.0))
    return history, kept


def _build_embeddings(settings: Settings, shared: Shared) -> tuple[RunSearch, VectorStore]:
    db, background, endpoint = shared.db, shared.background, settings.milvus_endpoint
    store = MilvusStore(endpoint, settings.milvus_collection) if endpoint else DatabaseVectors(db)
    embedder = OpenAIEmbedder(
        key=settings.openai_key, base_url=settings.openai_base_url, model=settings.embedding_model
    )
    embeddings = Embeddings(db, embedder, store, utc_now, metrics=shared.metrics)
    background.add(Job(name="embed-runs", work=embeddings.catch_up, every_s=0.5))
    background.add(Job(name="adopt-embedding-model", work=embeddings.adopt_model, every_s=5.0))
    background.add(Job(name="rest-vectors", work=store.rest, every_s=60.0))
    background.on_stop("vectors", store.close)
    background.on_stop("embedder", embedder.close)

    async def progress() -> Check:
        return Check(True, await embeddings.progress())

    shared.readiness.add("embeddings", progress)
    return RunSearch(db, embedder, store), store


def details_of(executions: Execution) -> Details:
    """What the run history shows of our own executions is read from them, not copied."""

    async def details(execution_id: UUID) -> Payloads | None:
        try:
            shown = await executions.lifecycle.show(str(execution_id), Show(), by=SYSTEM)
        except ExecutionNotFound:
            return None
        nodes = list(shown["node_states"].values())
        return Payloads(inputs=shown["variables"], outputs=shown["final_output"], node_logs=nodes)

    return details


def _retention_policy(settings: Settings) -> Policy:
    return Policy(
        success_days=settings.retention_success_days,
        failure_days=settings.retention_failure_days,
        runs_per_workflow=settings.retention_runs_per_workflow,
        max_bytes=settings.retention_max_bytes,
        signal_days=settings.retention_signal_days,
    )
