"""The only composition root: settings → database → adapters → services → blueprints → background work."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from quart import Blueprint, Quart

from composition.base import features, open_database
from composition.code import code_features, code_rules
from composition.execution import Around, build_execution, build_known
from composition.history import Shared, build_history, details_of
from composition.insight import build_insight, build_prometheus, finder
from composition.life import Announce, add_checks, lifetime
from composition.visit import VISIT_JOBS, stay
from config import VERSION, Settings
from controllers import (
    access,
    edge,
    errors,
    execution,
    inquiries,
    openapi,
    operate,
    packs,
    registry,
    retention,
    runs,
    signals,
    system,
)
from controllers.connection import App
from controllers.context import EXTENSION, EdgeRules, Services
from controllers.gate import Gate
from models.dal import DeadlineExceeded, Full, ReadOnly, Unavailable
from services.access.accounts import Accounts
from services.access.audit import AuditLog
from services.access.authentication import Authentication, Operator, utc_now
from services.access.key_service import KeyService
from services.access.permission_service import PermissionService
from services.access.ratelimit import RateLimiter
from services.access.record import AuditRecord
from services.access.sealer import Sealer
from services.access.store import DatabaseKeys
from services.background import Background, Job
from services.features import states
from services.history.visibility import Visibility
from services.idempotency import Idempotency
from services.insight.insight import Surroundings
from services.metrics import Metrics
from services.readiness import Readiness

log = logging.getLogger("millrace.app")

ROOT = Path(__file__).parent
BLUEPRINTS = (
    system.blueprint,
    access.blueprint,
    registry.blueprint,
    packs.blueprint,
    execution.blueprint,
    inquiries.blueprint,
    operate.blueprint,
    runs.blueprint,
    retention.blueprint,
    signals.blueprint,
)
LOG_BODY_BYTES = 16 * 1024 * 1024
LARGE_BODIES = {"/langgraph/hooks/log_run": LOG_BODY_BYTES, "/api/v1/runs": LOG_BODY_BYTES}


DATABASE_ERRORS = (
    (Unavailable, "The database is unavailable", 1.0),
    (DeadlineExceeded, "The database did not answer in time", 1.0),
    (ReadOnly, "The database takes no writes now: nothing was done, reading still works", 5.0),
    (Full, "The database has no room left: nothing was done, reading still works", 5.0),
)
"""What callers are told of them, and when to come back, in seconds."""

WORKER_JOBS = ("refresh-actions", "send-traces")
"""What a worker does beside driving; everything else is done by the servers."""


def create_app(settings: Settings, *, announce: Announce = log.warning, drives: bool = True) -> Quart:
    """The whole server as an ASGI app. Nothing is connected before it starts serving.

    `announce` is told, once, what only the operator may read: the first admin key. `drives` False: executions are left
    to workers.
    """
    return _app(settings, build_services(settings, drives=drives), announce, BLUEPRINTS)


def create_worker(settings: Settings, *, announce: Announce = log.warning) -> Quart:
    """A process that drives executions and answers only for itself: health, readiness, metrics."""
    here = build_services(settings)
    here.background.keep(*WORKER_JOBS)
    return _app(settings, here, announce, (system.blueprint,))


@asynccontextmanager
async def visit(settings: Settings, *, drives: bool) -> AsyncIterator[Quart]:
    """The app for one command of the operator: connected, answering requests of this process only, not listening.

    `drives`: it takes executions on like a server, for as long as it is open.
    """
    unlimited = replace(settings, rate_limit_per_minute=0)
    here = build_services(unlimited, drives=drives, alone=drives)
    here.authentication = Operator(DatabaseKeys(here.db))
    here.background.keep(*VISIT_JOBS)
    async with stay(unlimited, here, drives=drives):
        yield _routed(unlimited, here, BLUEPRINTS)


def _app(settings: Settings, here: Services, announce: Announce, blueprints: Sequence[Blueprint]) -> Quart:
    app = _routed(settings, here, blueprints)

    @app.while_serving
    async def live() -> AsyncGenerator[None]:
        async with lifetime(settings, here, announce):
            yield

    return app


def _routed(settings: Settings, here: Services, blueprints: Sequence[Blueprint]) -> Quart:
    app = App("millrace")
    app.extensions[EXTENSION] = here
    edge.install(app, here, max_body_bytes=settings.max_body_bytes, large_bodies=_large_bodies(settings))
    if execution.blueprint in blueprints:
        app.direct = execution.direct_routes(settings.max_body_bytes)
    errors.register(app, drivers=DATABASE_ERRORS)
    openapi.install(app, version=VERSION)
    for blueprint in blueprints:
        app.register_blueprint(blueprint)
    return app


def build_services(settings: Settings, *, drives: bool = True, alone: bool = True) -> Services:
    """Everything the controllers call, wired; not running. `drives`: executions; `alone`: it locks a SQLite file."""
    readiness, metrics = Readiness(), Metrics()
    db = open_database(settings, readiness, metrics)
    audit = AuditLog(db, now=utc_now)
    authentication = Authentication(DatabaseKeys(db), pepper=settings.key_pepper)
    permissions = PermissionService(db, audit=audit)
    background, idempotency = Background(metrics), Idempotency(db, now=utc_now)
    code = code_rules(settings)
    known = build_known(db, audit, permissions, code, settings.secrets_dir)
    history, kept = build_history(settings, Shared(db, permissions, background, metrics, readiness))
    around = Surroundings(
        see=Visibility(db, permissions).of,
        find=finder(db),
        audit=audit,
        metrics=metrics,
        now=utc_now,
        prometheus=build_prometheus(settings, background),
    )
    shared = Around(db, audit, permissions, code, idempotency, metrics, background, drives, alone)
    executions = build_execution(settings, known, shared)
    history.details = details_of(executions)
    here = Services(
        rules=_rules(settings),
        db=db,
        authentication=authentication,
        permission_service=permissions,
        accounts=Accounts(db, audit=audit, authentication=authentication),
        keys=KeyService(db, audit=audit, authentication=authentication, pepper=settings.key_pepper),
        audit=audit,
        record=AuditRecord(db),
        sealer=Sealer(db, now=utc_now, keep_days=settings.retention_audit_days),
        idempotency=idempotency,
        background=background,
        registry=known,
        execution=executions,
        history=history,
        retention=kept,
        insight=build_insight(db, around, background),
        limiter=RateLimiter(settings.rate_limit_per_minute),
        gate=_gate(settings, metrics),
        metrics=metrics,
        readiness=readiness,
        features={**states(features(settings)), **code_features(code)},
    )
    add_checks(here, settings)
    _add_upkeep(here)
    background.on_stop("executions", here.execution.stop)
    return here


def _add_upkeep(here: Services) -> None:
    here.background.add(Job(name="seal-audit", work=here.sealer.seal, every_s=1.0))
    here.background.add(Job(name="prune-audit", work=here.sealer.prune, every_s=3600.0))
    here.background.add(Job(name="prune-idempotency", work=here.idempotency.prune, every_s=600.0))
    here.execution.runners.refresh = here.registry.actions.refresh
    here.background.add(Job(name="refresh-actions", work=here.registry.actions.refresh, every_s=5.0))


def _gate(settings: Settings, metrics: Metrics) -> Gate:
    return Gate(
        most=settings.max_requests,
        most_waiting=settings.max_waiting_requests,
        on_refusal=metrics.requests_turned_away.inc,
    )


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
