"""The house limits: files of at most 400 lines, functions of at most 50, a docstring on every public name."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted(
    path
    for folder in ("composition", "controllers", "services", "models", "bench", "clients")
    for path in (ROOT / folder).rglob("*.py")
    if "static" not in path.parts and "tests" not in path.parts
) + [path for name in ("app.py", "cli.py", "config.py") if (path := ROOT / name).exists()]


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_source_file_keeps_the_house_limits(path: Path):
    text = path.read_text()

    too_long = [
        f"{node.name}: {node.end_lineno - node.lineno + 1} lines"
        for node in functions(ast.parse(text))
        if node.end_lineno - node.lineno + 1 > 50
    ]

    assert text.count("\n") <= 400, f"{path.name} has {text.count(chr(10))} lines"
    assert not too_long
