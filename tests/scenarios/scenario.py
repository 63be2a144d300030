"""One scenario file: a definition, the mocked results of its actions, a script and what has to come out.

The format is described in the README of the shared conformance folder. A field that is not known is an error, so
that nothing a scenario demands is passed over in silence.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

FIELDS = {
    "name", "category", "description", "source", "modified", "requires", "definition", "context", "inputs",
    "action_results", "hold", "script", "expected", "also_accepted", "peer_quirk", "measured_on", "measured_note",
}  # fmt: skip
EXPECTED = {
    "status", "output", "tasks", "transitions", "engine_commands", "actions", "errors", "checkpoints", "refused",
    "left_open", "final_context", "inspection",
}  # fmt: skip
VERBS = {"complete", "respond", "pause", "resume", "cancel", "rerun", "hold", "release", "checkpoint"}
REQUIRES = {"task"}
Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class BadScenario(Exception):
    """The file is not a scenario that this runner understands."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the script: a verb and what it is about."""

    verb: str
    argument: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One file, checked and ready to run."""

    path: Path
    name: str
    category: str
    definition: Any
    expected: Mapping[str, Any]
    also_accepted: Sequence[Mapping[str, Any]] = ()
    inputs: Mapping[str, Any] = field(default_factory=dict)
    context: Mapping[str, Any] = field(default_factory=dict)
    action_results: Mapping[str, Any] = field(default_factory=dict)
    hold: frozenset[str] = frozenset()
    script: Sequence[Step] = ()

    @property
    def accepted(self) -> list[Mapping[str, Any]]:
        """What may come out: the expectation first, then each alternative with its fields laid over it."""
        return [self.expected, *({**self.expected, **replaced} for replaced in self.also_accepted)]

    @property
    def id(self) -> str:
        """Name of the file without its ending, unique in its folder."""
        return self.path.stem


def scenario_files(folder: Path) -> list[Path]:
    """Every scenario of a folder and the folders below it, in a stable order."""
    return sorted(path for path in folder.rglob("*.y*ml") if path.is_file())


def shared_folder() -> Path:
    """Where the shared conformance set lies: beside the project, or beside a folder above it."""
    above = Path(__file__).resolve().parents[2].parents
    candidates = [folder / "shared" / "conformance" / "orquesta" for folder in above]
    return next((folder for folder in candidates if folder.is_dir()), candidates[0])


def own_folders() -> list[Path]:
    """The project's own scenarios, a folder for each dialect."""
    here = Path(__file__).parent
    return sorted(path for path in here.iterdir() if path.is_dir() and any(path.glob("*.yaml")))


def load(path: Path) -> Scenario:
    """Read one file; raises BadScenario naming the file and what is wrong with it."""
    try:
        data = yaml.load(path.read_text(encoding="utf-8"), Loader)
    except yaml.YAMLError as error:
        raise BadScenario(f"{path.name}: not YAML: {error}") from error
    if not isinstance(data, dict) or "definition" not in data or "expected" not in data:
        raise BadScenario(f"{path.name}: a scenario has at least a definition and an expectation")
    check(path.name, data)
    return Scenario(
        path=path,
        name=str(data.get("name", path.stem)),
        category=str(data.get("category", path.stem.partition("--")[0])),
        definition=data["definition"],
        expected=data["expected"],
        also_accepted=data.get("also_accepted") or (),
        inputs=data.get("inputs") or {},
        context=data.get("context") or {},
        action_results=data.get("action_results") or {},
        hold=frozenset(data.get("hold") or ()),
        script=[Step(*next(iter(step.items()))) for step in data.get("script") or ()],
    )


def check(name: str, data: Mapping[str, Any]) -> None:
    """Refuse everything that the runner would otherwise ignore."""
    refuse_unknown(name, "field", data, FIELDS)
    refuse_unknown(name, "requirement", data.get("requires") or (), REQUIRES)
    for expected in (data["expected"], *(data.get("also_accepted") or ())):
        refuse_unknown(name, "expectation", expected, EXPECTED)
    for step in data.get("script") or ():
        if not isinstance(step, dict) or len(step) != 1:
            raise BadScenario(f"{name}: a step is a map with one entry, not {step!r}")
        refuse_unknown(name, "step", step, VERBS)


def refuse_unknown(name: str, what: str, given: Any, known: set[str]) -> None:
    unknown = [str(entry) for entry in given if entry not in known]
    if unknown:
        raise BadScenario(f"{name}: unknown {what} {', '.join(unknown)}")
