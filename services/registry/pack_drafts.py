"""From a request or a manifest to a pack about to be registered. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from models.packs import PackRow
from services.engine.problems import nearest
from services.registry import refs
from services.registry.findings import Findings, summary
from services.registry.schemas import as_schema, check_schema, compile_schema

FOLLOWED = ("label", "description", "version", "config_schema", "tags")
"""What a pack takes from its manifest again when that changes; settings are those of the people who run it."""
STORED = ("ref", "label", "description", "version", "config_schema", "config", "tags")
ECHOED = frozenset(
    [
        "id",
        "source",
        "modified",
        "owner_id",
        "workflow_count",
        "created",
        "updated",
        "change_no",
        "workflows",
        "actions",
        "sync",
        "source_hash",
    ]
)
_TESTS: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    "ref": ("a text", lambda value: isinstance(value, str)),
    "label": ("a text", lambda value: isinstance(value, str)),
    "description": ("a text or null", lambda value: value is None or isinstance(value, str)),
    "version": ("a text", lambda value: isinstance(value, str)),
    "config_schema": ("a JSON Schema or null", lambda value: value is None or isinstance(value, (dict, bool))),
    "config": ("an object or null", lambda value: value is None or isinstance(value, dict)),
    "tags": ("a list of texts", lambda v: isinstance(v, list) and all(isinstance(tag, str) for tag in v)),
    "community_id": ("a whole number or null", lambda v: v is None or (type(v) is int and v >= 0)),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PackDraft:
    """The fields a document gave; `given` says which."""

    ref: str = ""
    label: str = ""
    description: str | None = None
    version: str = ""
    config_schema: Any = None
    config: dict[str, Any] | None = None
    tags: list[str] = field(default_factory=list)
    community_id: int | None = None
    given: frozenset[str] = frozenset()


def read_new(document: Any, *, manifest: Mapping[str, Any] | None = None, unset: bool = False) -> PackDraft:
    """A pack to create; the manifest of its folder fills in what the request leaves out.

    `unset`: settings that are needed may be missing. Raises `Invalid` with every problem.
    """
    findings = Findings()
    draft = _read(document, findings, manifest or {})
    for name in ("ref", "label", "version"):
        if name not in draft.given and not any(error["loc"][:1] == [name] for error in findings.errors):
            findings.add((name,), "is required", kind="missing")
    _check(draft, findings)
    _check_settings(draft.config_schema, draft.config, findings, unset=unset)
    findings.raise_any("The pack")
    return draft


def read_change(document: Any, pack: PackRow) -> PackDraft:
    """The fields of a pack to change; the settings must fit the schema as both will be afterwards.

    Raises `Invalid` with every problem.
    """
    findings = Findings()
    draft = _read(document, findings, {})
    _check(draft, findings)
    for name in ("ref", "id", "owner_id"):
        if isinstance(document, dict) and name in document and str(document[name]) != str(getattr(pack, name)):
            findings.add((name,), f"cannot be changed (is {getattr(pack, name)})", kind="immutable")
    if draft.given & {"config", "config_schema"}:
        schema = draft.config_schema if "config_schema" in draft.given else pack.config_schema
        config = draft.config if "config" in draft.given else pack.config
        _check_settings(schema, config, findings)
    findings.raise_any("The change")
    return draft


def _read(document: Any, findings: Findings, manifest: Mapping[str, Any]) -> PackDraft:
    if not isinstance(document, dict):
        findings.add((), "must be an object", kind="object_type")
        return PackDraft()
    values = {**manifest, **document}
    for name in list(values):
        if name not in _TESTS:
            del values[name]
            if name not in ECHOED:
                hint = nearest(name, _TESTS)
                findings.add((name,), "unknown field", kind="unknown_field", **({"hint": hint} if hint else {}))
        elif not _TESTS[name][1](values[name]):
            del values[name]
            findings.add((name,), f"must be {_TESTS[name][0]}", kind=f"{name}_type")
    return PackDraft(**values, given=frozenset(values))


def _check(draft: PackDraft, findings: Findings) -> None:
    if "ref" in draft.given:
        refs.check_pack_ref(draft.ref, findings)
    if "label" in draft.given:
        refs.check_label(draft.label, findings)
    if "version" in draft.given:
        refs.check_version(draft.version, findings)
    refs.check_tags(draft.tags, findings)
    check_schema(draft.config_schema, ("config_schema",), findings)


def with_defaults(schema: Any, config: Any) -> Any:
    """The settings with what they leave out and the schema has a default for."""
    checker = None if not schema or any_problem(schema) else compile_schema(as_schema(schema))
    return config if checker is None or config is None else checker.filled(config)


def _check_settings(schema: Any, config: Any, findings: Findings, *, unset: bool = False) -> None:
    if not unset and not any(error["loc"] == ["config"] for error in findings.errors):
        findings.extend(_missing_config(schema, config))
    _check_config(schema, with_defaults(schema, config), findings)


def unfit_config(schema: Any, config: Any) -> list[dict[str, Any]]:
    """What to say of a pack whose settings do not fit its schema, or that has none where it needs some."""
    findings = Findings()
    _check_settings(schema, config, findings)
    return findings.errors


def _missing_config(schema: Any, config: Any) -> list[dict[str, Any]]:
    """What to say of a pack without settings whose schema asks for some; empty when its defaults are enough."""
    findings = Findings()
    if config is None:
        needed = Findings()
        _check_config(schema, with_defaults(schema, {}), needed)
        if needed.errors:
            message = f"is missing, and the config_schema asks for it: {summary(needed.errors)}"
            findings.add(("config",), message, kind="missing")
    return findings.errors


def _check_config(schema: Any, config: Any, findings: Findings) -> None:
    if any_problem(schema) or config is None:
        return
    checker = compile_schema(as_schema(schema))
    if checker is not None:
        findings.extend(checker.violations(config, ("config",)))


def any_problem(schema: Any) -> bool:
    """Whether a schema cannot be used at all."""
    found = Findings()
    check_schema(schema, (), found)
    return bool(found.errors)
