"""Change the engine a little, many times, and see whether the tests notice: python -m tests.mutation [FILE …]

Every mutant is one small change (a comparison, a condition, a constant, a statement left out). It is judged in a copy
of the sources by the unit tests of the engine, then by the scenarios and a few random workflows; a mutant that they do not
notice is printed as a survivor. Default files: decide, evolve, joins.
"""

import ast
import copy
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
DEFAULT = ("services/engine/decide.py", "services/engine/evolve.py", "services/engine/joins.py")
STAGES = (
    ["tests/unit/engine/test_semantics.py", "tests/unit/engine/test_readers.py", "tests/unit/engine/test_pieces.py"],
    ["tests/unit/engine/test_every_input.py"],
    ["tests/scenarios", "tests/properties"],
)
SECONDS = (60, 90, 180)
"""A stage that takes longer has noticed something: an endless loop."""
SWAPS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip


def mutants(source: str) -> Iterator[tuple[int, str, str]]:
    """Line, description and source of every mutant."""
    tree = ast.parse(source)
    inert = set(annotations(tree))
    for position, node in enumerate(ast.walk(tree)):
        if node in inert:
            continue
        for name, change in changes(node):
            mutated = copy.deepcopy(tree)
            change(next(other for number, other in enumerate(ast.walk(mutated)) if number == position))
            yield getattr(node, "lineno", 0), name, ast.unparse(ast.fix_missing_locations(mutated))


def annotations(tree: ast.AST) -> Iterator[ast.AST]:
    """Everything inside a type; changing it changes nothing."""
    for node in ast.walk(tree):
        for name in ("annotation", "returns"):
            inside = getattr(node, name, None)
            if inside is not None:
                yield from ast.walk(inside)


def changes(node: ast.AST) -> Iterator[tuple[str, object]]:
    """What may be changed about a node."""
    match node:
        case ast.Compare(ops=[op, *_]) if type(op) in SWAPS:
            yield f"{type(op).__name__} to {SWAPS[type(op)].__name__}", swap_comparison
        case ast.BoolOp():
            yield "and/or", swap_boolean
        case ast.If() | ast.IfExp() | ast.While():
            yield "condition negated", negate
        case ast.BinOp(op=ast.Add() | ast.Sub() | ast.BitAnd() | ast.BitOr()):
            yield "operator", swap_operator
        case ast.AugAssign(op=ast.Add()):
            yield "+= to -=", swap_step
        case ast.Constant(value=bool()):
            yield "true/false", flip
        case ast.Constant(value=int()) if not isinstance(node.value, bool):
            yield "number + 1", increase
        case ast.FunctionDef() | ast.For() | ast.With():
            for index, step in enumerate(node.body):
                if isinstance(step, ast.Expr) and isinstance(step.value, ast.Call) and len(node.body) > 1:
                    yield f"left out: {ast.unparse(step)[:60]}", lambda other, index=index: other.body.pop(index)
                if isinstance(step, ast.Continue | ast.AugAssign):
                    yield f"left out: {ast.unparse(step)[:60]}", lambda other, index=index: blank(other, index)


def blank(node: ast.FunctionDef, index: int) -> None:
    node.body[index] = ast.Pass()


def swap_comparison(node: ast.Compare) -> None:
    node.ops[0] = SWAPS[type(node.ops[0])]()


def swap_boolean(node: ast.BoolOp) -> None:
    node.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()


def negate(node: ast.If) -> None:
    node.test = ast.UnaryOp(op=ast.Not(), operand=node.test)


def swap_operator(node: ast.BinOp) -> None:
    swaps = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd}
    node.op = swaps[type(node.op)]()


def swap_step(node: ast.AugAssign) -> None:
    node.op = ast.Sub()


def flip(node: ast.Constant) -> None:
    node.value = not node.value


def increase(node: ast.Constant) -> None:
    node.value += 1


def noticed(folder: Path) -> bool:
    """Whether some stage of tests fails in this copy."""
    return any(run(folder, tests, limit) for tests, limit in zip(STAGES, SECONDS, strict=True))


def run(folder: Path, tests: list[str], limit: int) -> bool:
    """Run tests in a child of this process; True when they fail or do not end."""
    child = os.fork()
    if child == 0:
        judge(folder, tests)
    until = time.monotonic() + limit
    while time.monotonic() < until:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status) != 0
        time.sleep(0.02)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return True


def judge(folder: Path, tests: list[str]) -> None:
    """The child: the tests of the copy, silently."""
    import pytest

    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    os.chdir(folder)
    sys.path[:] = [str(folder), *(entry for entry in sys.path if Path(entry or ".").resolve() != ROOT)]
    os.environ["MILLRACE_EXAMPLES"] = "25"
    os._exit(int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", "-p", "no:randomly", *tests])))


def main(files: list[str]) -> int:
    """Judge every mutant of every file; print survivors and the score."""
    sys.dont_write_bytecode = True
    import jsonschema  # noqa: F401 - loaded once, before the children are made
    import pytest  # noqa: F401

    total = caught = 0
    with tempfile.TemporaryDirectory(prefix="millrace-mutation-") as name:
        folder = Path(name)
        for part in ("services", "models", "tests", "pyproject.toml"):
            copy_part(ROOT / part, folder / part)
        if noticed(folder):
            print("The tests fail without any change.")
            return 2
        for file in files:
            source = (ROOT / file).read_text()
            for line, change, mutated in mutants(source):
                (folder / file).write_text(mutated)
                total += 1
                if noticed(folder):
                    caught += 1
                else:
                    print(f"survived: {file}:{line} {change}", flush=True)
            (folder / file).write_text(source)
            print(f"{file}: {caught} of {total} so far", flush=True)
    print(f"score: {caught}/{total} = {caught / total:.0%}")
    return 0


def copy_part(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(source, target)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or list(DEFAULT)))
