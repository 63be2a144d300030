"""The audit page names every action that the code writes as a constant; what is made of parts, the routes' test finds."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[3]


def actions_of(call: ast.Call) -> Iterator[str]:
    """The actions of `Entry(action=…)` and of the helpers named `_entry`, whose first argument it is."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    said = [keyword.value for keyword in call.keywords if keyword.arg == "action"] if name == "Entry" else []
    if name == "_entry" and call.args:
        said = call.args[:1]
    for part in said:
        choices = [part.body, part.orelse] if isinstance(part, ast.IfExp) else [part]
        yield from (one.value for one in choices if isinstance(one, ast.Constant) and isinstance(one.value, str))


def test_the_page_names_every_action_of_the_record():
    page = (ROOT / "docs" / "reference" / "audit.md").read_text(encoding="utf-8")
    files = [path for folder in ("services", "controllers", "composition") for path in (ROOT / folder).rglob("*.py")]
    calls = [node for path in files for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    found = {action for call in calls for action in actions_of(call)}

    assert len(found) > 30
    assert {action for action in found if f"`{action}`" not in page} == set()
