"""Packs: registered by request or found below `PACKS_DIR`; what their files declare is loaded with them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from msgspec import structs

from models import packs, workflows
from models.dal.errors import Duplicate, Stale
from models.packs import PackPage, PackRow
from models.records import uuid7
from models.workflow_lists import Filters, Window
from models.workflows import WorkflowRow
from services.access.audit import Category, Entry, Result
from services.errors import Conflict, DuplicateRef, Invalid, PackNotFound, PreconditionFailed
from services.registry import pack_drafts, pack_files, pack_loader, refs, views
from services.registry.caller import Caller
from services.registry.doors import Doors
from services.registry.findings import complete
from services.registry.ledger import Ledger, changes
from services.registry.pack_drafts import PackDraft
from services.registry.pack_files import PackFolder
from services.registry.pack_loader import LoadedPack
from services.registry.pack_sync import PackSync, SyncReport
from services.registry.workflows import Workflows

MAX_RACES = 100
SHOWN_WORKFLOWS = 1_000
BUILT_IN = ("core", refs.DEFAULT_PACK)


@dataclass(frozen=True, slots=True, kw_only=True)
class PackWritten:
    """A pack after a request wrote it, and what loading its files did."""

    pack: PackRow
    sync: SyncReport
    replayed: bool = False


class Packs:
    """What the routes about packs do."""

    def __init__(self, ledger: Ledger, *, packs_dir: Path, sync: PackSync, doors: Doors, registry: Workflows) -> None:
        self._ledger = ledger
        self._db = ledger.db
        self._now = ledger.now
        self._dir = packs_dir
        self._sync = sync
        self._doors = doors
        self._registry = registry

    # ---- reading -----------------------------------------------------------------------------------------------------

    async def page(self, wanted: PackPage, caller: Caller) -> tuple[list[PackRow], int]:
        """A page of the packs that the caller may know of, in order of their ref, and how many there are."""
        wanted = replace(wanted, without=await self._doors.hidden_packs(caller))
        rows = [await self._as_seen(row, caller) for row in await packs.page(self._db, wanted)]
        return rows, await packs.count(self._db, wanted)

    async def _as_seen(self, pack: PackRow, caller: Caller) -> PackRow:
        """The pack with the number of its workflows that the caller may view; its owner knows of all."""
        if not pack.workflow_count or self._doors.owns(caller, pack):
            return pack
        count, _ = await self._registry.count(caller, Filters(pack_ref=pack.ref))
        return replace(pack, workflow_count=count)

    async def hidden(self, caller: Caller) -> frozenset[str]:
        """The packs that the caller may not know of."""
        return await self._doors.hidden_packs(caller)

    async def get(self, ref: str, caller: Caller) -> tuple[PackRow, dict[str, Any]]:
        """A pack with its actions and those of its workflows that the caller may see. Raises `PackNotFound`."""
        pack = await self._as_seen(await self._doors.require_pack(ref, caller), caller)
        window = Window(sort_by="ref", descending=False, count=SHOWN_WORKFLOWS)
        listed = await self._registry.page(caller, Filters(pack_ref=ref), window)
        actions = [row["spec"] for row in await packs.actions(self._db, ref)]
        may_edit = self._doors.owns(caller, pack)
        return pack, views.pack_detail(pack, [views.summary(row) for row in listed.rows], actions, may_edit=may_edit)

    async def require(self, ref: str, caller: Caller) -> PackRow:
        """The pack of that ref. Raises `PackNotFound`."""
        return await self._doors.require_pack(ref, caller)

    # ---- writing -----------------------------------------------------------------------------------------------------

    async def create(self, document: Any, caller: Caller) -> PackWritten:
        """Register a pack and load its files; what the request says wins over the manifest.

        Raises `Invalid`, `DuplicateRef`, `Denied`.
        """
        again = await self._replay(caller)
        if again is not None:
            return again
        ref = document.get("ref") if isinstance(document, dict) else None
        loaded = await self._load(ref if isinstance(ref, str) and refs.is_pack_ref(ref) else "")
        draft = pack_drafts.read_new(document, manifest=loaded.manifest)
        await self._doors.require_name(caller, draft.ref, in_files=loaded.found)
        community = draft.community_id if "community_id" in draft.given else caller.actor.community_id
        self._doors.require_community(caller, community)
        at = self._now()
        pack = PackRow(
            **{key: getattr(draft, key) for key in pack_drafts.STORED},
            id=uuid7(),
            source="file" if loaded.found else "api",
            source_hash=loaded.hash,
            modified=any(document.get(name, said) != said for name, said in _followed(loaded.manifest)),
            workflow_count=0,
            owner_id=caller.actor.user_id or None,
            community_id=community,
            change_no=1,
            created=at,
            updated=at,
        )
        try:
            once = [] if caller.once is None else [self._ledger.idempotency.call(caller.once, pack.ref)]
            await self._ledger.write(_entry("create_pack", caller, pack), *once, packs.insert(self._db, _values(pack)))
        except Duplicate as clash:
            raise DuplicateRef(f"A pack with ref {draft.ref} exists", ref=draft.ref) from clash
        except Stale:
            again = await self._replay(caller)
            if again is None:
                raise
            return again
        report = await self._synced(pack, loaded.pack, caller)
        return PackWritten(pack=await self._doors.require_pack(pack.ref, caller), sync=report)

    async def _replay(self, caller: Caller) -> PackWritten | None:
        """What the same request made before; None when it is new or carried no key."""
        made = None if caller.once is None else await self._ledger.idempotency.find(caller.once)
        if made is None:
            return None
        return PackWritten(
            pack=await self._doors.require_pack(made, caller), sync=SyncReport(pack_ref=made), replayed=True
        )

    async def update(
        self, ref: str, document: Any, caller: Caller, *, expected: Collection[str] | None = None
    ) -> PackWritten:
        """Change the given fields, then load the files again. Raises `Invalid`, `Denied`, `PreconditionFailed`."""
        for _ in range(MAX_RACES):
            pack = await self._doors.require_pack(ref, caller)
            await self._doors.require_owner(caller, pack)
            _require_state(pack, expected)
            draft = pack_drafts.read_change(document, pack)
            if "community_id" in draft.given:
                self._doors.require_community(caller, draft.community_id)
            values = {key: getattr(draft, key) for key in draft.given} | {"updated": self._now()}
            values["modified"] = pack.modified or any(
                name in draft.given and getattr(draft, name) != getattr(pack, name) for name in pack_drafts.FOLLOWED
            )
            try:
                call = packs.change(self._db, ref, seen=pack.change_no, values=values)
                entry = structs.replace(_entry("update_pack", caller, pack), details=_changes(pack, draft))
                await self._ledger.write(entry, call)
            except Stale:
                continue
            report = await self.sync(ref, caller)
            return PackWritten(pack=await self._doors.require_pack(ref, caller), sync=report)
        raise Conflict("The pack is being changed by many others; try again")

    async def delete(
        self, ref: str, caller: Caller, *, cascade: bool = False, expected: Collection[str] | None = None
    ) -> None:
        """Remove a pack and what came with it; history stays readable.

        Raises `Conflict` while executions run, or when it has workflows made by request and not `cascade`.
        """
        for _ in range(MAX_RACES):
            pack = await self._doors.require_pack(ref, caller)
            await self._doors.require_owner(caller, pack)
            _require_state(pack, expected)
            if ref in BUILT_IN:
                raise Conflict(f"The pack {ref} is part of the server")
            rows = await self._require_idle(pack, cascade=cascade)
            calls = [
                packs.delete(self._db, ref, seen=pack.change_no, workflows=len(rows)),
                packs.bury_workflows(self._db, ref, self._now()),
                packs.drop_actions(self._db, ref),
                packs.drop_grants(self._db, ref),
            ]
            entry = structs.replace(_entry("delete_pack", caller, pack), details={"workflows": len(rows)})
            try:
                await self._ledger.write(entry, *calls)
            except Stale:
                continue
            self._sync.forget(ref, rows)
            return
        raise Conflict("The pack is being changed by many others; try again")

    async def _require_idle(self, pack: PackRow, *, cascade: bool) -> list[WorkflowRow]:
        """The workflows of a pack that may go now."""
        running = await packs.running(self._db, pack.ref, count=20)
        if running:
            raise Conflict("Executions of this pack are running; cancel them or wait", executions=running)
        rows = await workflows.of_pack(self._db, pack.ref)
        made = [row.ref for row in rows if row.source != "file"]
        if made and not cascade:
            message = f"{len(made)} workflows of this pack were created through the API; ?cascade=true removes them too"
            raise Conflict(message, workflows=made[:100])
        return rows

    # ---- files -------------------------------------------------------------------------------------------------------

    async def sync(self, ref: str, caller: Caller, *, force: bool = False) -> SyncReport:
        """Bring the registry in line with the pack's files. Raises `PackNotFound`, `Denied`.

        Files that came after a pack was registered by request are the operator's to load.
        """
        loaded = await self._load(ref if refs.is_pack_ref(ref) else "")
        if loaded.found and caller.actor.runs_the_server and await packs.by_ref(self._db, ref) is None:
            message = (
                f"There is no pack {ref} yet: its files are loaded with those of every new pack, by a sync without name"
            )
            raise PackNotFound(message, pack_ref=ref)
        pack = await self._doors.require_pack(ref, caller)
        await self._doors.require_owner(caller, pack)
        if pack.source != "file" and not caller.actor.runs_the_server:
            return SyncReport(pack_ref=ref, errors=_foreign_files(pack) if loaded.found else [])
        if pack.source != "file" and not loaded.found:
            return SyncReport(pack_ref=ref)
        report = await self._synced(pack, loaded.pack, caller, force=force)
        await packs.remember_files(self._db, ref, loaded.hash or "", self._now())
        return report

    async def validate(self, ref: str, caller: Caller) -> dict[str, Any]:
        """Check the pack's files without loading them. Raises `PackNotFound`, `Denied`."""
        await self._doors.require_owner(caller, await self._doors.require_pack(ref, caller))
        loaded = await self._load(ref)
        errors = await self._sync.check(loaded.pack)
        count = len(loaded.pack.workflows) + len({error["file"] for error in loaded.pack.errors})
        return {"pack_ref": ref, "validated_count": count, "error_count": len(errors), "errors": errors}

    async def install(self, caller: Caller) -> list[SyncReport]:
        """Register the packs below `PACKS_DIR`, and load anew those whose files changed: what a start does.

        A pack that cannot be registered is reported and does not stop the others.
        """
        known = await packs.hashes(self._db)
        if refs.DEFAULT_PACK not in known:
            await self._install(refs.DEFAULT_PACK, {"label": "Default", "version": "1.0.0"}, caller)
        reports = []
        for ref in await asyncio.to_thread(pack_files.folders, self._dir):
            folder = await asyncio.to_thread(pack_files.read_folder, self._dir, ref)
            if folder is None or known.get(ref) == folder.hash:
                continue
            loaded = await asyncio.to_thread(pack_loader.load, folder)
            try:
                await self._install(ref, {"label": ref, "version": "1.0.0", **loaded.manifest}, caller)
            except Invalid as error:
                errors = [*loaded.errors, *_in_manifest(ref, error.details["errors"])]
                reports.append(SyncReport(pack_ref=ref, errors=errors))
                continue
            pack = await self._doors.require_pack(ref, caller)
            if pack.source != "file" and pack.owner_id is not None:
                reports.append(SyncReport(pack_ref=ref, errors=_foreign_files(pack)))
                continue
            reports.append(await self._synced(pack, loaded, caller))
            await packs.remember_files(self._db, ref, folder.hash, self._now())
        return reports

    async def _install(self, ref: str, manifest: Mapping[str, Any], caller: Caller) -> None:
        """Register a pack of the server's own, where it is not registered already."""
        if await packs.by_ref(self._db, ref) is not None:
            return
        draft = pack_drafts.read_new({**manifest, "ref": ref}, unset=True)
        at = self._now()
        values = {key: getattr(draft, key) for key in pack_drafts.STORED}
        facts = {"id": uuid7(), "source": "file", "workflow_count": 0, "change_no": 1, "created": at, "updated": at}
        with contextlib.suppress(Duplicate):  # another process installs the same packs
            await self._ledger.write(_entry("install_pack", caller, draft), packs.insert(self._db, values | facts))

    async def _synced(self, pack: PackRow, loaded: LoadedPack, caller: Caller, *, force: bool = False) -> SyncReport:
        """Take over what the files say: the manifest, unless a request said otherwise, actions and workflows."""
        problems: list[dict[str, Any]] = []
        if loaded.manifest and (force or not pack.modified):
            try:
                pack = await self._follow(pack, loaded.manifest, caller)
            except Invalid as error:
                problems = _in_manifest(pack.ref, error.details["errors"])
        report = await self._sync.run(pack, loaded, caller, force=force)
        report.errors += problems
        report.warnings += [*loaded.warnings, *_in_manifest(pack.ref, _unfit(pack))]
        return report

    async def _follow(self, pack: PackRow, manifest: Mapping[str, Any], caller: Caller) -> PackRow:
        """Take over the manifest. Raises `Invalid` when it is none."""
        said = {"label": pack.ref, "version": "1.0.0", **manifest, "ref": pack.ref}
        draft = pack_drafts.read_new({key: value for key, value in said.items() if key != "config"}, unset=True)
        values = {name: getattr(draft, name) for name in pack_drafts.FOLLOWED}
        details = changes({name: getattr(pack, name) for name in values}, values)
        if not details["changed"] and not pack.modified:
            return pack
        entry = structs.replace(_entry("update_pack", caller, pack), details=details)
        call = packs.change(
            self._db, pack.ref, seen=pack.change_no, values={**values, "modified": False, "updated": self._now()}
        )
        with contextlib.suppress(Stale):  # somebody else is at it: their change counts, and the next sync looks again
            await self._ledger.write(entry, call)
        return await self._doors.require_pack(pack.ref, caller)

    async def _load(self, ref: str) -> _Loaded:
        folder = await asyncio.to_thread(pack_files.read_folder, self._dir, ref) if ref else None
        return await asyncio.to_thread(_loaded, ref, folder)


@dataclass(frozen=True, slots=True)
class _Loaded:
    pack: LoadedPack
    hash: str | None

    @property
    def found(self) -> bool:
        return self.hash is not None

    @property
    def manifest(self) -> Mapping[str, Any]:
        return self.pack.manifest


def _loaded(ref: str, folder: PackFolder | None) -> _Loaded:
    if folder is None:
        return _Loaded(LoadedPack(ref), None)
    return _Loaded(pack_loader.load(folder), folder.hash)


def _unfit(pack: PackRow) -> list[dict[str, Any]]:
    return pack_drafts.unfit_config(pack.config_schema, pack.config)


def _foreign_files(pack: PackRow) -> list[dict[str, Any]]:
    message = "the pack was registered by request before its files came: an administrator loads them with a sync"
    return _in_manifest(pack.ref, [{"loc": [], "message": message, "type": "registered_by_request"}])


def _followed(manifest: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [(name, manifest.get(name)) for name in pack_drafts.FOLLOWED]


def _in_manifest(ref: str, problems: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"file": pack_files.MANIFESTS[0], "ref_name": ref, **complete(problem)} for problem in problems]


def _require_state(pack: PackRow, expected: Collection[str] | None) -> None:
    current = views.state_of(pack)
    if expected is not None and current not in expected:
        raise PreconditionFailed(current=current)


def _changes(pack: PackRow, draft: PackDraft) -> dict[str, Any]:
    return changes(*({name: getattr(of, name) for name in draft.given} for of in (pack, draft)))


def _values(pack: PackRow) -> dict[str, Any]:
    return {name: getattr(pack, name) for name in PackRow.__dataclass_fields__}


def _entry(action: str, caller: Caller, pack: PackRow | PackDraft) -> Entry:
    return Entry(
        category=Category.AUDIT,
        action=action,
        result=Result.SUCCESS,
        actor=caller.actor,
        community_id=pack.community_id,
        resource=pack.ref,
        request_id=caller.request_id,
        as_admin=isinstance(pack, PackRow) and caller.actor.overrides(pack.owner_id),
    )
