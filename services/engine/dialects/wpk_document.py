"""A workflow package as its author wrote it: metadata, handlers, rollback, safety; and all that is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from services.engine.durations import seconds
from services.engine.problems import Findings, join_path, nearest

TYPES = ("k8s", "shell", "api")
MODES = ("manual", "auto")
VERSION = re.compile(r"\d+\.\d+\.\d+(?:-[0-9A-Za-z.-]+)?")

_TOP = ("apiVersion", "kind", "metadata", "spec")
_METADATA = ("name", "version", "description", "author")
_SPEC = ("runtime", "safety", "handlers")
_RESERVED = frozenset({"fail", "noop", "end", "continue", "retry", "approval"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Handler:
    """One thing to do. `retries` counts repetitions, so it is one less than the package's `max_attempts`."""

    id: str
    name: str
    type: str
    config: Mapping[str, Any]
    path: str
    timeout_s: float | None = None
    retries: int = 0
    backoff_s: float | None = None


@dataclass(slots=True)
class PackageText:
    """A package that can be compiled."""

    handlers: list[Handler] = field(default_factory=list)
    rollback: list[Handler] = field(default_factory=list)
    safety: Mapping[str, Any] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    title: str = ""

    @property
    def needs_approval(self) -> bool:
        """Somebody has to agree before anything happens."""
        return bool(self.safety.get("approval_required", self.safety.get("mode") == "manual"))

    @property
    def needs_dry_run(self) -> bool:
        """Everything is tried without effect first."""
        return bool(self.safety.get("dry_run_required"))


def read_package(document: Mapping[str, Any], findings: Findings) -> PackageText:
    """Read a package; all problems go to the findings."""
    return _Reader(findings).read(document)


class _Reader:
    """Reads one package and remembers which ids are taken."""

    def __init__(self, findings: Findings) -> None:
        self.findings = findings
        self.taken: set[str] = set(_RESERVED)

    def read(self, document: Mapping[str, Any]) -> PackageText:
        self.required(document, "", [key for key in _TOP if key != "kind"])
        metadata = self.map_at(document, "metadata", "metadata")
        spec = self.map_at(document, "spec", "spec")
        self.required(metadata, "metadata", _METADATA)
        self.required(spec, "spec", _SPEC)
        version = metadata.get("version")
        if version is not None and not VERSION.fullmatch(str(version)):
            self.error("metadata.version", f"The version is like 1.2.3, not {version!r}.")
        text = PackageText(
            safety=self.safety(self.map_at(spec, "safety", "spec.safety")),
            parameters=self.parameters(spec.get("parameters", spec.get("inputs"))),
            title=f"{metadata.get('name', '')} {metadata.get('version', '')}".strip(),
        )
        text.handlers = list(self.sequence(spec.get("handlers"), "spec.handlers", ""))
        if "handlers" in spec and not text.handlers and not self.findings.errors:
            self.error("spec.handlers", "At least one handler is needed.")
        text.rollback = self.rollback(self.map_at(spec, "rollback", "spec.rollback"), text.safety)
        self.notices(spec)
        return text

    def error(self, path: str, message: str, code: str = "bad_package") -> None:
        self.findings.error(code, message, path=path)

    def required(self, value: Mapping[str, Any], path: str, keys: Any) -> None:
        for key in keys:
            if value.get(key) in (None, ""):
                self.error(join_path(path, key), f"{key} is missing.", "missing_key")

    def map_at(self, value: Mapping[str, Any], key: str, path: str) -> Mapping[str, Any]:
        found = value.get(key)
        if found is not None and not isinstance(found, Mapping):
            self.error(path, f"{key} is a map.", "wrong_type")
        return found if isinstance(found, Mapping) else {}

    def safety(self, safety: Mapping[str, Any]) -> Mapping[str, Any]:
        if safety and safety.get("mode") not in MODES:
            self.error("spec.safety.mode", "The safety mode is manual or auto.")
        return safety

    def parameters(self, value: Any) -> Mapping[str, Any]:
        """Names that `${NAME}` takes from the execution's variables, with their defaults."""
        if isinstance(value, Mapping):
            return {
                str(name): entry.get("default") if isinstance(entry, Mapping) else entry
                for name, entry in value.items()
            }
        if isinstance(value, list):
            named = [entry for entry in value if isinstance(entry, Mapping) and "name" in entry]
            return {str(entry["name"]): entry.get("default") for entry in named} | {
                entry: None for entry in value if isinstance(entry, str)
            }
        return {}

    def sequence(self, entries: Any, path: str, prefix: str) -> Iterator[Handler]:
        """Handlers in order, nested steps in their place."""
        if entries is not None and not isinstance(entries, list):
            self.error(path, "A list of handlers is needed.", "wrong_type")
            return
        for index, entry in enumerate(entries or ()):
            place = join_path(path, index)
            if not isinstance(entry, Mapping):
                self.error(place, "A handler is a map.", "wrong_type")
            elif "steps" in entry:
                self.required(entry, place, ["name"])
                name = f"{prefix}{entry.get('name', '')}-"
                yield from self.sequence(entry["steps"], join_path(place, "steps"), name)
            else:
                yield self.handler(entry, place, prefix)

    def handler(self, entry: Mapping[str, Any], path: str, prefix: str) -> Handler:
        self.required(entry, path, ["name", "type"])
        kind = str(entry.get("type"))
        if entry.get("type") and kind not in TYPES:
            hint = nearest(kind, TYPES)
            self.findings.error("bad_package", f"There is no handler type {kind!r}.", path=path, hint=hint)
        config = entry.get("config")
        if not isinstance(config, Mapping):
            self.error(join_path(path, "config"), "config is a map.", "missing_key" if config is None else "wrong_type")
        retry = self.map_at(entry, "retry", join_path(path, "retry"))
        name = f"{prefix}{entry.get('name', '')}"
        return Handler(
            id=self.id_for(name),
            name=name,
            type=kind,
            config=config if isinstance(config, Mapping) else {},
            path=path,
            timeout_s=self.duration(entry.get("timeout"), join_path(path, "timeout")),
            retries=self.retries(retry.get("max_attempts"), join_path(path, "retry.max_attempts")),
            backoff_s=self.duration(retry.get("backoff"), join_path(path, "retry.backoff")),
        )

    def id_for(self, name: str) -> str:
        """The name as a word that no other handler has."""
        word = re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_") or "handler"
        word = f"_{word}" if word[0].isdigit() else word
        made, number = word, 2
        while made in self.taken:
            made, number = f"{word}_{number}", number + 1
        self.taken.add(made)
        return made

    def duration(self, value: Any, path: str) -> float | None:
        if value in (None, ""):
            return None
        try:
            return seconds(value)
        except ValueError as error:
            self.error(path, f"{str(error).capitalize()}.")
            return None

    def retries(self, value: Any, path: str) -> int:
        if value is None:
            return 0
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            self.error(path, "max_attempts is a whole number of at least 1.")
            return 0
        return value - 1

    def rollback(self, rollback: Mapping[str, Any], safety: Mapping[str, Any]) -> list[Handler]:
        handlers = list(self.sequence(rollback.get("handlers"), "spec.rollback.handlers", ""))
        enabled = rollback.get("enabled", bool(handlers)) and safety.get("rollback_enabled", True)
        if enabled and not handlers and rollback:
            self.error("spec.rollback.handlers", "A rollback needs handlers.")
        return handlers if enabled else []

    def notices(self, spec: Mapping[str, Any]) -> None:
        """What is kept, but does nothing yet."""
        triggers = spec.get("triggers")
        for index, trigger in enumerate(triggers if isinstance(triggers, list) else ()):
            kind = trigger.get("type") if isinstance(trigger, Mapping) else trigger
            message = f"The {kind} trigger is kept, but nothing fires it yet; start the package through the API."
            self.findings.warning("TRIGGER_NOT_RUN", message, path=join_path("spec.triggers", index))
        alerts = self.map_at(spec, "monitoring", "spec.monitoring").get("alerts")
        if alerts:
            message = "Alerts are kept, but not sent; watch the workflow's insights instead."
            self.findings.warning("ALERT_NOT_SENT", message, path="spec.monitoring.alerts")
