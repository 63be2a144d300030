"""The only composition root: settings → database → adapters → services → blueprints → background work."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from quart import Quart

from config import VERSION, Settings
from controllers import access, edge, errors, execution, openapi, packs, registry, retention, runs, signals, system
from controllers.connection import App
from controllers.context import EXTENSION, EdgeRules, Services
from models.dal import AsyncDAL, Options, Unavailable, sqlite_url
from models.runs import Payloads
from models.schema import declare
from models.workflows import WorkflowRow
from services.access.accounts import Accounts
from services.access.actor import SYSTEM
from services.access.audit import AuditLog
from services.access.authentication import Authentication, utc_now
from services.access.bootstrap import first_admin
from services.access.key_service import KeyService
from services.access.permission_service import PermissionService
from services.access.ratelimit import RateLimiter
from services.access.record import AuditRecord
from services.access.sealer import Sealer
from services.access.store import DatabaseKeys
from services.actions.catalogue import Catalogue
from services.actions.core_pack import CORE_ACTIONS
from services.adapters.expression_worker import ExpressionWorker
from services.adapters.milvus import MilvusStore
from services.adapters.openai import OpenAIEmbedder
from services.adapters.prometheus import Prometheus
from services.background import Background, Job
from services.engine.graph import Limits
from services.engine.statuses import PUBLIC
from services.errors import ExecutionNotFound
from services.execution.book import Book
from services.execution.dispatch.embedded import Rules
from services.execution.service import Execution
from services.execution.service import Needs as ExecutionNeeds
from services.execution.view import Show
from services.history.adoption import upgrade
from services.history.database_vectors import DatabaseVectors
from services.history.history import Details, History
from services.history.outbox import Embeddings, Indexer
from services.history.retention import Policy, Retention
from services.history.runs import RunLog
from services.history.search import RunSearch
from services.history.vectors import VectorStore
from services.history.visibility import Visibility
from services.idempotency import Idempotency
from services.insight.insight import Insight, Surroundings
from services.metrics import Metrics
from services.readiness import Check, Readiness
from services.registry import lookup
from services.registry.registry import Needs, Registry
from services.registry.registry import build as build_registry

log = logging.getLogger("millrace.app")

ROOT = Path(__file__).parent
BLUEPRINTS = (
    system.blueprint,
    access.blueprint,
    registry.blueprint,
    packs.blueprint,
    execution.blueprint,
    runs.blueprint,
    retention.blueprint,
    signals.blueprint,
)
LOG_BODY_BYTES = 16 * 1024 * 1024
LARGE_BODIES = {"/langgraph/hooks/log_run": LOG_BODY_BYTES, "/api/v1/runs": LOG_BODY_BYTES}
RECONNECT_S = 1.0
MIN_FREE_BYTES = 64 * 1024 * 1024
Announce = Callable[[str], None]


def create_app(settings: Settings, *, announce: Announce = log.warning) -> Quart:
    """The whole server as an ASGI app. Nothing is connected before it starts serving.

    `announce` is told, once, what only the operator may read: the first admin key.
    """
    app = App("millrace")
    here = build_services(settings)
    app.extensions[EXTENSION] = here
    edge.install(app, here, max_body_bytes=settings.max_body_bytes, large_bodies=_large_bodies(settings))
    errors.register(app, unavailable=(Unavailable,))
    openapi.install(app, version=VERSION)
    for blueprint in BLUEPRINTS:
        app.register_blueprint(blueprint)

    @app.while_serving
    async def lifetime() -> AsyncGenerator[None]:
        async with _lifetime(settings, here, announce):
            yield

    return app


def build_services(settings: Settings) -> Services:
    """Everything the controllers call, wired; nothing is running yet."""
    readiness = Readiness()
    db = open_database(settings, readiness)
    metrics = Metrics()
    audit = AuditLog(db, now=utc_now)
    authentication = Authentication(DatabaseKeys(db), pepper=settings.key_pepper)
    permissions = PermissionService(db, audit=audit)
    background = Background(metrics)
    idempotency = Idempotency(db, now=utc_now)
    known = _registry(settings, db, audit, permissions)
    history, kept = _history(settings, db, permissions, background)
    around = Surroundings(
        see=Visibility(db, permissions).of,
        find=_finder(db),
        audit=audit,
        metrics=metrics,
        now=utc_now,
        prometheus=_prometheus(settings, background),
    )
    executions = _execution(settings, known, Around(db, audit, permissions, idempotency, metrics))
    history.details = _details(executions)
    here = Services(
        rules=_rules(settings),
        db=db,
        authentication=authentication,
        permission_service=permissions,
        accounts=Accounts(db, audit=audit, authentication=authentication),
        keys=KeyService(db, audit=audit, authentication=authentication, pepper=settings.key_pepper),
        audit=audit,
        record=AuditRecord(db),
        sealer=Sealer(db, now=utc_now),
        idempotency=idempotency,
        background=background,
        registry=known,
        execution=executions,
        history=history,
        retention=kept,
        insight=_insight(db, around, background),
        limiter=RateLimiter(settings.rate_limit_per_minute),
        metrics=metrics,
        readiness=readiness,
    )
    _add_checks(here, settings)
    here.background.add(Job(name="seal-audit", work=here.sealer.seal, every_s=1.0))
    here.background.add(Job(name="prune-idempotency", work=here.idempotency.prune, every_s=600.0))
    here.background.add(Job(name="refresh-actions", work=here.registry.actions.refresh, every_s=5.0))
    background.on_stop("executions", here.execution.stop)
    return here


def _registry(settings: Settings, db: AsyncDAL, audit: AuditLog, permissions: PermissionService) -> Registry:
    """Workflows, packs and actions; the catalogue knows what is built in before the packs are loaded."""
    catalogue = Catalogue(CORE_ACTIONS)
    return build_registry(
        Needs(
            db=db,
            audit=audit,
            permissions=permissions,
            catalogue=catalogue,
            packs_dir=settings.packs_dir,
            now=utc_now,
        )
    )


@dataclass(frozen=True, slots=True)
class Around:
    """What the execution side shares with the rest of the server."""

    db: AsyncDAL
    audit: AuditLog
    permissions: PermissionService
    idempotency: Idempotency
    metrics: Metrics


def _execution(settings: Settings, known: Registry, around: Around) -> Execution:
    """The engine's shell: journal, dispatcher, actions."""

    def ended(book: Book) -> None:
        status, state = PUBLIC[book.state.phase].value, book.state
        around.metrics.executions.labels(status).inc()
        if state.ended_at is not None:
            seconds = (state.ended_at - book.facts.start_time).total_seconds()
            around.metrics.execution_seconds.labels(status).observe(seconds)

    return Execution(
        ExecutionNeeds(
            db=around.db,
            versions=known.versions,
            catalogue=known.actions.names(),
            permissions=around.permissions,
            idempotency=around.idempotency,
            audit=around.audit,
            expressions=ExpressionWorker(),
            now=utc_now,
            version=VERSION,
            limits=_limits(settings),
            rules=Rules(shutdown_s=max(0.5, settings.shutdown_seconds - 2.0)),
            lock=None if settings.postgres_dsn else settings.data_dir / "millrace.db.lock",
            http_allow_hosts=settings.http_allow_hosts,
            secrets_dir=settings.secrets_dir,
            on_end=ended,
        )
    )


def _limits(settings: Settings) -> Limits:
    return Limits(
        workflow_timeout_s=settings.workflow_timeout_seconds,
        max_loop_iterations=settings.max_loop_iterations,
        max_total_operations=settings.max_total_operations,
        max_items=settings.max_items,
        max_loop_depth=settings.max_loop_depth,
        max_parallel_nodes=settings.max_parallel_nodes,
        max_context_bytes=settings.max_context_bytes,
        max_result_bytes=settings.max_result_bytes,
    )


def _history(
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
    return History(db, RunLog(db, utc_now), search, permissions=permissions, find=_finder(db)), kept


def _finder(db: AsyncDAL) -> Callable[[str], Awaitable[WorkflowRow | None]]:
    async def find(identifier: str) -> WorkflowRow | None:
        found = await lookup.find(db, identifier)
        return found.workflow if found else None

    return find


def _details(executions: Execution) -> Details:
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


def _insight(db: AsyncDAL, around: Surroundings, background: Background) -> Insight:
    """Probes, signals and watches with their background work."""
    insight = Insight(db, around)
    for job in insight.jobs():
        background.add(job)
    background.on_stop("insight-helper", insight.helper.stop)
    return insight


def _prometheus(settings: Settings, background: Background) -> Prometheus | None:
    if settings.prom_url is None:
        return None
    prometheus = Prometheus(settings.prom_url, authorization=settings.prom_authorization)
    background.on_stop("prometheus", prometheus.close)
    return prometheus


def open_database(settings: Settings, readiness: Readiness) -> AsyncDAL:
    """The database of these settings with every table declared; not connected."""

    def end(error: BaseException) -> None:
        log.critical("the database cannot be written any more, so this process ends: %s", error)
        readiness.fatal = True
        os.kill(os.getpid(), signal.SIGTERM)

    url = settings.postgres_dsn or sqlite_url(settings.data_dir / "millrace.db")
    db: AsyncDAL = declare(AsyncDAL(url, Options(pool_size=settings.database_connections), on_fatal=end))
    return db


def _rules(settings: Settings) -> EdgeRules:
    return EdgeRules(
        version=VERSION,
        public_reads=settings.public_reads,
        max_body_bytes=settings.max_body_bytes,
        max_log_body_bytes=max(LOG_BODY_BYTES, settings.max_body_bytes),
        trusted_proxies=settings.trusted_proxies,
        database="postgres" if settings.postgres_dsn else "sqlite",
        prometheus_url=settings.prom_url,
    )


def _large_bodies(settings: Settings) -> dict[str, int]:
    return {path: max(limit, settings.max_body_bytes) for path, limit in LARGE_BODIES.items()}


# ---- the life of the server ----------------------------------------------------------------------------------------


@asynccontextmanager
async def _lifetime(settings: Settings, here: Services, announce: Announce) -> AsyncIterator[None]:
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    for note in settings.aliases_used:
        log.info("settings: %s", note)
    connected = asyncio.Event()

    async def connect() -> None:
        if await _connected(settings, here, announce):
            connected.set()

    here.readiness.add("migrations", lambda: _migrated(connected))
    try:
        await connect()
        if not connected.is_set():
            here.background.add(Job(name="connect", work=connect, every_s=RECONNECT_S, until=connected.is_set))
        async with here.background.running(stop_limit_s=settings.shutdown_seconds):
            yield
    finally:
        await here.db.close()


async def _connected(settings: Settings, here: Services, announce: Announce) -> bool:
    """Connect, migrate and bring up what the first start needs; False when the database cannot be reached now."""
    try:
        await here.db.open()
        for name in await upgrade(here.db, ROOT / "migrations", utc_now):
            log.info("migrated: %s", name)
        made = await first_admin(
            here.db, audit=here.audit, given=settings.admin_key, pepper=settings.key_pepper, now=utc_now()
        )
        await here.registry.start()
        await here.execution.start()
    except Unavailable as error:
        log.warning("the database cannot be reached, trying again: %s", error)
        return False
    if made is not None:
        announce(f"The first admin key, shown only now: {made}")
    return True


async def _migrated(connected: asyncio.Event) -> Check:
    return Check(connected.is_set(), "applied" if connected.is_set() else "waiting for the database")


def _add_checks(here: Services, settings: Settings) -> None:
    async def database() -> Check:
        await here.db.ping()
        return Check(True, here.db.engine)

    async def disk() -> Check:
        free = shutil.disk_usage(settings.data_dir).free
        return Check(free >= MIN_FREE_BYTES, f"{free // 1024**2} MiB free")

    async def dispatcher() -> Check:
        return Check(here.execution.is_alive, f"{here.execution.driving} executions in hand")

    here.readiness.add("database", database)
    here.readiness.add("dispatcher", dispatcher)
    here.readiness.add("disk", disk)
