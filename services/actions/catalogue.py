"""What a task may call: one declaration per action, found by its ref. Pure apart from holding the table."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeVar

from models.records import Effect

E = TypeVar("E", bound=StrEnum)

REF = re.compile(r"^[A-Za-z_][A-Za-z0-9_-]*(\.[A-Za-z_][A-Za-z0-9_-]*)+$")
ANY_OBJECT: Mapping[str, Any] = {"type": "object"}


class Runner(StrEnum):
    """What carries an action out."""

    BUILTIN = "builtin"
    HTTP = "http"
    PYTHON = "python"
    SHELL = "shell"
    WORKFLOW = "workflow"


CODE = frozenset([Runner.PYTHON, Runner.SHELL])
"""Runners that run files of a pack."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionSpec:
    """One action as its pack declares it. `timeout_s` is the default limit of one attempt, in seconds."""

    ref: str
    effect: Effect
    runner: Runner
    entry: Any = None  # builtin: a name; http: the request template; python, shell: a path below the pack
    description: str = ""
    parameters: Mapping[str, Any] = field(default_factory=lambda: ANY_OBJECT)
    output: Mapping[str, Any] | None = None
    response: Mapping[str, Any] | None = None  # http: how the answer becomes the output
    timeout_s: float | None = None
    example_output: Any = None
    has_example: bool = False
    secrets: tuple[str, ...] = ()
    idempotency_per_attempt: bool = False

    @property
    def pack_ref(self) -> str:
        """The pack the action came with: everything before the first dot."""
        return self.ref.split(".", 1)[0]

    def document(self) -> dict[str, Any]:
        """What the API shows of an action."""
        return {
            "ref": self.ref,
            "pack_ref": self.pack_ref,
            "description": self.description,
            "parameters": dict(self.parameters),
            "output": dict(self.output) if self.output is not None else None,
            "effect": self.effect.value,
            "runner": self.runner.value,
            "timeout_seconds": self.timeout_s,
            "example_output": self.example_output,
            "secrets": list(self.secrets),
        }


class Catalogue:
    """Every action known to this process. Packs replace their own entries as a whole."""

    def __init__(self, specs: Iterable[ActionSpec] = ()) -> None:
        self._by_ref: dict[str, ActionSpec] = {}
        self.revision = 0
        self.add(specs)

    def add(self, specs: Iterable[ActionSpec]) -> None:
        """Make actions known; one with a known ref replaces it."""
        self._by_ref.update({spec.ref: spec for spec in specs})
        self.revision += 1

    def replace_pack(self, pack_ref: str, specs: Iterable[ActionSpec]) -> None:
        """Let a pack's actions be exactly these."""
        kept = {ref: spec for ref, spec in self._by_ref.items() if spec.pack_ref != pack_ref}
        self._by_ref = kept | {spec.ref: spec for spec in specs}
        self.revision += 1

    def get(self, ref: str) -> ActionSpec | None:
        """The action of that ref, or None."""
        return self._by_ref.get(ref)

    def __contains__(self, ref: object) -> bool:
        return ref in self._by_ref

    def all(self) -> list[ActionSpec]:
        """Every action, by ref."""
        return [self._by_ref[ref] for ref in sorted(self._by_ref)]


class BadAction(Exception):
    """An action declaration that cannot be used; `problems` says everything that is wrong with it."""

    def __init__(self, ref: str, problems: list[str]) -> None:
        super().__init__(f"{ref}: {'; '.join(problems)}")
        self.ref = ref
        self.problems = problems


KEYS = frozenset(
    ActionSpec.__dataclass_fields__.keys() - {"timeout_s", "has_example", "idempotency_per_attempt"}
    | {"name", "label", "timeout", "idempotency", "request", "examples"}
)


def parse(document: Mapping[str, Any], *, pack_ref: str) -> ActionSpec:
    """Read one action file of a pack; raises BadAction with all its problems."""
    ref = str(document.get("ref") or f"{pack_ref}.{document.get('name', '')}")
    problems = [f"unknown key '{key}'" for key in document if key not in KEYS]
    if not REF.match(ref) or not ref.startswith(f"{pack_ref}."):
        problems.append(f"ref must be '{pack_ref}.<name>'")
    runner = _member(Runner, document.get("runner"), problems, key="runner")
    effect = _member(Effect, document.get("effect", Effect.WRITE), problems, key="effect")
    entry = document.get("request") if runner is Runner.HTTP else document.get("entry")
    if runner is Runner.HTTP and not (isinstance(entry, Mapping) and entry.get("url")):
        problems.append("an http action needs 'request' with a 'url'")
    if runner in CODE and not _is_inside(entry):
        problems.append("'entry' must name a file below the pack")
    timeout = _seconds(document.get("timeout"), problems)
    problems += _schema_problems(document)
    if problems or runner is None or effect is None:
        raise BadAction(ref, problems)
    return ActionSpec(
        ref=ref,
        effect=effect,
        runner=runner,
        entry=entry,
        description=str(document.get("description", "")),
        parameters=document.get("parameters") or ANY_OBJECT,
        output=document.get("output"),
        response=document.get("response"),
        timeout_s=timeout,
        example_output=document.get("example_output"),
        has_example="example_output" in document,
        secrets=tuple(document.get("secrets") or ()),
        idempotency_per_attempt=document.get("idempotency") == "per_attempt",
    )


def _member(kind: type[E], value: Any, problems: list[str], *, key: str) -> E | None:
    try:
        return kind(value)
    except ValueError:
        problems.append(f"'{key}' must be one of {', '.join(kind)}")
        return None


def _is_inside(entry: Any) -> bool:
    return isinstance(entry, str) and bool(entry) and not entry.startswith("/") and ".." not in entry.split("/")


DURATION = re.compile(r"^(\d+(?:\.\d+)?)(ms|s|m|h)?$")
UNIT_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, None: 1.0}


def _seconds(value: Any, problems: list[str]) -> float | None:
    if value is None:
        return None
    match = DURATION.match(str(value))
    if match is None or isinstance(value, bool):
        problems.append("'timeout' must be seconds or a duration such as 30s, 5m, 2h")
        return None
    return float(match[1]) * UNIT_S[match[2]]


def _schema_problems(document: Mapping[str, Any]) -> list[str]:
    from jsonschema import Draft202012Validator, SchemaError

    problems = []
    for key in ("parameters", "output"):
        schema = document.get(key)
        if schema is None:
            continue
        try:
            Draft202012Validator.check_schema(schema)
        except SchemaError as error:
            problems.append(f"'{key}' is not a JSON Schema: {error.message}")
    return problems
