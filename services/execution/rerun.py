"""Running an ended execution again: what is reused is a snapshot inside the new execution's event 0."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from models.records import Flag
from services.access.actor import Actor
from services.engine import rerun as pure
from services.engine.rerun import From, Plan, Refused
from services.errors import BadRequest, WorkflowNotFound
from services.execution.lifecycle import Accepted, Lifecycle, StartRequest
from services.execution.starting import Order
from services.idempotency import Wanted
from services.registry.caller import Caller
from services.registry.versions import PinnedWorkflow


@dataclass(frozen=True, slots=True, kw_only=True)
class RerunRequest:
    """What shall run again. `start`: task names, none = what failed; `version`: of the same workflow."""

    execution_id: str
    start: Sequence[str] = ()
    variables: Mapping[str, Any] = field(default_factory=dict)
    version: str | None = None
    once: Wanted | None = None


@dataclass(frozen=True, slots=True)
class Planned:
    """A plan, and what is needed to carry it out."""

    plan: Plan
    pinned: PinnedWorkflow
    parameters: Mapping[str, Any]


class Rerun:
    """Plans and starts re-runs."""

    def __init__(self, lifecycle: Lifecycle) -> None:
        self._lifecycle = lifecycle

    async def plan(self, request: RerunRequest, *, by: Actor) -> Planned:
        """What would be reused and what would happen again.

        Raises BadRequest with the reason when there is no plan, Invalid for variables that do not fit.
        """
        row = await self._lifecycle.row(request.execution_id, by=by)
        versions = self._lifecycle.library.versions
        caller = Caller(actor=by)
        identifier = str(row.version_id) if request.version is None else f"{row.workflow_ref}@{request.version}"
        try:
            pinned = await versions.load_for_execution(identifier, caller, Flag.EXECUTE)
        except WorkflowNotFound as error:
            if request.version is None:
                raise BadRequest(f"The workflow {row.workflow_ref} was removed: it cannot be run again") from error
            raise BadRequest(f"There is no version {request.version} of {row.workflow_ref}") from error
        if pinned.workflow_id != row.workflow_id:
            raise BadRequest("That version belongs to another workflow")
        book = await self._lifecycle.library.folded_row(row)
        planned = pure.plan(book.state, pinned.graph, [From(node=name) for name in request.start])
        if isinstance(planned, Refused):
            raise BadRequest(planned.reason)
        return Planned(planned, pinned, pinned.variables({**book.state.parameters, **request.variables}))

    async def start(self, request: RerunRequest, *, by: Actor) -> Accepted:
        """Start the re-run as a new execution."""
        planned = await self.plan(request, by=by)
        row = await self._lifecycle.row(request.execution_id, by=by)
        pinned = planned.pinned
        order = Order(
            pinned=pinned,
            parameters=planned.parameters,
            at=self._lifecycle.now(),
            triggered_by=by.user_id,
            key_id=None if by.key_id is None else str(by.key_id),
            community_id=pinned.community_id,
            metadata=row.metadata,
            traceparent=row.traceparent,
            reuse=planned.plan.reuse,
            by=by,
        )
        start = StartRequest(identifier=pinned.ref, once=request.once)
        return await self._lifecycle.begin(order, start, by=by, wait=False, action="rerun_execution")


def shown(planned: Planned) -> dict[str, Any]:
    """A plan as the caller sees it."""
    plan = planned.plan
    return {
        "workflow_id": planned.pinned.workflow_id,
        "workflow_version": planned.pinned.version,
        "reused": list(plan.reused),
        "again": list(plan.again),
        "effects": list(plan.effects),
    }
