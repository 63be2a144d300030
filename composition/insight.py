"""Probes, signals and watches with their background work and their source."""

from __future__ import annotations

import logging

from config import Settings
from models.dal import AsyncDAL
from services.adapters.prometheus import Prometheus
from services.background import Background
from services.insight.insight import Insight, Surroundings

log = logging.getLogger("millrace.app")


def build_insight(db: AsyncDAL, around: Surroundings, background: Background) -> Insight:
    """Probes, signals and watches with their background work."""
    insight = Insight(db, around)
    for job in insight.jobs():
        background.add(job)
    background.on_stop("insight-helper", insight.helper.stop)
    return insight


def build_prometheus(settings: Settings, background: Background) -> Prometheus | None:
    """The Prometheus server that probes ask, where one is set."""
    if settings.prom_url is None:
        return None
    prometheus = Prometheus(settings.prom_url, authorization=settings.prom_authorization)
    background.on_stop("prometheus", prometheus.close)
    return prometheus
