"""Bringing the registry in line with the files of a pack: one bad file does not stop the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import orjson
from msgspec import structs

from models import packs, workflows
from models.dal.errors import Stale
from models.packs import PackRow
from models.workflows import WorkflowRow
from services.access.audit import Category, Entry, Result
from services.actions.catalogue import CODE
from services.errors import Conflict, PackNotFound
from services.registry import checking, lookup
from services.registry.actions import Actions
from services.registry.caller import Caller
from services.registry.checking import Checked
from services.registry.drafts import Draft
from services.registry.findings import complete
from services.registry.ledger import Ledger
from services.registry.lookup import Found
from services.registry.pack_loader import LoadedAction, LoadedPack, LoadedWorkflow, refuse_twins
from services.registry.store import Origin, Store, Stored
from services.registry.workflows import Workflows

_RACES = 5


@dataclass(slots=True, kw_only=True)
class SyncReport:
    """What a sync did. `loaded` files could be read, `registered` of them are in the registry as they are on disk."""

    pack_ref: str
    loaded: int = 0
    registered: int = 0
    actions: int = 0
    workflows: list[dict[str, Any]] = field(default_factory=list)
    disabled: list[str] = field(default_factory=list)
    errors: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[dict[str, Any]] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """The report as the API gives it."""
        return {
            "pack_ref": self.pack_ref,
            "loaded_count": self.loaded,
            "registered_count": self.registered,
            "action_count": self.actions,
            "workflows": self.workflows,
            "disabled": self.disabled,
            "errors": self.errors,
            "warnings": self.warnings,
        }


@dataclass(frozen=True, slots=True)
class _Sync:
    """One sync under way."""

    pack: PackRow
    caller: Caller
    report: SyncReport
    force: bool


class PackSync:
    """Writes what the files of a pack declare."""

    def __init__(
        self, ledger: Ledger, *, store: Store, registry: Workflows, actions: Actions, code_refused: str | None = None
    ) -> None:
        self._ledger = ledger
        self._db = ledger.db
        self._now = ledger.now
        self._store = store
        self._registry = registry
        self._actions = actions
        self._code_refused = code_refused

    async def run(self, pack: PackRow, loaded: LoadedPack, caller: Caller, *, force: bool = False) -> SyncReport:
        """Register what is new, change what changed, disable what is gone.

        Workflows edited through the API stay as they are unless `force`.
        """
        known = await self._without_twins(loaded)
        report = SyncReport(pack_ref=pack.ref, loaded=len(loaded.workflows), errors=list(loaded.errors))
        sync = _Sync(pack, caller, report, force)
        await self._declare(sync, loaded)
        for workflow in loaded.workflows:
            await self._one(sync, workflow, known.get(workflow.draft.ref))
        await self._disable_gone(sync, loaded, known)
        return report

    async def _without_twins(self, loaded: LoadedPack) -> dict[str, WorkflowRow]:
        """Refuse what two files declare; the registered workflows of the pack, by ref."""
        known = {row.ref: row for row in await workflows.of_pack(self._db, loaded.ref)}
        refuse_twins(loaded, {ref: row.source_path for ref, row in known.items()})
        return known

    def forget(self, pack_ref: str, rows: Sequence[WorkflowRow]) -> None:
        """The pack is gone with its workflows: its actions can no longer be performed."""
        for row in rows:
            self._store.changed(row.id)
        self._actions.replace(pack_ref, [])

    async def check(self, loaded: LoadedPack) -> dict[str, list[dict[str, Any]]]:
        """Everything wrong with the files of a pack, by ref; stores nothing."""
        await self._without_twins(loaded)
        found: dict[str, list[dict[str, Any]]] = {}
        for error in loaded.errors:
            found.setdefault(error["ref_name"], []).append(error)
        for workflow in loaded.workflows:
            checked = await self._checked(workflow.draft, loaded)
            if checked.errors:
                found.setdefault(workflow.draft.ref, []).extend(_in_file(workflow, checked.errors))
        return found

    # ---- actions -----------------------------------------------------------------------------------------------------

    async def _declare(self, sync: _Sync, loaded: LoadedPack) -> None:
        at, details = self._now(), {"actions": len(loaded.actions), "workflows": len(loaded.workflows)}
        entry = structs.replace(_entry("sync_pack", sync.caller, sync.pack), details={**details, "force": sync.force})
        calls = [
            packs.put_action(
                self._db,
                {"ref": a.spec.ref, "pack_ref": loaded.ref, "spec": _plain(a.document), "updated": at},
            )
            for a in loaded.actions
        ]
        await self._ledger.write(entry, packs.drop_actions(self._db, loaded.ref), *calls)
        self._actions.replace(loaded.ref, [action.spec for action in loaded.actions])
        sync.report.actions = len(loaded.actions)
        if self._code_refused is not None:
            sync.report.warnings += [_refused(a, self._code_refused) for a in loaded.actions if a.spec.runner in CODE]

    # ---- one workflow ------------------------------------------------------------------------------------------------

    async def _one(self, sync: _Sync, loaded: LoadedWorkflow, row: WorkflowRow | None) -> None:
        checked = await self._checked(loaded.draft, None)
        if checked.errors:
            sync.report.errors.extend(_in_file(loaded, checked.errors))
            return
        kept = None if row is None else _reason_to_keep(row, force=sync.force)
        try:
            stored = None if kept is not None else await self._write(sync, loaded, row)
        except (Conflict, PackNotFound, Stale) as error:
            message = getattr(error, "message", "it is being changed by somebody else; sync again")
            sync.report.errors.extend(_in_file(loaded, [{"loc": ["ref"], "message": message, "type": "conflict"}]))
            return
        warnings = list(checked.warnings)
        if kept:
            warnings.append(complete({"loc": [], "message": kept, "type": "kept"}))
        else:
            sync.report.registered += 1
        there = stored.workflow if stored is not None else row
        assert there is not None
        sync.report.workflows.append(
            {
                "ref_name": there.ref,
                "created": row is None,
                "workflow_def_id": there.id,
                "file": loaded.path,
                "warnings": warnings,
            }
        )

    async def _write(self, sync: _Sync, loaded: LoadedWorkflow, row: WorkflowRow | None) -> Stored:
        pack, by = sync.pack, sync.caller.actor.user_id
        draft = loaded.draft
        if "community_id" not in draft.given:
            draft = replace(draft, community_id=pack.community_id)
        origin = Origin(by=by, owner_id=pack.owner_id, path=loaded.path, hash=loaded.hash)
        entry = _entry("sync_workflow", sync.caller, draft)
        if row is None:
            return await self._store.create(draft, origin, entry)
        whole = replace(draft, given=draft.given | _ALWAYS)
        for _ in range(_RACES):
            version = await lookup.current_version(self._db, Found(row))
            try:
                return await self._store.change(
                    Stored(row, version), whole, origin, structs.replace(entry, workflow_id=row.id)
                )
            except Stale:
                row = await workflows.by_id(self._db, row.id) or row
        raise Stale(expected=1, found=0)

    async def _checked(self, draft: Draft, loaded: LoadedPack | None) -> Checked:
        checked = await checking.check(draft.definition, known=self._registry.known)
        own = {draft.ref} | ({workflow.draft.ref for workflow in loaded.workflows} if loaded else set())
        return replace(checked, warnings=[warning for warning in checked.warnings if warning.get("subject") not in own])

    # ---- what is gone ------------------------------------------------------------------------------------------------

    async def _disable_gone(self, sync: _Sync, loaded: LoadedPack, known: Mapping[str, WorkflowRow]) -> None:
        there = {workflow.draft.ref for workflow in loaded.workflows}
        for row in known.values():
            gone = row.source == "file" and row.ref not in there and row.source_path not in loaded.unreadable
            if not gone or (not row.enabled and row.source_hash is None):
                continue
            if row.modified and not sync.force:
                sync.report.warnings.append(_kept_without_file(row))
                continue
            version = await lookup.current_version(self._db, Found(row))
            draft = Draft(enabled=False, given=frozenset({"enabled"}))
            origin = Origin(by=sync.caller.actor.user_id, path=row.source_path, hash=None)
            entry = structs.replace(
                _entry("disable_workflow", sync.caller, row), workflow_id=row.id, reason="its file is gone"
            )
            await self._store.change(Stored(row, version), draft, origin, entry)
            sync.report.disabled.append(row.ref)


_ALWAYS = frozenset({"name", "author", "description", "tags", "enabled", "param_schema", "out_schema", "community_id"})
"""A file says everything: a field it leaves out is back at its neutral value."""


def _reason_to_keep(row: WorkflowRow, *, force: bool) -> str | None:
    """Why a registered workflow stays as it is although its file says otherwise."""
    if force:
        return None
    if row.source != "file":
        return "a workflow with this ref was created through the API; ?force=true replaces it"
    if row.modified:
        return "it was edited through the API; ?force=true replaces the edit"
    return None


def _kept_without_file(row: WorkflowRow) -> dict[str, Any]:
    message = "its file is gone, and it was edited through the API, so it stays; ?force=true disables it"
    problem = complete({"loc": [], "message": message, "type": "kept"})
    return {"file": row.source_path, "ref_name": row.ref, **problem}


def _in_file(loaded: LoadedWorkflow, errors: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"file": loaded.path, "ref_name": loaded.draft.ref, **complete(error)} for error in errors]


def _refused(action: LoadedAction, why: str) -> dict[str, Any]:
    problem = complete({"loc": [], "message": why, "type": "action_refused"})
    return {"file": action.path, "ref_name": action.spec.ref, **problem}


def _plain(document: Mapping[str, Any]) -> Any:
    return orjson.loads(orjson.dumps(dict(document)))


def _entry(action: str, caller: Caller, about: Draft | WorkflowRow | PackRow) -> Entry:
    return Entry(
        category=Category.AUDIT,
        action=action,
        result=Result.SUCCESS,
        actor=caller.actor,
        community_id=about.community_id,
        resource=about.ref,
        request_id=caller.request_id,
        as_admin=not isinstance(about, Draft) and caller.actor.overrides(about.owner_id),
    )
