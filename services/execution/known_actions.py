"""What the engine must know of the actions and packs that a workflow uses, remembered for as long as it is true."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from models import packs, workflows
from services.access.actor import Actor
from services.access.permission_service import PermissionService
from services.actions.catalogue import CODE, Catalogue
from services.engine.compile import place_in
from services.engine.graph import ActionFacts, Kind
from services.engine.problems import Problem
from services.errors import ExecutionRefused
from services.registry.checking import action_refs, located
from services.registry.pack_drafts import with_defaults
from services.registry.versions import PinnedWorkflow
from services.registry.visible_refs import visible_refs

INQUIRIES = frozenset({"core.inquiry", "core.ask"})
KEPT = 1_000
STALE_S = 2.0


@dataclass(frozen=True, slots=True)
class Home:
    """Where a workflow belongs: it may call the actions of its own pack, of its community's packs, and of packs that
    belong to no community."""

    pack_ref: str
    community_id: int | None


@dataclass(frozen=True, slots=True)
class _Known:
    """What was found out about a version. `forbidden`: actions that may not run here, with the nodes that call them;
    `workflows`: the same for the workflows it calls."""

    revision: int
    at: float
    facts: Mapping[str, ActionFacts]
    forbidden: Mapping[str, list[str]]
    workflows: Mapping[str, list[str]]


class KnownActions:
    """Facts of actions, by version of a workflow and by ref."""

    def __init__(
        self, db: Any, catalogue: Catalogue, permissions: PermissionService, *, code_refused: str | None = None
    ) -> None:
        self._db = db
        self._permissions = permissions
        self._catalogue = catalogue
        self._code_refused = code_refused
        self._by_version: OrderedDict[UUID, _Known] = OrderedDict()
        self._configs: dict[str, tuple[float, Mapping[str, Any]]] = {}
        self._owned: tuple[float, Mapping[str, int | None]] | None = None

    async def of(
        self, pinned: PinnedWorkflow, *, by: Actor | None = None, rehearsal: bool = False
    ) -> Mapping[str, ActionFacts]:
        """The facts of every ref that stands in the definition.

        Raises ExecutionRefused naming those that do not exist, or not for `by`, and, but for a rehearsal, those that
        may not run here.
        """
        known = self._by_version.get(pinned.version_id)
        if known is None or known.revision != self._catalogue.revision or time.monotonic() - known.at >= STALE_S:
            known = await self._looked_up(pinned)
        if known.forbidden and not rehearsal:
            message = f"{', '.join(known.forbidden)}: {self._code_refused}"
            errors = _problems(pinned, known.forbidden, "action_refused", str(self._code_refused))
            raise ExecutionRefused(message, errors=errors)
        if known.workflows and by is not None:
            seen = await visible_refs(self._db, self._permissions, by, known.workflows)
            _require(pinned, known.workflows.keys() - seen, known.workflows)
        return known.facts

    async def _looked_up(self, pinned: PinnedWorkflow) -> _Known:
        used = action_refs(pinned.graph)
        facts = await self.facts(used, Home(pinned.pack_ref, pinned.community_id))
        _require(pinned, used.keys() - facts.keys(), used)
        forbidden = {ref: used[ref] for ref in sorted(used) if self.forbids(ref)}
        called = {ref: used[ref] for ref, fact in facts.items() if fact.kind is Kind.WORKFLOW}
        known = _Known(self._catalogue.revision, time.monotonic(), facts, forbidden, called)
        self._by_version[pinned.version_id] = known
        if len(self._by_version) > KEPT:
            self._by_version.popitem(last=False)
        return known

    def forbids(self, ref: str) -> bool:
        """Whether an action may not run here."""
        spec = self._catalogue.get(ref)
        return self._code_refused is not None and spec is not None and spec.runner in CODE

    async def facts(self, refs: Iterable[str], home: Home) -> dict[str, ActionFacts]:
        """The facts of those refs that name an action which a workflow of that home may call, or a workflow."""
        facts, rest, closed = {}, [], await self._closed_to(home)
        for ref in refs:
            spec = self._catalogue.get(ref)
            if spec is not None and spec.pack_ref in closed:
                continue
            if ref in INQUIRIES:
                facts[ref] = ActionFacts(kind=Kind.INQUIRY)
            elif spec is not None:
                facts[ref] = ActionFacts(kind=Kind.ACTION, effect=spec.effect)
            else:
                rest.append(ref)
        found: Collection[str] = await workflows.known_refs(self._db, rest) if rest else ()
        return facts | {ref: ActionFacts(kind=Kind.WORKFLOW) for ref in found}

    async def _closed_to(self, home: Home) -> frozenset[str]:
        """The packs whose actions are for other communities."""
        now, known = time.monotonic(), self._owned
        if known is None or now - known[0] >= STALE_S:
            if known is not None:
                self._owned = (now, known[1])  # one asks; the others go on with what is known
            owned = {row.ref: row.community_id for row in await packs.of_communities(self._db)}
            self._owned = (now, owned)
        assert self._owned is not None
        owners = self._owned[1].items()
        return frozenset(ref for ref, owner in owners if ref != home.pack_ref and owner != home.community_id)

    async def config(self, pack_ref: str) -> Mapping[str, Any]:
        """The settings of a pack."""
        known = self._configs.get(pack_ref)
        if known is not None and time.monotonic() - known[0] < STALE_S:
            return known[1]
        row = await packs.by_ref(self._db, pack_ref)
        config: Mapping[str, Any] = {} if row is None else with_defaults(row.config_schema, row.config or {})
        self._configs[pack_ref] = (time.monotonic(), config)
        return config


def _require(pinned: PinnedWorkflow, missing: Collection[str], used: Mapping[str, list[str]]) -> None:
    if missing:
        errors = [
            problem
            for ref in sorted(missing)
            for problem in _problems(
                pinned, {ref: used[ref]}, "unknown_action", f"There is no action or workflow {ref!r}"
            )
        ]
        raise ExecutionRefused(f"Unknown action: {', '.join(sorted(missing))}", errors=errors)


def _problems(pinned: PinnedWorkflow, refs: Mapping[str, list[str]], code: str, message: str) -> list[dict[str, Any]]:
    place = place_in(pinned.definition)
    calls = [(ref, node) for ref, nodes in refs.items() for node in nodes]
    problems = (
        Problem(code=code, message=message, path=f"{place(node)}.action", task=node, subject=ref) for ref, node in calls
    )
    return [located(problem, ("definition",)) for problem in problems]
