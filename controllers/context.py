"""What a request may reach: the services of the app and the caller."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from controllers.address import Network
from controllers.gate import Gate
from models.dal import AsyncDAL
from services.access.accounts import Accounts
from services.access.actor import Actor
from services.access.audit import REQUEST_ID, AuditLog
from services.access.authentication import Authentication
from services.access.key_service import KeyService
from services.access.permission_service import PermissionService
from services.access.ratelimit import RateLimiter
from services.access.record import AuditRecord
from services.access.sealer import Sealer
from services.background import Background
from services.execution.service import Execution
from services.history.history import History
from services.history.retention import Retention
from services.idempotency import Idempotency
from services.insight.insight import Insight
from services.metrics import Metrics
from services.readiness import Readiness
from services.registry.registry import Registry

EXTENSION = "millrace"
ACTOR: ContextVar[Actor] = ContextVar("actor")
HERE: ContextVar[Services] = ContextVar("services")


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeRules:
    """What the HTTP edge needs to know of the settings. `public_reads`: on, local or off."""

    version: str
    public_reads: str
    max_body_bytes: int
    max_log_body_bytes: int
    trusted_proxies: tuple[Network, ...] = ()
    database: str = "sqlite"
    prometheus_url: str | None = None


@dataclass(slots=True, kw_only=True)
class Services:
    """Everything a controller may call; built once by `app.py`."""

    rules: EdgeRules
    db: AsyncDAL
    authentication: Authentication
    permission_service: PermissionService
    accounts: Accounts
    keys: KeyService
    audit: AuditLog
    record: AuditRecord
    sealer: Sealer
    idempotency: Idempotency
    registry: Registry
    execution: Execution
    background: Background
    history: History
    retention: Retention
    insight: Insight
    limiter: RateLimiter
    gate: Gate
    metrics: Metrics
    readiness: Readiness
    features: dict[str, Any] = field(default_factory=dict)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)

    def stop(self) -> None:
        """The server is to end: say so to whoever asks whether it is ready, to open streams, and to whoever waits for
        the end of an execution: it is durable, and goes on without us."""
        self.readiness.stopping = True
        self.stopping.set()
        self.execution.waiters.release()


def services() -> Services:
    """The services of the app that answers the current request."""
    return HERE.get()


def actor() -> Actor:
    """The authenticated caller of the current request."""
    return ACTOR.get()


def request_id() -> str:
    """The id of the current request, `-` outside one."""
    return REQUEST_ID.get()
