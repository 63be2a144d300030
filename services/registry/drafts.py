"""From a document to a workflow about to be registered: every form a client or a pack file may use. Pure.

Three forms are understood, in JSON and in YAML alike:

- *wrapped*: the fields of a workflow with the definition inside (`{ref, label, …, definition: {…}}`);
- *flat*: a definition with the fields of the workflow beside its `tasks` or `nodes`;
- a *package*: `kind: WorkflowPackage`, whose metadata fill the fields.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from services.engine.problems import nearest
from services.registry import refs
from services.registry.findings import Findings
from services.registry.schemas import check_schema

Document = Mapping[str, Any]

ECHOED = frozenset(
    [
        "id",
        "package_id",
        "pack",
        "revision",
        "owner_id",
        "registered_at",
        "created",
        "updated",
        "latest_run_id",
        "latest_run_status",
        "latest_run_at",
        "total_runs",
        "modified",
        "version_id",
        "source",
        "etag",
    ]
)
"""Fields an answer has and a request may send back without effect."""
_ALIASES = {"parameters": "param_schema", "output_schema": "out_schema"}
_PACKAGE = "WorkflowPackage"


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """The fields a document gave; `given` says which. Those not given have neutral values."""

    ref: str = ""
    pack_ref: str = ""
    name: str | None = None
    author: str | None = None
    label: str = ""
    description: str | None = None
    version: str = ""
    param_schema: Any = None
    out_schema: Any = None
    definition: Document = field(default_factory=dict)
    tags: list[str] = field(default_factory=list)
    enabled: bool = True
    community_id: int | None = None
    source_text: str | None = None
    given: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class _Rule:
    """What a field must be: a type in words, its test, and whether null is fine."""

    words: str
    test: Callable[[Any], bool]
    null: bool = False


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


_RULES: Mapping[str, _Rule] = {
    "ref": _Rule("a text", lambda value: isinstance(value, str)),
    "pack_ref": _Rule("a text", lambda value: isinstance(value, str)),
    "name": _Rule("a text", lambda value: isinstance(value, str), null=True),
    "author": _Rule("a text", lambda value: isinstance(value, str), null=True),
    "label": _Rule("a text", lambda value: isinstance(value, str)),
    "description": _Rule("a text", lambda value: isinstance(value, str), null=True),
    "version": _Rule("a text", lambda value: isinstance(value, str)),
    "param_schema": _Rule("a JSON Schema", lambda value: isinstance(value, (dict, bool)), null=True),
    "out_schema": _Rule("a JSON Schema", lambda value: isinstance(value, (dict, bool)), null=True),
    "definition": _Rule("an object", lambda value: isinstance(value, dict)),
    "tags": _Rule("a list of texts", lambda v: isinstance(v, list) and all(isinstance(tag, str) for tag in v)),
    "enabled": _Rule("true or false", lambda value: isinstance(value, bool)),
    "community_id": _Rule("a whole number", _is_int, null=True),
}
REQUIRED = ("ref", "pack_ref", "label", "version", "definition")


def read_new(document: Any, *, source_text: str | None = None, defaults: Document | None = None) -> Draft:
    """A workflow to create; `defaults` are fields it has unless it says otherwise.

    Raises `Invalid` with every problem.
    """
    findings = Findings()
    draft = read(document, findings, source_text=source_text, defaults=defaults)
    for name in REQUIRED:
        if name not in draft.given and not any(error["loc"][:1] == [name] for error in findings.errors):
            findings.add((name,), "is required", kind="missing")
    check(draft, findings)
    findings.raise_any("The workflow")
    return named(draft)


def read_change(document: Any, *, source_text: str | None = None) -> Draft:
    """The fields of a workflow to change. Raises `Invalid` with every problem."""
    findings = Findings()
    draft = read(document, findings, source_text=source_text)
    check(draft, findings)
    findings.raise_any("The change")
    return draft


def read(
    document: Any, findings: Findings, *, source_text: str | None = None, defaults: Document | None = None
) -> Draft:
    """The fields a document gives, in any of its forms; what is wrong with them goes to `findings`."""
    if not isinstance(document, dict):
        findings.add((), "must be an object", kind="object_type")
        return Draft()
    implied = defaults or {}
    values = {**implied, **_fields(document, implied.get("pack_ref", refs.DEFAULT_PACK))}
    for name in [key for key in values if key not in _RULES]:
        del values[name]
        if name not in ECHOED:
            hint = nearest(name, _RULES)
            findings.add((name,), "unknown field", kind="unknown_field", **({"hint": hint} if hint else {}))
    for name in [key for key, value in values.items() if not _fits(_RULES[key], value)]:
        findings.add((name,), f"must be {_RULES[name].words}", kind=f"{name}_type")
        del values[name]
    return Draft(**values, source_text=source_text, given=frozenset(values))


def check(draft: Draft, findings: Findings) -> None:
    """Note everything wrong with the fields that were given, apart from the definition's own rules."""
    if "ref" in draft.given:
        refs.check_ref(draft.ref, draft.pack_ref if "pack_ref" in draft.given else None, findings)
    if "pack_ref" in draft.given:
        refs.check_pack_ref(draft.pack_ref, findings, loc="pack_ref")
    if draft.name is not None:
        refs.check_name(draft.name, findings)
    if "label" in draft.given:
        refs.check_label(draft.label, findings)
    if "version" in draft.given:
        refs.check_version(draft.version, findings)
    refs.check_tags(draft.tags, findings)
    check_schema(draft.param_schema, ("param_schema",), findings)
    check_schema(draft.out_schema, ("out_schema",), findings)


def named(draft: Draft) -> Draft:
    """The draft with its default name and every tag once."""
    name = draft.name if draft.name is not None else refs.last_part(draft.ref)
    return replace(draft, name=name, tags=list(dict.fromkeys(draft.tags)))


def text_of(value: Any) -> str | None:
    """A definition or a schema as it is stored: JSON text that keeps the order of keys."""
    return None if value is None else orjson.dumps(value).decode()


def _fits(rule: _Rule, value: Any) -> bool:
    return rule.null if value is None else rule.test(value)


# ---- forms -----------------------------------------------------------------------------------------------------------


def is_package(document: Any) -> bool:
    """Whether a document is a workflow package."""
    return isinstance(document, dict) and document.get("kind") == _PACKAGE


def is_orquesta(document: Any) -> bool:
    """Whether a definition is Orquesta's: `version: 1.0` beside a map of tasks."""
    if not isinstance(document, dict):
        return False
    return str(document.get("version")) == "1.0" and isinstance(document.get("tasks"), dict)


def is_definition(document: Any) -> bool:
    """Whether a document is a definition, perhaps with fields of a workflow beside it."""
    return isinstance(document, dict) and "definition" not in document and ("tasks" in document or "nodes" in document)


def _fields(document: Document, pack_ref: str) -> dict[str, Any]:
    if is_package(document):
        return _of_package(document, {"definition": dict(document)}, pack_ref)
    if is_definition(document):
        return _of_flat(document)
    fields = {_ALIASES.get(key, key): value for key, value in document.items()}
    if is_package(fields.get("definition")):
        return _of_package(fields["definition"], fields, pack_ref)
    return fields


def _of_package(package: Document, fields: dict[str, Any], pack_ref: str) -> dict[str, Any]:
    metadata = package.get("metadata")
    facts = metadata if isinstance(metadata, dict) else {}
    name = facts.get("name")
    found = {key: facts[key] for key in ("name", "version", "description", "author", "tags") if key in facts}
    found["label"] = facts.get("label") or facts.get("title") or name
    found["pack_ref"] = fields.get("pack_ref", pack_ref)
    found["ref"] = f"{found['pack_ref']}.{name}" if isinstance(name, str) else None
    for key in ("version", "author"):
        if isinstance(found.get(key), (int, float)):
            found[key] = str(found[key])
    return {**{key: value for key, value in found.items() if value is not None}, **fields}


_BESIDE = ("ref", "pack_ref", "label", "name", "author", "param_schema", "out_schema", "enabled", "community_id")


def _of_flat(document: Document) -> dict[str, Any]:
    definition = dict(document)
    if is_orquesta(document):
        fields = {key: definition.pop(key) for key in _BESIDE if key in definition}
        fields |= {key: document[key] for key in ("description", "tags") if key in document}
        return {**fields, "definition": definition}
    moved = [key for key in document if _ALIASES.get(key, key) in _RULES]
    fields = {_ALIASES.get(key, key): definition.pop(key) for key in moved}
    return {**fields, "definition": definition}
