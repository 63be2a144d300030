"""The run history with its background work and its neighbours."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from uuid import UUID

from config import Settings
from models.dal import AsyncDAL
from models.runs import Payloads
from models.workflows import WorkflowRow
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
from services.registry import lookup

log = logging.getLogger("millrace.app")


def build_history(
    settings: Settings, db: AsyncDAL, permissions: PermissionService, background: Background
) -> tuple[History, Retention]:
    """The run history with its background work: indexing always, embedding where it is configured."""
    search = RunSearch(db)
    store: VectorStore | None = None
    indexer = Indexer(db, utc_now, embed=settings.embeddings_on)
    background.add(Job(name="index-runs", work=indexer.catch_up, every_s=0.5))
    if settings.embeddings_on:
        endpoint = settings.milvus_endpoint
        store = MilvusStore(endpoint, settings.milvus_collection) if endpoint else DatabaseVectors(db)
        embedder = OpenAIEmbedder(
            key=settings.openai_key, base_url=settings.openai_base_url, model=settings.embedding_model
        )
        search = RunSearch(db, embedder, store)
        embeddings = Embeddings(db, embedder, store, utc_now)
        background.add(Job(name="embed-runs", work=embeddings.catch_up, every_s=0.5))
        background.add(Job(name="adopt-embedding-model", work=embeddings.adopt_model, every_s=5.0))
        background.add(Job(name="rest-vectors", work=store.rest, every_s=60.0))
        background.on_stop("vectors", store.close)
        background.on_stop("embedder", embedder.close)
    kept = Retention(db, _retention_policy(settings), utc_now, store=store)
    background.add(Job(name="apply-retention", work=kept.keep_up, every_s=60.0))
    return History(db, RunLog(db, utc_now), search, permissions=permissions, find=finder(db)), kept


def finder(db: AsyncDAL) -> Callable[[str], Awaitable[WorkflowRow | None]]:
    """Names the registered workflow an identifier means."""

    async def find(identifier: str) -> WorkflowRow | None:
        found = await lookup.find(db, identifier)
        return found.workflow if found else None

    return find


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
