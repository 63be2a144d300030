"""Whose runs somebody may see. A run of a registered workflow needs the view flag on it; any other run is visible to
the members of its community or, where it has none, to everybody with a key.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from models import run_access
from models.records import Flag
from models.run_facts import Visible
from models.runs import RunSummary
from services.access.actor import Actor
from services.access.permission_service import PermissionService, WorkflowFacts

CACHE_S = 1.5
CACHE_SIZE = 2_000
Key = tuple[int, bool, int | None, frozenset[tuple[int, str]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """How far somebody sees into the runs of one workflow: these communities (0 = none), or all (None)."""

    communities: frozenset[int] | None


class Visibility:
    """Answers for callers; remembers for a moment, so that a list costs no permission query of its own."""

    def __init__(self, db: Any, permissions: PermissionService) -> None:
        self._db, self._permissions = db, permissions
        self._known: OrderedDict[Key, tuple[float, Visible]] = OrderedDict()

    async def of(self, actor: Actor) -> Visible:
        """Everything this caller may see."""
        if actor.is_anonymous:
            return Visible()
        if actor.runs_the_server:
            return Visible(everything=True)
        key = actor.user_id, actor.is_admin, actor.community_id, actor.roles
        at = time.monotonic()
        found = self._known.get(key)
        if found is not None and at - found[0] < CACHE_S:
            return found[1]
        visible = Visible(workflows=await self._workflows(actor), communities=communities_of(actor))
        self._known[key] = at, visible
        if len(self._known) > CACHE_SIZE:
            self._known.popitem(last=False)
        return visible

    async def reach(self, actor: Actor, workflow: WorkflowFacts | None) -> Reach:
        """How far this caller sees into the runs listed under one id, whose registered workflow is `workflow`.

        Anonymous readers (public reads) see runs of no community only.
        """
        if actor.runs_the_server:
            return Reach(communities=None)
        mine = {0, *communities_of(actor)}
        if workflow is None or actor.is_anonymous:
            return Reach(communities=frozenset({0} if actor.is_anonymous else mine))
        home = workflow.community_id or 0
        if await self._permissions.decide(actor, workflow, Flag.VIEW):
            return Reach(communities=frozenset({*mine, home}))
        return Reach(communities=frozenset(mine - {home}))

    async def sees(self, actor: Actor, run: RunSummary) -> bool:
        """Whether this caller may see one run."""
        visible = await self.of(actor)
        if visible.everything or (run.workflow_id is not None and run.workflow_id in visible.workflows):
            return True
        return run.workflow_id is None and (run.community_id or 0) in {0, *visible.communities}

    async def _workflows(self, actor: Actor) -> frozenset[UUID]:
        user = None if actor.is_admin else actor.user_id
        return await run_access.viewable(self._db, user=user, community=actor.community_id)


def communities_of(actor: Actor) -> frozenset[int]:
    """The communities whose unregistered runs a caller may see and add to."""
    if actor.community_id is None:
        return actor.communities
    member = actor.is_admin or actor.community_id in actor.communities
    return frozenset({actor.community_id}) if member else frozenset()
