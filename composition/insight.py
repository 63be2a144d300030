"""Probes, signals and watches with their background work and their source."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

from config import Settings
from models.dal import AsyncDAL
from models.workflows import WorkflowRow
from services.access.actor import Actor
from services.background import Background
from services.execution.lifecycle import StartRequest
from services.execution.service import Execution
from services.insight.insight import Insight, Surroundings
from services.insight.watches import Start
from services.registry import lookup

if TYPE_CHECKING:
    from services.adapters.prometheus import Prometheus

log = logging.getLogger("millrace.app")


def finder(db: AsyncDAL) -> Callable[[str], Awaitable[WorkflowRow | None]]:
    """Names the registered workflow an identifier means."""

    async def find(identifier: str) -> WorkflowRow | None:
        found = await lookup.find(db, identifier)
        return found.workflow if found else None

    return find


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
    from services.adapters.prometheus import Prometheus  # brings an HTTP client with it

    prometheus = Prometheus(settings.prom_url, authorization=settings.prom_authorization)
    background.on_stop("prometheus", prometheus.close)
    return prometheus


def starter(execution: Execution) -> Start:
    """How a watch starts a workflow: as its owner, like a request of theirs would."""

    async def start(actor: Actor, workflow: str, variables: Mapping[str, Any], metadata: Mapping[str, Any]) -> None:
        request = StartRequest(identifier=workflow, variables=variables, metadata=dict(metadata))
        await execution.lifecycle.start(request, by=actor)

    return start
