"""Answers the engine's questions: expressions outside the safe subset, and what is known of an action."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from services.engine.graph import ActionFacts
from services.execution.book import Facts
from services.execution.known_actions import Home, KnownActions
from services.registry.refs import pack_of


class ExpressionWorker(Protocol):
    """The process that evaluates what must not be evaluated here."""

    async def evaluate(self, requests: Sequence[Mapping[str, Any]]) -> Mapping[str, Mapping[str, Any]]:
        """The value or the error of each request, by its id."""
        ...

    async def stop(self) -> None:
        """End the processes."""
        ...


@dataclass(frozen=True, slots=True)
class WorkerEvaluator:
    """Asks the expression worker and the catalogue."""

    worker: ExpressionWorker
    actions: KnownActions

    async def answers(self, requests: Sequence[Mapping[str, Any]]) -> Mapping[str, Mapping[str, Any]]:
        """The value or the error of each request, by its id."""
        return await self.worker.evaluate(requests)

    async def facts(self, refs: Sequence[str], *, of: Facts) -> Mapping[str, ActionFacts]:
        """What is known of these actions; those that do not exist, or not for that execution, are left out."""
        return await self.actions.facts(refs, Home(pack_of(of.workflow_ref), of.community_id))
