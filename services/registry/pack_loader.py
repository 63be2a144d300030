"""From the files of a pack to what they declare. One bad file is reported and does not stop the others. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from services.actions import catalogue
from services.actions.catalogue import CODE, ActionSpec, BadAction
from services.engine.problems import nearest
from services.errors import Invalid
from services.formats import strict_yaml
from services.registry import drafts
from services.registry.drafts import Draft
from services.registry.findings import complete
from services.registry.pack_files import PackFile, PackFolder

MANIFEST_FIELDS = ("ref", "label", "description", "version", "config_schema", "config", "tags")
_FOREIGN_FIELDS = (
    *("name", "keywords", "author", "email", "contributors", "dependencies", "stackstorm_version", "python_versions"),
)
"""What a StackStorm pack says besides; nothing here needs it."""
_WORKFLOW_KEYS = ("workflow_file", "entry_point")
_FOREIGN_RUNNERS = ("orquesta", "workflow")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedWorkflow:
    """A workflow file that could be read. `hash` is that of everything it was made of."""

    path: str
    hash: str
    draft: Draft


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedAction:
    """An action file that could be read: its declaration, and the document as written."""

    path: str
    spec: ActionSpec
    document: Mapping[str, Any]


@dataclass(slots=True)
class LoadedPack:
    """Everything the files of a pack declare. `errors`: `{file, ref_name, loc, message, type, code, path, …}`."""

    ref: str
    manifest: dict[str, Any] = field(default_factory=dict)
    workflows: list[LoadedWorkflow] = field(default_factory=list)
    actions: list[LoadedAction] = field(default_factory=list)
    errors: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[dict[str, Any]] = field(default_factory=list)
    unreadable: set[str] = field(default_factory=set)
    """Paths of workflow files that are there but cannot be used: what they declared before stays as it is."""

    def fail(self, file: PackFile, errors: list[dict[str, Any]], ref_name: str | None = None) -> None:
        """Note what is wrong with one file."""
        name = ref_name or f"{self.ref}.{file.stem}"
        self.errors.extend({"file": file.path, "ref_name": name, **complete(error)} for error in errors)
        self.unreadable.add(file.path)


def load(folder: PackFolder) -> LoadedPack:
    """Read every file of a pack."""
    pack = LoadedPack(folder.ref)
    if folder.manifest is not None:
        _load_manifest(pack, folder.manifest)
    for file in folder.actions:
        _load_action(pack, file, folder)
    for file in folder.workflows:
        document, text = _document(pack, file)
        if document is not None:
            _add_workflow(pack, file, document, text=text)
    return pack


# ---- one file each ---------------------------------------------------------------------------------------------------


def _document(pack: LoadedPack, file: PackFile) -> tuple[dict[str, Any] | None, str]:
    """The object in a YAML file and its text; None when it cannot be read, which is noted."""
    if file.content is None:
        pack.fail(file, [{"loc": [], "message": "the file is larger than 1 MiB", "type": "too_large"}])
        return None, ""
    try:
        value, text = strict_yaml.loads(file.content)
    except Invalid as error:
        pack.fail(file, error.details.get("errors") or [{"loc": [], "message": error.message, "type": "yaml_invalid"}])
        return None, ""
    if not isinstance(value, dict):
        pack.fail(file, [{"loc": [], "message": "the file must hold an object", "type": "object_type"}])
        return None, ""
    return value, text


def _load_manifest(pack: LoadedPack, file: PackFile) -> None:
    document, _ = _document(pack, file)
    if document is None:
        return
    manifest = {key: document[key] for key in MANIFEST_FIELDS if document.get(key) is not None}
    manifest.setdefault("label", document.get("name"))
    if "version" in manifest:
        manifest["version"] = str(manifest["version"])
    if manifest.get("ref", pack.ref) != pack.ref:
        message = f"the pack in the folder {pack.ref} must have the ref {pack.ref}"
        pack.fail(file, [{"loc": ["ref"], "message": message, "type": "pack_ref_invalid"}], pack.ref)
    pack.manifest = {key: value for key, value in manifest.items() if value is not None}
    for key in sorted(document.keys() - {*MANIFEST_FIELDS, *_FOREIGN_FIELDS}):
        hint = nearest(key, MANIFEST_FIELDS)
        unknown = {
            "loc": [key],
            "message": "unknown field",
            "type": "unknown_field",
            **({"hint": hint} if hint else {}),
        }
        pack.warnings.append({"file": file.path, "ref_name": pack.ref, **complete(unknown)})


def _load_action(pack: LoadedPack, file: PackFile, folder: PackFolder) -> None:
    document, _ = _document(pack, file)
    if document is None:
        return
    target = next((document[key] for key in _WORKFLOW_KEYS if isinstance(document.get(key), str)), None)
    if target is not None and (document.get("runner_type", "workflow") in _FOREIGN_RUNNERS):
        definitions = {found.path: found for found in folder.definitions}
        _load_action_workflow(pack, file, document, definitions.get(f"actions/{target}"))
        return
    if "runner_type" in document:
        message = f"runner_type {document['runner_type']!r} is not supported: declare the action with `runner`"
        pack.fail(file, [{"loc": ["runner_type"], "message": message, "type": "runner_unknown"}])
        return
    named = document if "ref" in document or "name" in document else {**document, "name": file.stem}
    try:
        spec = catalogue.parse(named, pack_ref=pack.ref)
    except BadAction as error:
        problems = [{"loc": [], "message": problem, "type": "action_invalid"} for problem in error.problems]
        pack.fail(file, problems, error.ref)
        return
    if spec.runner in CODE and spec.entry not in folder.code:
        message = f"the pack has no file {spec.entry}; files to run lie below actions/"
        pack.fail(file, [{"loc": ["entry"], "message": message, "type": "file_missing"}], spec.ref)
        return
    pack.actions.append(LoadedAction(path=file.path, spec=spec, document={**named, "ref": spec.ref}))


def _load_action_workflow(pack: LoadedPack, file: PackFile, action: Mapping[str, Any], target: PackFile | None) -> None:
    """An action file whose work is a workflow in a file of its own, as earlier services lay them out."""
    if target is None:
        message = "names a workflow file that is not below actions/"
        pack.fail(file, [{"loc": ["workflow_file"], "message": message, "type": "file_missing"}])
        return
    definition, _ = _document(pack, target)
    if definition is None:
        return
    fields = {
        "ref": action.get("ref") or f"{pack.ref}.{action.get('name') or file.stem}",
        "label": action.get("label") or action.get("name"),
        "description": action.get("description"),
        "param_schema": action.get("parameters"),
        "out_schema": action.get("output") or action.get("output_schema"),
        "enabled": action.get("enabled", True),
        "tags": action.get("tags") if isinstance(action.get("tags"), list) else [],
    }
    known = {key: value for key, value in fields.items() if value is not None}
    _add_workflow(pack, file, {**known, "definition": definition}, also=target.hash)


def _add_workflow(
    pack: LoadedPack, file: PackFile, document: Mapping[str, Any], *, text: str | None = None, also: str = ""
) -> None:
    """Read one workflow; `also` is the hash of a second file it was made of."""
    implied = {
        "ref": f"{pack.ref}.{file.stem}",
        "pack_ref": pack.ref,
        "label": file.stem.replace("_", " ").replace("-", " ").strip().capitalize(),
        "version": pack.manifest.get("version", "1.0.0"),
    }
    try:
        draft = drafts.read_new(document, source_text=text, defaults=implied)
    except Invalid as error:
        ref = document.get("ref")
        pack.fail(file, error.details["errors"], ref if isinstance(ref, str) else None)
        return
    pack.workflows.append(LoadedWorkflow(path=file.path, hash=file.hash + also, draft=draft))


def refuse_twins(pack: LoadedPack, established: Mapping[str, str | None]) -> None:
    """Two files with one ref: the one it was loaded from before counts, else the first; the other is an error.

    `established`: the paths that refs were loaded from.
    """
    paths = {workflow.path for workflow in pack.workflows}
    seen = {ref: path for ref, path in established.items() if path in paths}
    kept = []
    for workflow in pack.workflows:
        first = seen.setdefault(workflow.draft.ref, workflow.path)
        if first == workflow.path:
            kept.append(workflow)
            continue
        message = f"the ref {workflow.draft.ref} is already declared by {first}"
        error = complete({"loc": ["ref"], "message": message, "type": "duplicate_ref"})
        pack.errors.append({"file": workflow.path, "ref_name": workflow.draft.ref, **error})
    pack.workflows = kept
