"""Compiled versions, ready to be executed: one per version id, kept in memory.

What an identifier means is remembered with the change number it was read at. The owner of this process's writes says
`forget`, so a local change is seen at once; a change by another process is seen after at most `STALE_S` seconds,
because then the remembered number is compared with the database (one primary-key read).
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from msgspec import Struct

from models import workflows
from models.records import Flag
from models.workflows import VersionRow, WorkflowRow
from services.engine.graph import Graph
from services.engine.graph_json import graph_hash
from services.errors import ExecutionRefused, Invalid, WorkflowDisabled, WorkflowNotFound
from services.registry import checking, lookup, views
from services.registry.caller import Caller
from services.registry.doors import Doors
from services.registry.lookup import Found
from services.registry.schemas import Checker, as_schema, compile_schema

STALE_S = 2.0
MAX_VERSIONS = 1_000
MAX_NAMES = 10_000


class PinnedWorkflow(Struct, frozen=True, kw_only=True):
    """A workflow at one version, compiled. `package_id` and `version` are those of that version."""

    workflow_id: UUID
    version_id: UUID
    ref: str
    package_id: str
    version: str
    revision: int
    pack_ref: str
    community_id: int | None
    owner_id: int | None
    enabled: bool
    graph: Graph
    definition: Mapping[str, Any]
    params: Checker | None
    output: Checker | None
    row: WorkflowRow

    def variables(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The variables of a start: defaults filled in, checked. Raises `Invalid` with every violation."""
        if self.params is None:
            return dict(given)
        filled = self.params.filled(dict(given))
        errors = self.params.violations(filled, ("variables",))
        if errors:
            raise Invalid(f"The variables do not fit the workflow: {errors[0]['message']}", errors=errors)
        return dict(filled)


@dataclass(frozen=True, slots=True)
class _Compiled:
    version: VersionRow
    graph: Graph | None
    errors: list[dict[str, Any]]
    definition: Mapping[str, Any]
    params: Checker | None
    output: Checker | None


@dataclass(slots=True)
class _Known:
    found: Found
    version_id: UUID
    checked_at: float


class Versions:
    """The cache of compiled versions, and the way into it."""

    def __init__(self, db: Any, *, doors: Doors, clock: Callable[[], float]) -> None:
        """`clock` is monotonic, in seconds."""
        self._db = db
        self._doors = doors
        self._clock = clock
        self._compiled: OrderedDict[UUID, _Compiled] = OrderedDict()
        self._under_way: dict[UUID, asyncio.Future[None]] = {}
        self._names: OrderedDict[str, _Known] = OrderedDict()
        self._writes = 0

    async def load_for_execution(self, identifier: str, caller: Caller, flag: Flag = Flag.EXECUTE) -> PinnedWorkflow:
        """The workflow that `identifier` means, compiled, for a caller who may execute it.

        Raises `WorkflowNotFound`, `Denied`, `WorkflowDisabled`, `ExecutionRefused` (it does not compile).
        """
        found, version_id = await self._resolve(identifier)
        await self._doors.require(caller, found.workflow, flag, called=identifier)
        if not found.workflow.enabled:
            raise WorkflowDisabled(f"The workflow {found.workflow.ref} is disabled", ref=found.workflow.ref)
        return _pinned(found.workflow, await self._version(version_id))

    async def load_for_drawing(self, identifier: str, caller: Caller) -> PinnedWorkflow:
        """The same for a caller who may only view it, disabled or not."""
        found, version_id = await self._resolve(identifier)
        await self._doors.require(caller, found.workflow, Flag.VIEW, called=identifier)
        return _pinned(found.workflow, await self._version(version_id))

    async def load_version(self, version_id: UUID) -> PinnedWorkflow:
        """One version, compiled, whoever asks and whatever became of its workflow: for executions that go on.

        Raises `WorkflowNotFound`, `ExecutionRefused`.
        """
        compiled = await self._version(version_id)
        workflow = await workflows.by_id(self._db, compiled.version.workflow_id)
        if workflow is None:
            raise WorkflowNotFound()
        return _pinned(workflow, compiled)

    async def graph_of(self, version_id: UUID) -> Graph | None:
        """The compiled graph of a version alone; None when there is no such version or it does not compile."""
        try:
            return (await self._version(version_id)).graph
        except WorkflowNotFound:
            return None

    def forget(self, workflow_id: UUID) -> None:
        """This process changed a workflow: look it up anew. Compiled versions stay, they never change."""
        self._writes += 1
        for name in [name for name, known in self._names.items() if known.found.workflow.id == workflow_id]:
            del self._names[name]

    # ---- the two caches ----------------------------------------------------------------------------------------------

    async def _resolve(self, identifier: str) -> tuple[Found, UUID]:
        known = self._names.get(identifier)
        if known is not None and await self._still_true(known):
            return known.found, known.version_id
        writes = self._writes
        found = await lookup.require(self._db, identifier)
        version_id = found.pinned.id if found.pinned else found.workflow.version_id
        if writes != self._writes:
            return found, version_id  # read beside a local write: right for this call, not to be remembered
        self._names[identifier] = _Known(found, version_id, self._clock())
        self._names.move_to_end(identifier)
        if len(self._names) > MAX_NAMES:
            self._names.popitem(last=False)
        return found, version_id

    async def _still_true(self, known: _Known) -> bool:
        now = self._clock()
        if now - known.checked_at < STALE_S:
            return True
        state = await workflows.state_of(self._db, known.found.workflow.id)
        if state != (known.found.workflow.change_no, True):
            return False
        known.checked_at = now
        return True

    async def _version(self, version_id: UUID) -> _Compiled:
        while (compiled := self._compiled.get(version_id)) is None:
            under_way = self._under_way.get(version_id)
            if under_way is None:
                compiled = await self._found(version_id)
                break
            await asyncio.wait([under_way])  # then look again: whoever compiled it may have failed or gone
        self._compiled.move_to_end(version_id)
        return compiled

    async def _found(self, version_id: UUID) -> _Compiled:
        """Compile it once, however many ask at the same time: a worker may claim hundreds of executions of it at once."""
        done = self._under_way[version_id] = asyncio.get_running_loop().create_future()
        try:
            version = await workflows.version(self._db, version_id)
            if version is None:
                raise WorkflowNotFound(version_id=version_id)
            compiled = self._compiled[version_id] = await self._compile(version)
            if len(self._compiled) > MAX_VERSIONS:
                self._compiled.popitem(last=False)
            return compiled
        finally:
            del self._under_way[version_id]
            done.set_result(None)

    async def _compile(self, version: VersionRow) -> _Compiled:
        definition = views.parsed(version.definition)
        checked = await checking.check(definition, known=_all)
        return _Compiled(
            version=version,
            graph=_with_output_schema(checked.graph, views.parsed(version.out_schema)),
            errors=checked.errors,
            definition=definition,
            params=compile_schema(views.parsed(version.param_schema)),
            output=compile_schema(views.parsed(version.out_schema)),
        )


async def _all(refs: Any) -> checking.Schemas:
    return {ref: {} for ref in refs}


def _with_output_schema(graph: Graph | None, schema: Any) -> Graph | None:
    """The schema that was registered beside the definition is part of what the engine runs."""
    if graph is None or not isinstance(schema, dict) or graph.out_schema is not None:
        return graph
    whole = replace(graph, out_schema=as_schema(schema))
    return replace(whole, hash=graph_hash(whole))


def _pinned(workflow: WorkflowRow, compiled: _Compiled) -> PinnedWorkflow:
    version = compiled.version
    if compiled.graph is None:
        raise ExecutionRefused(f"The definition of {workflow.ref} does not compile", errors=compiled.errors)
    return PinnedWorkflow(
        workflow_id=workflow.id,
        version_id=version.id,
        ref=workflow.ref,
        package_id=version.package_id,
        version=version.version,
        revision=version.revision,
        pack_ref=workflow.pack_ref,
        community_id=workflow.community_id,
        owner_id=workflow.owner_id,
        enabled=workflow.enabled,
        graph=compiled.graph,
        definition=compiled.definition,
        params=compiled.params,
        output=compiled.output,
        row=workflow,
    )
