"""The registry and the engine with its shell: journal, dispatcher, actions."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from composition.tracing import build_tracer
from config import VERSION, Settings
from models.dal import AsyncDAL
from services.access.audit import AuditLog
from services.access.authentication import utc_now
from services.access.permission_service import PermissionService
from services.actions.catalogue import Catalogue
from services.actions.code import CodeRules
from services.actions.core_pack import CORE_ACTIONS
from services.actions.secrets import Secrets
from services.adapters.expression_worker import ExpressionWorker
from services.background import Background
from services.engine.graph import Limits
from services.execution.dispatch.rules import Rules
from services.execution.service import Execution
from services.execution.service import Needs as ExecutionNeeds
from services.execution.starting import Parallel
from services.execution.telemetry import Telemetry
from services.idempotency import Idempotency
from services.metrics import Metrics
from services.registry.registry import Needs, Registry
from services.registry.registry import build as build_registry

log = logging.getLogger("millrace.app")


@dataclass(frozen=True, slots=True)
class Around:
    """What the execution side shares with the rest of the server."""

    db: AsyncDAL
    audit: AuditLog
    permissions: PermissionService
    code: CodeRules
    idempotency: Idempotency
    metrics: Metrics
    background: Background
    drives: bool = True
    alone: bool = True
    """Whether this process stays: a SQLite file is locked then, and news of other processes is listened for."""


def build_known(
    db: AsyncDAL, audit: AuditLog, permissions: PermissionService, code: CodeRules, secrets_dir: Path | None
) -> Registry:
    """Workflows, packs and actions; the catalogue knows what is built in before the packs are loaded."""
    catalogue = Catalogue(CORE_ACTIONS)
    return build_registry(
        Needs(
            db=db,
            audit=audit,
            permissions=permissions,
            catalogue=catalogue,
            packs_dir=code.packs_dir,
            now=utc_now,
            code_refused=code.refused,
            reserved=Secrets(secrets_dir).packs_named,
        )
    )


def build_execution(settings: Settings, known: Registry, around: Around) -> Execution:
    """The engine's shell: journal, dispatcher, actions."""

    execution = Execution(
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
            parallel=Parallel(
                per_workflow=settings.max_parallel_executions, per_key=settings.max_parallel_executions_per_key
            ),
            rules=Rules(
                slots=settings.worker_slots,
                queued_most=settings.max_queued_executions,
                shutdown_s=max(0.5, settings.shutdown_seconds - 2.0),
                drives=around.drives,
                listens=around.drives or around.alone,
            ),
            lock=None if settings.postgres_dsn or not around.alone else lock_path(settings),
            http_allow_hosts=settings.http_allow_hosts,
            secrets_dir=settings.secrets_dir,
            telemetry=Telemetry(around.metrics, build_tracer(settings, around.background, around.metrics)),
            code=around.code,
        )
    )
    around.metrics.watch_driving(lambda: execution.driving)
    return execution


def lock_path(settings: Settings) -> Path:
    """The file whose lock gives the right to drive the executions of a SQLite database."""
    return settings.data_dir / "millrace.db.lock"


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
