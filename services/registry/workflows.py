"""The registry of workflows: create, read, list, change, remove. What each may do is asked of the permissions."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from msgspec import structs

from models import packs, workflow_lists, workflows
from models.dal.errors import Stale
from models.packs import PackRow
from models.records import Flag
from models.workflow_lists import Filters, Viewer, Window
from models.workflows import VersionRow, WorkflowRow
from services.access.actor import SYSTEM, Actor
from services.access.audit import Category, Entry, Result
from services.actions.catalogue import Catalogue
from services.engine.export import Export, export_definition
from services.errors import Conflict, Denied, Invalid, PackNotFound, PreconditionFailed
from services.registry import checking, drafts, lookup, views
from services.registry.caller import Caller
from services.registry.checking import Checked
from services.registry.doors import Doors
from services.registry.drafts import Draft
from services.registry.findings import Findings, summary
from services.registry.ledger import Ledger
from services.registry.lookup import Found
from services.registry.store import Origin, Store, Stored

MAX_RACES = 100
COUNT_CAP = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A request body: its value, and its text when it came as YAML."""

    value: Any
    text: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A workflow after a request wrote it, with warnings about its definition."""

    workflow: WorkflowRow
    version: VersionRow
    warnings: list[dict[str, Any]]
    replayed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A page of workflows. `next_key`: where the next page begins; `capped`: there are at least `total`."""

    rows: list[WorkflowRow]
    total: int
    capped: bool
    next_key: tuple[Any, ...] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionPart:
    """Which revisions: those below `before`, else those behind the newest `skip`."""

    count: int
    before: int | None = None
    skip: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedVersions:
    """A page of revisions without their definitions. `next_key`: where the next page begins."""

    rows: list[dict[str, Any]]
    total: int
    next_key: tuple[int] | None


class Workflows:
    """What the routes of the registry do."""

    def __init__(self, ledger: Ledger, *, store: Store, doors: Doors, actions: Callable[[], Catalogue]) -> None:
        """`actions`: every action that can be performed now."""
        self._ledger = ledger
        self._db = ledger.db
        self._store = store
        self._doors = doors
        self._actions = actions

    # ---- reading -----------------------------------------------------------------------------------------------------

    async def get(self, identifier: str, caller: Caller, flag: Flag = Flag.VIEW) -> Found:
        """A workflow that the caller may see. Raises `WorkflowNotFound`, `Denied`."""
        found = await lookup.require(self._db, identifier)
        await self._doors.require(caller, found.workflow, flag, called=identifier)
        return found

    async def get_version(self, identifier: str, caller: Caller) -> tuple[WorkflowRow, VersionRow]:
        """A workflow with the version that was named, else its newest."""
        found = await self.get(identifier, caller)
        return found.workflow, await lookup.current_version(self._db, found)

    async def page(self, caller: Caller, filters: Filters, window: Window) -> Listed:
        """A page of the workflows that the caller may see."""
        viewer = viewer_of(caller.actor)
        wanted = replace(window, count=window.count + 1)
        rows = await workflow_lists.page(self._db, viewer, filters, wanted)
        total, capped = await self.count(caller, filters)
        shown = rows[: window.count]
        more = len(rows) > len(shown)
        key = tuple(getattr(shown[-1], name) for name in workflow_lists.SORTS[window.sort_by]) if more else None
        return Listed(rows=shown, total=total, capped=capped, next_key=key)

    async def count(self, caller: Caller, filters: Filters) -> tuple[int, bool]:
        """How many workflows the caller may see, up to `COUNT_CAP`, and whether there are more."""
        viewer = viewer_of(caller.actor)
        everything = viewer.user_id is None and viewer.community_id is None and filters.only_pack
        if everything and filters.pack_ref is None:
            return await packs.count_workflows(self._db), False
        if everything and filters.pack_ref is not None:
            pack = await packs.by_ref(self._db, filters.pack_ref)
            return (pack.workflow_count if pack else 0), False
        total = await workflow_lists.count(self._db, viewer, filters, cap=COUNT_CAP + 1)
        return min(total, COUNT_CAP), total > COUNT_CAP

    async def versions(self, identifier: str, caller: Caller, part: VersionPart) -> ListedVersions:
        """The revisions of a workflow, newest first. They have no gaps, so any page costs the same."""
        row = (await self.get(identifier, caller)).workflow
        before = row.revision + 1 - part.skip if part.before is None else part.before
        rows = await workflows.versions(self._db, row.id, before=before, count=part.count)
        last = rows[-1]["revision"] if rows else 1
        return ListedVersions(rows=rows, total=row.revision, next_key=(last,) if last > 1 else None)

    def exported(self, version: VersionRow, dialect: str) -> Export:
        """The definition of a version in another dialect. Raises `Invalid` when it cannot be said in it."""
        return export_definition(views.parsed(version.definition), dialect)

    # ---- writing -----------------------------------------------------------------------------------------------------

    async def create(self, document: Document, caller: Caller) -> Written:
        """Register a workflow; the caller becomes its owner.

        Raises `Invalid` with every problem, `PackNotFound`, `DuplicateRef`, `Conflict`, `Denied`.
        """
        again = await self._replay(caller)
        if again is not None:
            return again
        try:
            draft = drafts.read_new(document.value, source_text=document.text)
        except Invalid as invalid:
            raise await self._with_definition(invalid, document.value, caller) from None
        pack = await self._pack(draft.pack_ref, caller)
        checked = await self._checked(draft, caller)
        community = draft.community_id if "community_id" in draft.given else caller.actor.community_id
        draft = replace(draft, community_id=community if community is not None else pack.community_id)
        self._doors.require_community(caller, draft.community_id)
        origin = Origin(by=caller.actor.user_id, owner_id=caller.actor.user_id, once=caller.once)
        try:
            stored = await self._store.create(draft, origin, _entry("create_workflow", caller, draft))
        except Stale as somebody:
            again = await self._replay(caller)
            if again is None:
                raise PackNotFound(f"There is no pack {draft.pack_ref}", pack_ref=draft.pack_ref) from somebody
            return again
        return Written(workflow=stored.workflow, version=stored.version, warnings=checked.warnings)

    async def _replay(self, caller: Caller) -> Written | None:
        """What the same request made before; None when it is new or carried no key."""
        made = None if caller.once is None else await self._ledger.idempotency.find(caller.once)
        if made is None:
            return None
        found = await lookup.require(self._db, made, removed=True)
        version = await lookup.current_version(self._db, found)
        checked = await checking.check(views.parsed(version.definition), known=self.known_to(caller))
        warnings = [warning for warning in checked.warnings if warning.get("subject") != found.workflow.ref]
        return Written(workflow=found.workflow, version=version, warnings=warnings, replayed=True)

    async def update(
        self, identifier: str, document: Document, caller: Caller, *, expected: Collection[str] | None = None
    ) -> Written:
        """Change the given fields; `expected` are the states (`views.state_of`) the caller has read.

        Raises `Invalid`, `WorkflowNotFound`, `Denied`, `PreconditionFailed`, `Conflict`.
        """
        try:
            draft = drafts.read_change(document.value, source_text=document.text)
        except Invalid as invalid:
            raise await self._with_definition(invalid, document.value, caller) from None
        for _ in range(MAX_RACES):
            found = await self.get(identifier, caller, Flag.EDIT)
            lookup.require_current(found, identifier)
            row = found.workflow
            _require_state(row, expected)
            _refuse_moves(draft, row, document.value)
            if "community_id" in draft.given and draft.community_id != row.community_id:
                await self._doors.require(caller, row, Flag.MANAGE_PERMISSIONS, called=identifier)
                self._doors.require_community(caller, draft.community_id)
            checked = await self._checked(draft, caller)
            version = await lookup.current_version(self._db, Found(row))
            origin = Origin(by=caller.actor.user_id)
            try:
                entry = structs.replace(_entry("update_workflow", caller, row), workflow_id=row.id)
                stored = await self._store.change(Stored(row, version), draft, origin, entry)
            except Stale:
                continue
            return Written(workflow=stored.workflow, version=stored.version, warnings=checked.warnings)
        raise Conflict("The workflow is being changed by many others; try again")

    async def delete(self, identifier: str, caller: Caller, *, expected: Collection[str] | None = None) -> WorkflowRow:
        """Take a workflow out of the registry; its history stays readable.

        Raises `WorkflowNotFound`, `Denied`, `PreconditionFailed`.
        """
        for _ in range(MAX_RACES):
            found = await self.get(identifier, caller, Flag.DELETE)
            lookup.require_current(found, identifier)
            row = found.workflow
            _require_state(row, expected)
            try:
                await self._store.remove(
                    row, structs.replace(_entry("delete_workflow", caller, row), workflow_id=row.id)
                )
            except Stale:
                continue
            return row
        raise Conflict("The workflow is being changed by many others; try again")

    # ---- checking ----------------------------------------------------------------------------------------------------

    async def validate(self, document: Any, caller: Caller) -> Checked:
        """Check a definition, or a whole workflow, without storing it."""
        findings = Findings()
        bare = drafts.is_definition(document) or drafts.is_package(document)
        draft = Draft(definition=document) if bare else drafts.read(document, findings)
        loc = () if bare else ("definition",)
        drafts.check(draft, findings)
        checked = await checking.check(draft.definition, known=self.known_to(caller), loc=loc)
        return replace(checked, errors=[*findings.errors, *checked.errors])

    async def validate_for(self, identifier: str, document: Document | None, caller: Caller) -> Checked:
        """Check a change of a workflow, or what it has now, without storing anything."""
        row, version = await self.get_version(identifier, caller)
        if document is not None:
            return await self._validate_change(row, document.value, caller)
        checked = await checking.check(views.parsed(version.definition), known=self.known_to(caller))
        own = [warning for warning in checked.warnings if warning.get("subject") != row.ref]
        return replace(checked, warnings=own)

    async def _validate_change(self, row: WorkflowRow, value: Any, caller: Caller) -> Checked:
        """What `update` would say of a body, or of a definition alone."""
        if drafts.is_definition(value) or drafts.is_package(value):
            return await self.validate(value, caller)
        findings, checked = Findings(), Checked(graph=None, errors=[], warnings=[])
        draft = drafts.read(value, findings)
        drafts.check(draft, findings)
        _note_moves(draft, row, value, findings)
        if "definition" in draft.given:
            checked = await checking.check(draft.definition, known=self.known_to(caller), loc=("definition",))
        own = [warning for warning in checked.warnings if warning.get("subject") != row.ref]
        return replace(checked, errors=[*findings.errors, *checked.errors], warnings=own)

    async def known(self, names: Collection[str]) -> checking.Schemas:
        """Those of `names` that are an action or a workflow, with the schema of an action's parameters."""
        return await self.known_to(Caller(actor=SYSTEM))(names)

    def known_to(self, caller: Caller) -> checking.Known:
        """The same for somebody who knows only of what they may see."""

        async def known(names: Collection[str]) -> checking.Schemas:
            here, hidden = self._actions(), await self._doors.hidden_packs(caller)
            found: dict[str, Mapping[str, Any] | None] = {
                name: spec.parameters
                for name in names
                if (spec := here.get(name)) is not None and spec.pack_ref not in hidden
            }
            others = [name for name in names if name not in found]
            return {**found, **dict.fromkeys(await self._doors.visible(caller, others))}

        return known

    async def _checked(self, draft: Draft, caller: Caller) -> Checked:
        if "definition" not in draft.given:
            return Checked(graph=None, errors=[], warnings=[])
        checked = await checking.check(draft.definition, known=self.known_to(caller))
        if checked.errors:
            raise Invalid(f"The definition is not valid: {summary(checked.errors)}", errors=checked.errors)
        own = [warning for warning in checked.warnings if warning.get("subject") != draft.ref]
        return replace(checked, warnings=own)

    async def _with_definition(self, invalid: Invalid, document: Any, caller: Caller) -> Invalid:
        """What is wrong with the fields, and with the definition beside them: all problems at once."""
        definition = document.get("definition") if isinstance(document, dict) else None
        found: list[dict[str, Any]] = list(invalid.details.get("errors") or ())
        if not isinstance(definition, dict) or any(error["loc"][:1] == ["definition"] for error in found):
            return invalid
        checked = await checking.check(definition, known=self.known_to(caller))
        if not checked.errors:
            return invalid
        errors = [*found, *checked.errors]
        return Invalid(f"The workflow is not valid: {summary(errors)}", errors=errors)

    async def _pack(self, pack_ref: str, caller: Caller) -> PackRow:
        pack = await self._doors.require_pack(pack_ref, caller)
        if not await self._doors.may_fill(caller, pack):
            raise Denied(f"Only the owner of the pack {pack_ref} and those it lets edit may add workflows to it")
        return pack


def viewer_of(actor: Actor) -> Viewer:
    """The caller as the lists see it."""
    user_id = None if actor.is_admin else actor.user_id
    return Viewer(user_id=user_id, community_id=actor.community_id, roles=actor.roles)


def _require_state(row: WorkflowRow, expected: Collection[str] | None) -> None:
    current = views.state_of(row)
    if expected is not None and current not in expected:
        raise PreconditionFailed(current=current)


def _refuse_moves(draft: Draft, row: WorkflowRow, value: Any) -> None:
    findings = Findings()
    _note_moves(draft, row, value, findings)
    findings.raise_any("The change")


def _note_moves(draft: Draft, row: WorkflowRow, value: Any, findings: Findings) -> None:
    """A name, a pack, an id or an owner that is sent back as it is has no effect; another one cannot be meant."""
    given: dict[str, Any] = {name: getattr(draft, name) for name in ("ref", "pack_ref") if name in draft.given}
    if isinstance(value, dict) and not drafts.is_definition(value) and not drafts.is_package(value):
        given |= {name: value[name] for name in ("id", "owner_id") if name in value}
    for name, wanted in given.items():
        if str(wanted) != str(getattr(row, name)):
            findings.add((name,), f"cannot be changed (is {getattr(row, name)})", kind="immutable")


def _entry(action: str, caller: Caller, about: Draft | WorkflowRow) -> Entry:
    return Entry(
        category=Category.AUDIT,
        action=action,
        result=Result.SUCCESS,
        actor=caller.actor,
        community_id=about.community_id,
        resource=about.ref,
        request_id=caller.request_id,
        details={"version": about.version} if about.version else {},
        as_admin=isinstance(about, WorkflowRow) and caller.actor.overrides(about.owner_id),
    )
