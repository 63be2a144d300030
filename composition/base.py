"""What everything else stands on: the database with its stopwatch, the optional features."""

from __future__ import annotations

import logging
import os
import signal

from config import Settings
from models.dal import AsyncDAL, Options, sqlite_url
from models.schema import declare
from models.timed import TimedDAL
from services.features import Feature
from services.metrics import Metrics
from services.readiness import Readiness

log = logging.getLogger("millrace.app")


def open_database(settings: Settings, readiness: Readiness, metrics: Metrics) -> AsyncDAL:
    """The database of these settings with every table declared; not connected."""

    def end(error: BaseException) -> None:
        log.critical("database.lost error=%s it cannot be written any more, so this process ends", error)
        readiness.fatal = True
        os.kill(os.getpid(), signal.SIGTERM)

    url = settings.postgres_dsn or sqlite_url(settings.data_dir / "millrace.db")
    options = Options(pool_size=settings.database_connections, on_commit=metrics.observe_commit)
    db: AsyncDAL = declare(TimedDAL(url, options, observe=metrics.observe_database, on_fatal=end))
    metrics.watch_connections(lambda: db.connections_in_use)
    return db


def features(settings: Settings) -> list[Feature]:
    """What may be switched on, and what it needs."""
    embedded = settings.embeddings_on
    milvus = embedded and settings.milvus_endpoint is not None
    return [
        Feature(name="embeddings", wanted=embedded, module="openai", extra="ai"),
        Feature(name="milvus", wanted=milvus, module="pymilvus", extra="milvus"),
        Feature(name="prometheus", wanted=settings.prom_url is not None),
        Feature(
            name="tracing",
            wanted=settings.traces_url is not None,
            module="opentelemetry.exporter.otlp.proto.http",
            extra="otel",
        ),
    ]
