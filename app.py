"""The only composition root: settings → database → adapters → services → blueprints → background work."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from quart import Quart

from config import VERSION, Settings
from controllers import edge, errors, openapi, system
from controllers.context import EXTENSION, EdgeRules, Services
from services.access.audit import AuditLog
from services.access.authentication import Authentication, KeyRecord, utc_now
from services.access.ratelimit import RateLimiter
from services.errors import Unavailable
from services.metrics import Metrics
from services.readiness import Readiness

BLUEPRINTS = (system.blueprint,)
LARGE_BODIES = {"/langgraph/hooks/log_run": 16 * 1024 * 1024, "/api/v1/runs": 16 * 1024 * 1024}


def create_app(settings: Settings) -> Quart:
    """The whole server as an ASGI app. Nothing is connected before it starts serving."""
    app = Quart("millrace", static_folder=None)
    app.extensions[EXTENSION] = _services(settings)
    edge.install(app, max_body_bytes=settings.max_body_bytes, large_bodies=_large_bodies(settings))
    errors.register(app)
    openapi.install(app, version=VERSION)
    for blueprint in BLUEPRINTS:
        app.register_blueprint(blueprint)
    return app


def _large_bodies(settings: Settings) -> dict[str, int]:
    return {path: max(limit, settings.max_body_bytes) for path, limit in LARGE_BODIES.items()}


def _services(settings: Settings) -> Services:
    store = _NotConnected()
    return Services(
        rules=EdgeRules(
            version=VERSION,
            public_reads=settings.public_reads,
            max_body_bytes=settings.max_body_bytes,
            trusted_proxies=settings.trusted_proxies,
            database="postgres" if settings.postgres_dsn else "sqlite",
            prometheus_url=settings.prom_url,
        ),
        authentication=Authentication(store, pepper=settings.key_pepper),
        audit=AuditLog(store, now=utc_now),
        limiter=RateLimiter(settings.rate_limit_per_minute),
        metrics=Metrics(),
        readiness=Readiness(),
    )


class _NotConnected:
    """The state before a database is there: everything that needs one is refused."""

    async def find_key(self, _key_hash: str) -> KeyRecord | None:
        raise Unavailable("The database is not connected")

    async def touch_key(self, _key_id: UUID, **_times: datetime) -> None:
        raise Unavailable("The database is not connected")

    async def append(self, _values: Mapping[str, Any]) -> None:
        raise Unavailable("The database is not connected")
