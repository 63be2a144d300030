"""The page about the language: every example does what it says."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from services.engine.compile import compile_definition
from tests.scenarios.orders import ORDERS
from tests.scenarios.runner import play
from tests.scenarios.scenario import Scenario, Step

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "language.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"```yaml\n(.*?)```\n<!-- (run|problems): (.*?) -->", re.DOTALL)
EXAMPLES = [(text, kind, yaml.safe_load(check)) for text, kind, check in BLOCK.findall(PAGE)]
RUNS = [(text, check) for text, kind, check in EXAMPLES if kind == "run"]
PROBLEMS = [(text, check) for text, kind, check in EXAMPLES if kind == "problems"]


def scenario(text: str, check: dict[str, Any]) -> Scenario:
    return Scenario(
        path=Path("language.md"),
        name="example",
        category="docs",
        definition=yaml.safe_load(text),
        expected={},
        inputs=check.get("inputs", {}),
        action_results=check.get("action_results", {}),
        script=[Step(*next(iter(step.items()))) for step in check.get("script", ())],
    )


def test_every_example_of_the_page_is_checked():
    assert len(EXAMPLES) == PAGE.count("```yaml")


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(("text", "check"), RUNS)
def test_an_example_runs_as_the_page_says(text: str, check: dict[str, Any], order: str):
    got = play(scenario(text, check), ORDERS[order]())

    assert (got.get("status"), got.get("output"), got.get("inspection")) == (check["status"], check.get("output"), None)
    assert sorted(task["task"] for task in got["tasks"]) == sorted(check["ran"])


@pytest.mark.parametrize(("text", "check"), PROBLEMS)
def test_the_problems_of_an_example_are_those_of_the_page(text: str, check: list[str]):
    found = compile_definition(yaml.safe_load(text)).errors

    assert [f"{problem.code} {problem.path}" for problem in found] == check
