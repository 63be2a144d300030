"""Run scenarios in every order of completion and say where they differ from what is expected."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from services.engine.compile import compile_definition
from tests.scenarios.compare import DEMANDED, Difference, differences
from tests.scenarios.inspected import inspected
from tests.scenarios.observed import checkpoint, outcome
from tests.scenarios.orders import ORDERS, Pick
from tests.scenarios.scenario import BadScenario, Scenario, Step, load
from tests.scenarios.world import HarnessError, World


@dataclass(frozen=True, slots=True)
class Failure:
    """One thing that came out wrong."""

    order: str
    difference: Difference


@dataclass(slots=True)
class Result:
    """How one scenario came out in all orders."""

    scenario: Scenario
    failures: list[Failure] = field(default_factory=list)

    def passed(self, level: int) -> bool:
        """Whether this level came out as expected in every order."""
        return all(failure.difference.level != level for failure in self.failures)

    @property
    def conforms(self) -> bool:
        """Whether every demanded level did."""
        return all(map(self.passed, DEMANDED))


def run_file(path: Path) -> Result:
    """One file in every order; a file that is no scenario is a failure of its own."""
    try:
        return run(load(path))
    except BadScenario as bad:
        category = path.stem.partition("--")[0]
        stub = Scenario(path=path, name=path.stem, category=category, definition={}, expected={})
        return Result(stub, [Failure("none", Difference(1, "file", "a scenario", str(bad)))])


def run(scenario: Scenario) -> Result:
    """One scenario in every order."""
    result = Result(scenario)
    for name, fresh in ORDERS.items():
        result.failures += [Failure(name, difference) for difference in judge(scenario, fresh())]
        if "inspection" in scenario.expected:
            break
    return result


def judge(scenario: Scenario, pick: Pick) -> list[Difference]:
    """The differences from the expectation, or from the alternative that comes closest."""
    try:
        got = play(scenario, pick)
    except Exception as error:  # whatever breaks, the other scenarios go on
        return [Difference(1, "harness", None, f"{type(error).__name__}: {error}")]
    candidates = [differences(expected, got) for expected in scenario.accepted]
    return min(candidates, key=lambda found: sum(entry.level in DEMANDED for entry in found))


def play(scenario: Scenario, pick: Pick) -> Mapping[str, Any]:
    """What happens when the scenario is run once."""
    compiled = compile_definition(scenario.definition, context=scenario.context)
    if compiled.graph is None:
        return {"inspection": inspected(compiled.errors)}
    world = World(scenario, compiled.graph, pick)
    checkpoints: dict[str, Any] = {}
    world.settle()
    for step in scenario.script:
        take(step, world, checkpoints)
        world.settle()
    return {**outcome(world), "checkpoints": checkpoints}


def take(step: Step, world: World, checkpoints: dict[str, Any]) -> None:
    """One step of the script."""
    match step.verb:
        case "checkpoint":
            checkpoints[step.argument] = checkpoint(world)
        case "complete":
            world.complete(step.argument)
        case "respond":
            world.respond(step.argument)
        case "rerun":
            world.rerun(step.argument)
        case "hold":
            world.hold |= set(step.argument)
        case "release":
            world.hold -= set(step.argument)
        case "pause" | "resume" | "cancel":
            world.request(step.verb)
        case verb:
            raise HarnessError(f"unknown step {verb!r}")
