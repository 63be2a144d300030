"""Insight as one thing: what the app wires, the controllers call and the background runs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from models.run_facts import Visible
from services.access.actor import Actor
from services.access.audit import AuditLog
from services.background import Job
from services.insight.helper import Helper
from services.insight.host import EVERY_S, HostSampler
from services.insight.local import LocalMetrics
from services.insight.own_runs import OwnRuns, Registered
from services.insight.probes import Probes
from services.insight.signals import Signals
from services.insight.sources import Source, Sources
from services.insight.watches import Watches
from services.metrics import Metrics


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What insight is given: who sees what, which workflow a name means, a Prometheus server, a clock."""

    see: Callable[[Actor], Awaitable[Visible]]
    find: Callable[[str], Awaitable[Registered | None]]
    audit: AuditLog
    metrics: Metrics
    now: Callable[[], datetime]
    prometheus: Source | None = None


class Insight:
    """Probes, signals and watches over one database."""

    def __init__(self, db: Any, around: Surroundings) -> None:
        self._now = around.now
        self._prometheus = around.prometheus
        self.helper = Helper()
        self.sampler = HostSampler(lambda: around.now().timestamp())
        local = LocalMetrics(
            db, self.sampler, see=around.see, find=around.find, has_prometheus=around.prometheus is not None
        )
        sources = Sources(local, around.prometheus)
        self.probes = Probes(db, sources, self.helper, find=around.find, around=around)
        self.signals = Signals(db, see=around.see, find=around.find, audit=around.audit)
        self.watches = Watches(db, sources, self.helper, self.probes, audit=around.audit)
        self.own_runs = OwnRuns(db, self.helper, find=around.find, see=around.see, metrics=around.metrics)

    def jobs(self) -> Sequence[Job]:
        """What runs in the background of a server."""
        return (
            Job(name="sample-host", work=self.sampler.sample, every_s=EVERY_S),
            Job(name="run-watches", work=self._run_watches, every_s=1.0),
            Job(name="judge-own-runs", work=self._judge_own_runs, every_s=15.0),
        )

    async def _judge_own_runs(self) -> None:
        await self.own_runs.look(self._now())

    async def _run_watches(self) -> None:
        while await self.watches.run_due(self._now()):
            pass
