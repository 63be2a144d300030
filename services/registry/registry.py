"""The registry as the rest of the product sees it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from services.access.actor import SYSTEM, Actor
from services.access.audit import AuditLog
from services.access.permission_service import PermissionService
from services.actions.catalogue import Catalogue
from services.idempotency import Idempotency
from services.registry.actions import Actions
from services.registry.caller import Caller
from services.registry.doors import Doors
from services.registry.ledger import Ledger
from services.registry.pack_files import MANIFESTS
from services.registry.pack_sync import PackSync, SyncReport
from services.registry.packs import Packs
from services.registry.sharing import Sharing
from services.registry.store import Store
from services.registry.versions import PinnedWorkflow, Versions
from services.registry.workflows import Workflows

log = logging.getLogger("millrace.registry")


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What the registry is built from. `code_refused`: why python and shell actions may not run here."""

    db: Any
    audit: AuditLog
    permissions: PermissionService
    catalogue: Catalogue
    packs_dir: Path
    now: Callable[[], datetime]
    clock: Callable[[], float] = time.monotonic
    code_refused: str | None = None
    reserved: Callable[[], frozenset[str]] = frozenset
    """Names of packs that only an administrator may register."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    """Workflows, their versions, packs, actions and grants."""

    workflows: Workflows
    versions: Versions
    packs: Packs
    actions: Actions
    sharing: Sharing

    async def load_for_execution(
        self, workflow_identifier: str, actor: Actor, *, community_id: int | None = None
    ) -> PinnedWorkflow:
        """The workflow an identifier means, compiled, for an actor who may execute it.

        Costs no query while the answer is at most two seconds old, else one read by primary key.
        Raises `WorkflowNotFound`, `Denied`, `WorkflowDisabled`, `ExecutionRefused`.
        """
        caller = Caller(actor=actor, community_id=community_id)
        return await self.versions.load_for_execution(workflow_identifier, caller)

    async def start(self) -> list[SyncReport]:
        """Load the packs below `PACKS_DIR` whose files changed, and every action: what a start of the server does."""
        reports = await self.packs.install(Caller(actor=SYSTEM))
        for report in reports:
            of_manifest = [warning for warning in report.warnings if warning["file"] in MANIFESTS]
            for error in [*report.errors, *of_manifest]:
                place = ".".join(str(part) for part in error["loc"])
                log.warning(
                    "registry.pack_file pack=%s file=%s place=%s error=%s",
                    report.pack_ref,
                    error["file"],
                    place,
                    error["message"],
                )
        await self.actions.refresh()
        return reports


def build(needs: Needs) -> Registry:
    """Put the services together."""
    db, audit = needs.db, needs.audit
    ledger = Ledger(db=db, audit=audit, now=needs.now, idempotency=Idempotency(db, now=needs.now))
    doors = Doors(db, permissions=needs.permissions, audit=audit, reserved=needs.reserved)
    actions = Actions(db, needs.catalogue)
    store = Store(ledger)
    workflows = Workflows(ledger, store=store, doors=doors, actions=actions.names)
    versions = Versions(db, doors=doors, clock=needs.clock)
    store.on_change(versions.forget)
    sync = PackSync(ledger, store=store, registry=workflows, actions=actions, code_refused=needs.code_refused)
    return Registry(
        workflows=workflows,
        versions=versions,
        packs=Packs(ledger, packs_dir=needs.packs_dir, sync=sync, doors=doors, registry=workflows),
        actions=actions,
        sharing=Sharing(ledger, registry=workflows, doors=doors, changed=needs.permissions.forget),
    )
