"""What the engine must know of the actions and packs that a workflow uses, remembered for as long as it is true."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping
from typing import Any
from uuid import UUID

from models import packs, workflows
from services.actions.catalogue import Catalogue
from services.engine.graph import ActionFacts, Kind
from services.errors import ExecutionRefused
from services.registry.checking import action_refs
from services.registry.versions import PinnedWorkflow

INQUIRIES = frozenset({"core.inquiry", "core.ask"})
KEPT = 1_000
STALE_S = 2.0


class KnownActions:
    """Facts of actions, by version of a workflow and by ref."""

    def __init__(self, db: Any, catalogue: Catalogue) -> None:
        self._db = db
        self._catalogue = catalogue
        self._by_version: OrderedDict[UUID, tuple[int, float, Mapping[str, ActionFacts]]] = OrderedDict()
        self._configs: dict[str, tuple[float, Mapping[str, Any]]] = {}

    async def of(self, pinned: PinnedWorkflow) -> Mapping[str, ActionFacts]:
        """The facts of every ref that stands in the definition. Raises ExecutionRefused naming those that do not exist."""
        known = self._by_version.get(pinned.version_id)
        if known is not None and known[0] == self._catalogue.revision and time.monotonic() - known[1] < STALE_S:
            return known[2]
        used = action_refs(pinned.graph)
        facts = await self.facts(used)
        missing = sorted(used.keys() - facts.keys())
        if missing:
            raise ExecutionRefused(f"Unknown action: {', '.join(missing)}", errors=_unknown(missing, used))
        self._by_version[pinned.version_id] = (self._catalogue.revision, time.monotonic(), facts)
        if len(self._by_version) > KEPT:
            self._by_version.popitem(last=False)
        return facts

    async def facts(self, refs: Iterable[str]) -> dict[str, ActionFacts]:
        """The facts of those refs that name an action or a workflow."""
        facts, rest = {}, []
        for ref in refs:
            spec = self._catalogue.get(ref)
            if ref in INQUIRIES:
                facts[ref] = ActionFacts(kind=Kind.INQUIRY)
            elif spec is not None:
                facts[ref] = ActionFacts(kind=Kind.ACTION, effect=spec.effect)
            else:
                rest.append(ref)
        found: Collection[str] = await workflows.known_refs(self._db, rest) if rest else ()
        return facts | {ref: ActionFacts(kind=Kind.WORKFLOW) for ref in found}

    async def config(self, pack_ref: str) -> Mapping[str, Any]:
        """The settings of a pack."""
        known = self._configs.get(pack_ref)
        if known is not None and time.monotonic() - known[0] < STALE_S:
            return known[1]
        row = await packs.by_ref(self._db, pack_ref)
        config: Mapping[str, Any] = (row.config if row is not None else None) or {}
        self._configs[pack_ref] = (time.monotonic(), config)
        return config


def _unknown(missing: list[str], used: Mapping[str, list[str]]) -> list[dict[str, Any]]:
    return [
        {
            "loc": ["definition", "tasks", node, "action"],
            "message": f"There is no action or workflow {ref!r}",
            "type": "unknown_action",
            "code": "unknown_action",
            "task": node,
        }
        for ref in missing
        for node in used[ref]
    ]
