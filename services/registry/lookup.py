"""Finding the workflow that an identifier means: an id, a ref, `ref@version`, a package id or a version id."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from models import workflows
from models.workflows import VersionRow, WorkflowRow
from services.errors import BadRequest, WorkflowNotFound
from services.registry import refs


@dataclass(frozen=True, slots=True)
class Found:
    """A workflow, and the version that was meant when the identifier named one."""

    workflow: WorkflowRow
    pinned: VersionRow | None = None

    def package_named(self, identifier: str) -> str | None:
        """The package id of the version that the identifier named; None when it named the workflow as a whole."""
        if self.pinned is not None:
            return self.pinned.package_id
        return identifier if identifier == self.workflow.package_id != self.workflow.ref else None


async def find(db: Any, identifier: str, *, removed: bool = False) -> Found | None:
    """What `identifier` means, or None. `removed` also finds workflows that were deleted, by id or package id."""
    wanted = refs.parse(identifier)
    found = await _by_id(db, wanted) if wanted.id is not None else await _by_name(db, wanted)
    if found is None and removed and wanted.id is None and wanted.version is None:
        found = await _of_version(db, await workflows.packaged(db, wanted.name, removed=True))
    if found is None or (found.workflow.deleted_at is not None and not removed):
        return None
    return found


async def require(db: Any, identifier: str, *, removed: bool = False) -> Found:
    """What `identifier` means. Raises `WorkflowNotFound`."""
    found = await find(db, identifier, removed=removed)
    if found is None:
        raise WorkflowNotFound(workflow=identifier)
    return found


def require_current(found: Found, identifier: str) -> None:
    """Refuse to change or remove a workflow by the name of one of its older versions: versions never change.

    Raises `BadRequest`.
    """
    row, pinned = found.workflow, found.pinned
    if pinned is not None and pinned.id != row.version_id:
        raise BadRequest(
            f"{identifier} is version {pinned.version} of {row.ref}, and versions never change; the workflow itself,"
            f" now at {row.version}, is {row.ref}"
        )


async def current_version(db: Any, found: Found) -> VersionRow:
    """The version that was meant, else the newest. Raises `WorkflowNotFound` when it vanished meanwhile."""
    version = found.pinned or await workflows.version(db, found.workflow.version_id)
    if version is None:
        raise WorkflowNotFound(workflow=found.workflow.ref)
    return version


async def _by_id(db: Any, wanted: refs.Identifier) -> Found | None:
    assert wanted.id is not None
    workflow = await workflows.by_id(db, wanted.id)
    if workflow is not None:
        return Found(workflow)
    return await _of_version(db, await workflows.version(db, wanted.id))


async def _by_name(db: Any, wanted: refs.Identifier) -> Found | None:
    workflow = await workflows.by_name(db, wanted.name)
    if workflow is None:
        return None if wanted.version is not None else await _of_version(db, await workflows.packaged(db, wanted.name))
    if wanted.version is not None:
        pinned = await workflows.labelled(db, workflow.id, wanted.version)
        return None if pinned is None else Found(workflow, pinned)
    return Found(workflow)


async def _of_version(db: Any, version: VersionRow | None) -> Found | None:
    workflow = None if version is None else await workflows.by_id(db, version.workflow_id)
    return None if workflow is None else Found(workflow, version)
