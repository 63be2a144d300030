"""Writing workflows: one transaction holds the row, its new revision, its tags, the pack's count and the record.

A change is a compare-and-set on `change_no`: whoever read an older state is told (`Stale`) and nothing is written.
So revisions have no gaps, no update is lost, and no two living workflows share a ref.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any
from uuid import UUID

from msgspec import structs

from models import packs, workflows
from models.dal.errors import Duplicate, Stale
from models.records import uuid7
from models.workflows import VersionRow, WorkflowRow
from services.access.audit import Entry
from services.errors import Conflict, DuplicateRef
from services.idempotency import Wanted
from services.registry import refs
from services.registry.drafts import Draft, text_of
from services.registry.ledger import Ledger, changes

_RACES = 20
"""How often a package id may be taken by somebody else between looking and writing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a workflow comes from: a request, or a file of its pack (`path` below the pack, hash of its text)."""

    by: int | None
    owner_id: int | None = None
    path: str | None = None
    hash: str | None = None
    once: Wanted | None = None

    @property
    def source(self) -> str:
        """`file` or `api`, as stored."""
        return "api" if self.path is None else "file"


@dataclass(frozen=True, slots=True)
class Stored:
    """A workflow as it is now, and whether this write changed anything."""

    workflow: WorkflowRow
    version: VersionRow
    changed: bool = True

    @property
    def fields(self) -> dict[str, Any]:
        """The fields that a request or a file can change."""
        own = {name: getattr(self.workflow, name) for name in _OF_WORKFLOW}
        return own | {name: getattr(self.version, name) for name in _OF_VERSION}


class Store:
    """Creates, changes and removes workflows."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._db = ledger.db
        self._now = ledger.now
        self._listener: Callable[[UUID], None] = _nobody

    def on_change(self, listener: Callable[[UUID], None]) -> None:
        """Call `listener` with the id of every workflow this process changed or removed, once that is durable."""
        self._listener = listener

    def changed(self, workflow_id: UUID) -> None:
        """A workflow was changed by other statements than those of this class."""
        self._listener(workflow_id)

    async def create(self, draft: Draft, origin: Origin, entry: Entry) -> Stored:
        """Register a workflow.

        Raises `DuplicateRef`, `Conflict` (package id), `Stale` (the pack vanished, or the same request came twice).
        """
        if await workflows.packaged(self._db, draft.ref) is not None:  # an identifier must not come to mean another
            raise DuplicateRef(f"{draft.ref} is the package id of another workflow: give another ref", ref=draft.ref)
        wanted = _package_ids(draft.ref, draft.name, draft.version)
        for _ in range(_RACES):
            free = [package_id for package_id in wanted if not await self._is_anothers(package_id, draft.ref)]
            if not free:
                break
            stored = self._new(draft, origin, free[0])
            try:
                await self._insert(stored, structs.replace(entry, workflow_id=stored.workflow.id), origin)
            except Duplicate as clash:
                # both constraints may be broken, and the databases differ in which one they name
                if clash.constraint != "workflow_package" or await workflows.known_refs(self._db, [draft.ref]):
                    raise DuplicateRef(f"A workflow with ref {draft.ref} exists", ref=draft.ref) from clash
            else:
                return stored
        raise _package_taken(wanted[-1])

    async def change(self, before: Stored, draft: Draft, origin: Origin, entry: Entry) -> Stored:
        """Change the given fields. Raises `Stale` when somebody was faster, `Conflict` (package id)."""
        after = self._changed(before, draft, origin)
        if not after.changed:
            return after
        wanted = after.workflow
        details = {**entry.details, "version": wanted.version, **changes(before.fields, after.fields)}
        entry = structs.replace(entry, details=details)
        for package_id in self._package_ids_of(before.workflow, wanted):
            moves = package_id != before.workflow.package_id
            holder = await self._holder(package_id) if moves else None
            if holder is not None and holder.id != wanted.id:
                continue
            tried = _with_package(after, package_id)
            try:
                await self._update(before, tried, entry)
            except Duplicate as clash:
                if clash.constraint == "workflow_version_revision":
                    raise Stale(expected=1, found=0) from clash
                if clash.constraint != "workflow_package":
                    raise
            else:
                return tried
        raise _package_taken(package_id)

    async def _is_anothers(self, package_id: str, ref: str) -> bool:
        holder = await self._holder(package_id)
        return holder is not None and holder.ref != ref

    async def _holder(self, identifier: str) -> WorkflowRow | None:
        """The workflow that an identifier means already: by its ref, its package id or that of an older version."""
        row = await workflows.by_name(self._db, identifier)
        version = None if row is not None else await workflows.packaged(self._db, identifier)
        return row if version is None else await workflows.by_id(self._db, version.workflow_id)

    async def remove(self, row: WorkflowRow, entry: Entry) -> None:
        """Take a workflow out of the registry. Raises `Stale` when somebody was faster."""
        at = self._now()
        await self._ledger.write(
            entry,
            packs.count_by(self._db, row.pack_ref, -1),
            workflows.change(self._db, row.id, seen=row.change_no, values={"deleted_at": at, "updated": at}),
            workflows.drop_tags(self._db, row.id),
        )
        self._listener(row.id)

    # ---- building rows -----------------------------------------------------------------------------------------------

    def _new(self, draft: Draft, origin: Origin, package_id: str) -> Stored:
        at, workflow_id, version_id = self._now(), uuid7(), uuid7()
        name = draft.name or refs.last_part(draft.ref)
        workflow = WorkflowRow(
            **{key: getattr(draft, key) for key in ("ref", "pack_ref", "author", "label", "description", "version")},
            **{key: getattr(draft, key) for key in ("tags", "enabled", "community_id")},
            id=workflow_id,
            package_id=package_id,
            name=name,
            revision=1,
            version_id=version_id,
            change_no=1,
            owner_id=origin.owner_id,
            source=origin.source,
            source_path=origin.path,
            source_hash=origin.hash,
            modified=False,
            registered_at=at,
            created=at,
            updated=at,
            deleted_at=None,
            latest_run_id=None,
            latest_run_status=None,
            latest_run_at=None,
            total_runs=0,
        )
        return Stored(workflow, self._revision(workflow, draft, origin.by))

    def _revision(self, workflow: WorkflowRow, draft: Draft, by: int | None) -> VersionRow:
        return VersionRow(
            id=workflow.version_id,
            workflow_id=workflow.id,
            revision=workflow.revision,
            version=workflow.version,
            package_id=workflow.package_id,
            definition=text_of(draft.definition) or "{}",
            source_text=draft.source_text,
            param_schema=text_of(draft.param_schema),
            out_schema=text_of(draft.out_schema),
            created=workflow.updated,
            created_by=by,
        )

    def _changed(self, before: Stored, draft: Draft, origin: Origin) -> Stored:
        row = replace(before.workflow, **{key: getattr(draft, key) for key in draft.given & _OF_WORKFLOW})
        row = replace(row, name=row.name or refs.last_part(row.ref))
        if origin.path is not None:
            row = replace(row, source="file", source_path=origin.path, source_hash=origin.hash, modified=False)
        elif row.source == "file":
            row = replace(row, modified=True)
        old = before.version
        texts: dict[str, Any] = {key: text_of(getattr(draft, key)) for key in draft.given & _OF_VERSION}
        again = any(getattr(old, key) != text for key, text in texts.items())
        again = again or (row.version, row.name) != (before.workflow.version, before.workflow.name)
        if "definition" in texts and (draft.source_text is not None or texts["definition"] != old.definition):
            texts["source_text"] = draft.source_text
        reworded = texts.get("source_text", old.source_text) != old.source_text
        if not (again or reworded) and replace(row, modified=before.workflow.modified) == before.workflow:
            return Stored(before.workflow, old, changed=False)
        row = replace(row, updated=self._now(), change_no=row.change_no + 1)
        if not again:  # another wording of the same is no other version
            return Stored(row, replace(old, source_text=texts.get("source_text", old.source_text)))
        row = replace(row, revision=row.revision + 1, version_id=uuid7())
        known = replace(old, **texts)
        version = replace(known, id=row.version_id, revision=row.revision, version=row.version)
        return Stored(row, replace(version, created=row.updated, created_by=origin.by))

    def _package_ids_of(self, before: WorkflowRow, after: WorkflowRow) -> list[str]:
        if (before.name, before.version) == (after.name, after.version):
            return [before.package_id]
        explicit = after.name if after.name != refs.last_part(after.ref) else None
        return _package_ids(after.ref, explicit, after.version)

    # ---- transactions ------------------------------------------------------------------------------------------------

    async def _insert(self, stored: Stored, entry: Entry, origin: Origin) -> None:
        row = stored.workflow
        once = [] if origin.once is None else [self._ledger.idempotency.call(origin.once, row.id)]
        await self._ledger.write(
            entry,
            *once,
            packs.count_by(self._db, row.pack_ref, +1),
            workflows.insert(self._db, {**_values(row), "search": _search_text(row)}),
            workflows.insert_version(self._db, _values(stored.version)),
            *workflows.add_tags(self._db, row.id, row.tags),
        )

    async def _update(self, before: Stored, after: Stored, entry: Entry) -> None:
        row = after.workflow
        values = {key: value for key, value in _values(row).items() if key in _CHANGEABLE}
        calls = [
            workflows.change(
                self._db, row.id, seen=before.workflow.change_no, values={**values, "search": _search_text(row)}
            )
        ]
        if after.version.id != before.version.id:
            calls.append(workflows.insert_version(self._db, _values(after.version)))
        elif after.version.source_text != before.version.source_text:
            calls.append(workflows.reword_version(self._db, after.version.id, after.version.source_text))
        if row.tags != before.workflow.tags:
            calls += [workflows.drop_tags(self._db, row.id), *workflows.add_tags(self._db, row.id, row.tags)]
        await self._ledger.write(entry, *calls)
        self._listener(row.id)


_OF_VERSION = frozenset({"definition", "param_schema", "out_schema"})
_OF_WORKFLOW = frozenset(
    {"name", "author", "label", "description", "version", "tags", "enabled", "community_id"},
)
_CHANGEABLE = _OF_WORKFLOW | {
    *("package_id", "revision", "version_id", "source", "source_path", "source_hash", "modified", "updated")
}


def _package_ids(ref: str, name: str | None, version: str) -> list[str]:
    """The package ids to try: a default name that is taken gives way to the whole ref."""
    plain = refs.package_id(name or refs.last_part(ref), version)
    return [plain] if name and name != refs.last_part(ref) else [plain, refs.package_id(ref, version)]


def _with_package(stored: Stored, package_id: str) -> Stored:
    version = stored.version
    if version.id == stored.workflow.version_id:
        version = replace(version, package_id=package_id)
    return Stored(replace(stored.workflow, package_id=package_id), version)


def _nobody(_: UUID) -> None:
    """Nobody listens."""


def _package_taken(package_id: str) -> Conflict:
    return Conflict(f"The package id {package_id} is taken: give another name or version", package_id=package_id)


def _search_text(row: WorkflowRow) -> str:
    return "\n".join(part for part in (row.ref, row.label, row.description) if part).casefold()


def _values(row: Any) -> dict[str, Any]:
    return {field.name: getattr(row, field.name) for field in fields(row)}
