"""What an expression reads: names, functions, secrets. Inspection asks this before anything is evaluated."""

from __future__ import annotations

from collections.abc import Iterator

from services.engine import expressions_nodes as n
from services.engine.expressions_filters import METHODS
from services.engine.expressions_nodes import Node, Path, Reads


def reads_of(node: Node) -> Reads:
    """All names and functions below the node."""
    reads = Reads()
    _visit(node, reads, guarded=False)
    return reads


def path_of(node: Node) -> tuple[Node, Path]:
    """The root of a chain of constant keys, and the keys."""
    keys: list[str | int] = []
    while isinstance(node, n.Get) and isinstance(node.key, n.Const) and isinstance(node.key.value, str | int):
        keys.append(node.key.value)
        node = node.of
    return node, tuple(reversed(keys))


def _visit(node: Node, reads: Reads, guarded: bool) -> None:
    root, keys = path_of(node)
    match root:
        case n.Name(name):
            _found(reads, (name, *keys), guarded)
        case n.Call("ctx", ()):
            _function(root, reads)
            _found(reads, ("ctx", *keys), guarded)
        case n.Call("ctx", (n.Const(str() as name), *_)):
            _function(root, reads)
            _found(reads, ("ctx", name, *keys), guarded)
        case n.Call():
            _function(root, reads)
        case n.Secret(name):
            reads.secrets.add(name)
        case _:
            pass
    _visit_children(root, reads, guarded)


def _visit_children(node: Node, reads: Reads, guarded: bool) -> None:
    if isinstance(node, n.Default):
        _visit(node.of, reads, guarded=True)
        _visit(node.otherwise, reads, guarded)
        return
    loose = isinstance(node, n.Defined) or (isinstance(node, n.Apply) and _is_get(node))
    if loose and isinstance(node, n.Apply):
        _visit_get(node, reads)
        return
    for child in children(node):
        _visit(child, reads, guarded or loose)


def _is_get(node: n.Apply) -> bool:
    return node.method and node.operation is METHODS["get"]


def _visit_get(node: n.Apply, reads: Reads) -> None:
    """`ctx().get("x")` reads x, if it is there."""
    key = node.args[1] if len(node.args) > 1 else n.Const(None)
    _visit(n.Get(node.args[0], key), reads, guarded=True)
    for child in node.args[1:]:
        _visit(child, reads, guarded=False)


def _found(reads: Reads, path: Path, guarded: bool) -> None:
    (reads.optional if guarded else reads.required).add(path)


def _function(node: n.Call, reads: Reads) -> None:
    reads.functions.add(node.name)
    if all(isinstance(arg, n.Const) for arg in node.args):
        reads.calls.add((node.name, tuple(arg.value for arg in node.args if isinstance(arg, n.Const))))


def children(node: Node) -> Iterator[Node]:
    """The nodes directly below."""
    match node:
        case n.Get(of, key):
            yield from (of, key)
        case n.Slice(of, start, stop, step):
            yield from (of, start, stop, step)
        case n.Call(_, args, named) | n.Apply(_, args, named):
            yield from args
            yield from (value for _, value in named)
        case n.Both(left, right) | n.Either(left, right):
            yield from (left, right)
        case n.Choice(test, then, otherwise):
            yield from (test, then, otherwise)
        case n.Chain(first, rest):
            yield first
            yield from (value for _, value in rest)
        case _:
            yield from _parts(node)


def _parts(node: Node) -> Iterator[Node]:
    match node:
        case n.Default(of, otherwise):
            yield from (of, otherwise)
        case n.Defined(inner) | n.Lambda(inner):
            yield inner
        case n.ListOf(items) | n.Text(items):
            yield from items
        case n.MapOf(pairs):
            for key, value in pairs:
                yield from (key, value)
        case _:
            return
