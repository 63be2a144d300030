"""The pages about expressions, node graphs and packages: every example does what it says, every list is complete."""

import json
import re
from pathlib import Path

import pytest
import yaml

from services.adapters.expression_sandbox import answer_request
from services.engine.compile import compile_definition
from services.engine.dialects.yaql_functions import FUNCTIONS, LAMBDA_METHODS, PLAIN_METHODS
from services.engine.export import export_definition
from services.engine.expressions import NeedsWorker, Scope, compile_template
from services.engine.expressions_filters import FILTERS, METHODS
from services.engine.expressions_predicates import TESTS
from services.engine.expressions_jinja import WORKER_FILTERS
from services.engine.expressions_rules import OPERATORS
from tests.unit.play import play

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "reference" / "expressions.md").read_text()
EXAMPLE = re.compile(r"^\| `((?:[^`])+)` \| `([^`]+)` \|$", re.MULTILINE)
VARIABLES = {
    "rows": [{"id": 1, "ok": True, "name": "ann"}, {"id": 2, "ok": False, "name": "bob"}],
    "nothing": None,
    "on": True,
    "pair": {"a": 1},
    "count": 3,
    "names": ["ann", "bob"],
    "text": "a-b",
}
EXAMPLES = [(source.replace("\\|", "|"), json.loads(value)) for source, value in EXAMPLE.findall(PAGE) if "{" in source or "<%" in source]


def ctx(name: str | None = None) -> object:
    return VARIABLES if name is None else VARIABLES[name]


def listed(mark: str) -> set[str]:
    """The code words of the paragraphs after a mark, up to the next heading or mark."""
    part = PAGE.split(f"<!-- {mark} -->", 1)[1]
    part = re.split(r"\n#|\n<!--|\n`x is|\nIn a text|\nMethods|\nOperators", part, maxsplit=1)[0]
    return set(re.findall(r"`([^`]+)`", part))


def test_there_are_examples():
    assert len(EXAMPLES) > 30


@pytest.mark.parametrize(("source", "expected"), EXAMPLES)
def test_an_example_of_the_reference_is_true(source: str, expected: object):
    yaql = "<%" in source
    template = compile_template(source, lang="orquesta" if yaql else "jinja", text="python" if yaql else "json")

    assert template.evaluate(Scope({"vars": VARIABLES}, {"ctx": ctx})) == expected


def test_the_lists_of_the_reference_are_complete():
    assert listed("filters") == {*FILTERS, "default", "d"}
    assert listed("tests") == {*TESTS, "defined", "undefined"}
    assert listed("methods") == {*METHODS, "join"}
    assert listed("worker filters") == WORKER_FILTERS
    assert listed("yaql methods") == {*PLAIN_METHODS, *LAMBDA_METHODS}
    assert set(OPERATORS) <= set(re.findall(r"`([^`]+)`", PAGE))
    assert set(FUNCTIONS) <= listed("yaql functions") | listed("filters")


@pytest.mark.parametrize("name", sorted(WORKER_FILTERS))
def test_the_worker_has_the_filters_it_is_said_to_have(name: str):
    arguments = {"batch": "(2)", "slice": "(2)", "groupby": "('id')"}.get(name, "")
    values = {"groupby": "vars.rows", "batch": "vars.names", "slice": "vars.names", "xmlattr": "vars.pair", "filesizeformat": "vars.count"}
    template = compile_template("{{ %s | %s%s }}" % (values.get(name, "vars.text"), name, arguments))
    with pytest.raises(NeedsWorker) as caught:
        template.evaluate(Scope({"vars": VARIABLES}))

    assert answer_request(caught.value.requests[0]) is not None


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (DOCS / "how-to" / page).read_text(), flags=re.DOTALL)


def test_the_node_graph_of_the_guide_runs():
    document = json.loads(blocks("move-from-a-node-graph.md", "json")[0])
    users = [{"name": "ann", "age": 20}, {"name": "bob", "age": 7}]

    compiled = compile_definition(document)

    assert compiled.errors == ()
    assert [given["message"] for _, given in play(compiled.graph, {"users": users}).performed] == ["Welcome ann!"]
    assert export_definition(document, "native").definition["tasks"]["greet"]["label"] == "greet"


def test_the_package_of_the_guide_runs():
    document = yaml.safe_load(blocks("move-from-workflow-packages.md", "yaml")[0])

    compiled = compile_definition(document)
    played = play(compiled.graph, {"APP": "shop"}, answer={"approved": True})

    assert compiled.errors == ()
    assert played.order == [
        "dry_run_collect_logs", "dry_run_restart_cordon", "dry_run_restart_roll",
        "collect_logs", "restart_cordon", "restart_roll",
    ]  # fmt: skip
    assert played.performed[3][1] == {"action": "logs", "selector": "app=shop", "lines": "200"}
