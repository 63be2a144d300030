"""Texts that only the worker can evaluate: statements, unusual filters and methods.

Here they are only read: what they need is collected, so that the worker gets that and nothing else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Set
from dataclasses import dataclass, field
from typing import Any

import orjson
from jinja2 import nodes

from services.engine.expressions_errors import ExpressionError
from services.engine.expressions_filters import FILTERS, PURE_FUNCTIONS
from services.engine.expressions_jinja import (
    BAREWORD_FUNCTIONS,
    SCOPE_FUNCTIONS,
    check_filter,
    near,
)
from services.engine.expressions_nodes import Path, Reads
from services.engine.expressions_scope import Scope
from services.engine.expressions_values import MAX_VALUE_BYTES, TextStyle, is_list, is_mapping

_REFUSED = (nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends, nodes.Block)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerText:
    """A text for the worker and what it reads."""

    source: str
    whole: bool
    style: TextStyle
    reads: Reads
    calls: tuple[tuple[str, tuple[Any, ...]], ...]
    roots: dict[str, frozenset[str] | None] = field(default_factory=dict)

    def request(self, scope: Scope) -> dict[str, Any]:
        """The JSON request for the worker; its id is a hash of all of it."""
        body = {
            "source": self.source,
            "whole": self.whole,
            "text": self.style,
            "names": dict(self._names(scope)),
            "calls": [[name, list(args), _outcome(scope, name, args)] for name, args in self.calls],
        }
        try:
            text = orjson.dumps(body, default=_data, option=orjson.OPT_SORT_KEYS)
        except TypeError as error:
            raise ExpressionError(f"what the expression reads is not JSON: {error}", expression=self.source) from error
        if len(text) > MAX_VALUE_BYTES:
            raise ExpressionError("the expression reads too much data", expression=self.source)
        request: dict[str, Any] = orjson.loads(text)
        return {"id": hashlib.sha256(text).hexdigest()[:32], **request}

    def _names(self, scope: Scope) -> Iterator[tuple[str, Any]]:
        for root, keys in self.roots.items():
            try:
                value = scope.names[root]
                yield root, value if keys is None else {key: value[key] for key in sorted(keys) if key in value}
            except (KeyError, TypeError):
                continue


def read_blocks(tree: nodes.Template, source: str, *, whole: bool, style: TextStyle) -> WorkerText:
    """Collect what a text for the worker reads; raises ExpressionError for what the worker has not either."""
    loaded, stored = _names_in(tree)
    if "secrets" in loaded:
        raise ExpressionError("a secret can only be a whole value or a part of a text, nothing can be computed from it")
    visitor = _Visitor(loaded - stored)
    visitor.visit(tree, guarded=False)
    return WorkerText(
        source=source,
        whole=whole,
        style=style,
        reads=visitor.reads,
        calls=tuple(sorted(visitor.needed, key=repr)),
        roots={**dict.fromkeys(sorted(loaded & stored)), **_roots(visitor.reads)},
    )


def _names_in(tree: nodes.Template) -> tuple[set[str], set[str]]:
    """The names that are read, and those that the text itself gives a value to.

    Jinja's own `meta` is not asked: it generates code and runs constant parts while doing so.
    """
    loaded: set[str] = set()
    stored: set[str] = set()
    for name in tree.find_all(nodes.Name):
        (loaded if name.ctx == "load" else stored).add(name.name)
    for macro in tree.find_all((nodes.Macro, nodes.CallBlock)):
        stored |= {getattr(macro, "name", "caller"), "caller", "varargs", "kwargs"}
    if tree.find(nodes.For) is not None:
        stored.add("loop")
    return loaded, stored


def _data(value: Any) -> Any:
    """What a lazily filled view holds."""
    if is_mapping(value):
        return dict(value)
    if is_list(value):
        return list(value)
    raise TypeError(type(value).__name__)


def _outcome(scope: Scope, name: str, args: tuple[Any, ...]) -> dict[str, Any]:
    function = scope.functions.get(name)
    if function is None:
        return {"error": f"{name}() cannot be used here"}
    try:
        return {"value": function(*args)}
    except LookupError as error:
        return {"error": str(error.args[0]) if error.args else f"{name}() found nothing"}
    except ExpressionError as error:
        return {"error": error.message}


def _roots(reads: Reads) -> dict[str, frozenset[str] | None]:
    """Per root name the keys that are read, or None when all of it is needed."""
    roots: dict[str, set[str] | None] = {}
    for path in sorted(reads.required | reads.optional, key=repr):
        root = str(path[0])
        keys = roots.setdefault(root, set())
        if len(path) == 1 or not isinstance(path[1], str):
            roots[root] = None
        elif keys is not None:
            keys.add(path[1])
    return {root: None if keys is None else frozenset(keys) for root, keys in roots.items() if root != "ctx"}


class _Visitor:
    """Walks a syntax tree of Jinja."""

    def __init__(self, free: set[str]) -> None:
        self.free = free
        self.reads = Reads()
        self.needed: set[tuple[str, tuple[Any, ...]]] = set()

    def visit(self, node: nodes.Node, guarded: bool) -> None:
        if isinstance(node, _REFUSED):
            raise ExpressionError(f"{type(node).__name__.lower()} is not available in a workflow")
        if isinstance(node, nodes.Filter):
            check_filter(node.name)
        if isinstance(node, nodes.Call) and isinstance(node.node, nodes.Name) and node.node.name in self.free:
            self._function(node.node.name, node, guarded)
            return
        guarded = guarded or _guards(node)
        chain = self._chain(node)
        if chain is not None:
            (self.reads.optional if guarded else self.reads.required).add(chain)
            return
        for child in _readable(node):
            self.visit(child, guarded)

    def _chain(self, node: nodes.Node) -> Path | None:
        keys: list[str | int] = []
        while True:
            if isinstance(node, nodes.Getattr):
                keys.append(node.attr)
                node = node.node
            elif isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Const):
                keys.append(node.arg.value)
                node = node.node
            else:
                break
        if isinstance(node, nodes.Name) and node.name in self.free:
            return (node.name, *reversed(keys))
        return None

    def _function(self, name: str, node: nodes.Call, guarded: bool) -> None:
        self.reads.functions.add(name)
        args = _constants(node, self.free if name in BAREWORD_FUNCTIONS else frozenset())
        if name in SCOPE_FUNCTIONS:
            self._scope_function(name, args, guarded)
        elif name not in PURE_FUNCTIONS and name not in FILTERS and name not in {"string", "join"}:
            raise ExpressionError(
                f"there is no function {name}(){near(name, {*SCOPE_FUNCTIONS, *PURE_FUNCTIONS, *FILTERS})}"
            )
        if args is None or name not in SCOPE_FUNCTIONS:
            for child in (*node.args, *node.kwargs):
                self.visit(child, guarded)

    def _scope_function(self, name: str, args: tuple[Any, ...] | None, guarded: bool) -> None:
        if args is not None:
            self.needed.add((name, args))
            self.reads.calls.add((name, args))
        elif name in {"ctx", "item"}:
            self.needed.add((name, ()))
        else:
            raise ExpressionError(f"{name}() takes only constants in a text with statements or unusual filters")
        if name == "ctx":
            (self.reads.optional if guarded else self.reads.required).add(("ctx", *(args or ())))


def _readable(node: nodes.Node) -> Iterator[nodes.Node]:
    """The nodes below; of a method call what it is called on, because the method is no key."""
    if isinstance(node, nodes.Call) and isinstance(node.node, nodes.Getattr):
        yield from (node.node.node, *node.args, *node.kwargs)
    else:
        yield from node.iter_child_nodes()


def _guards(node: nodes.Node) -> bool:
    """Is what is read below the node allowed to be undefined?"""
    if isinstance(node, nodes.Filter):
        return node.name in {"default", "d"}
    if isinstance(node, nodes.Test):
        return node.name in {"defined", "undefined"}
    return isinstance(node, nodes.If)


def _constants(node: nodes.Call, barewords: Set[str]) -> tuple[Any, ...] | None:
    """The arguments, when all of them are constants."""
    values: list[Any] = []
    for arg in node.args:
        if isinstance(arg, nodes.Name) and arg.name in barewords:
            values.append(arg.name)
        elif isinstance(arg, nodes.Const):
            values.append(arg.value)
        else:
            return None
    return None if node.kwargs or node.dyn_args or node.dyn_kwargs else tuple(values)
