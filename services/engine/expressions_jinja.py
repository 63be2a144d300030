"""Jinja's syntax, read by Jinja's own parser, turned into our nodes. Nothing of Jinja evaluates in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from difflib import get_close_matches
from functools import lru_cache
from typing import Any

from jinja2 import Environment, TemplateSyntaxError, nodes

from services.engine import expressions_nodes as n
from services.engine import expressions_operators as op
from services.engine.expressions_errors import ExpressionError
from services.engine.expressions_filters import FILTERS, METHODS, PURE_FUNCTIONS, joined, texted
from services.engine.expressions_nodes import Node
from services.engine.expressions_predicates import TESTS

MAX_SOURCE = 16_384
MAX_NODES = 2_000
MAX_NESTING = 100

SCOPE_FUNCTIONS = frozenset(
    [
        "result",
        "error",
        "succeeded",
        "failed",
        "timed_out",
        "cancelled",
        "completed",
        "ctx",
        "now",
        "uuid",
        "item",
        "task",
        "task_status",
    ]
)
BAREWORD_FUNCTIONS = frozenset({"ctx", "item", "task", "task_status"})
WORKER_FILTERS = frozenset(
    [
        "batch",
        "center",
        "e",
        "escape",
        "filesizeformat",
        "forceescape",
        "format",
        "groupby",
        "indent",
        "pprint",
        "safe",
        "slice",
        "striptags",
        "urlencode",
        "urlize",
        "wordcount",
        "wordwrap",
        "xmlattr",
    ]
)
_BY_NAME = {"map": FILTERS, "select": TESTS, "reject": TESTS, "selectattr": TESTS, "rejectattr": TESTS}


class Beyond(Exception):
    """The expression is legal but outside the subset that is evaluated in process."""


@lru_cache(maxsize=1)
def environment() -> Environment:
    """The parser. It never renders."""
    return Environment(keep_trailing_newline=True, autoescape=False)  # noqa: S701 - parses only


def parse(source: str) -> nodes.Template:
    """The syntax tree of a text with expressions; raises ExpressionError with the position of the first bad one."""
    if len(source) > MAX_SOURCE:
        raise ExpressionError(f"an expression has at most {MAX_SOURCE:,} characters")
    try:
        tree = environment().parse(source)
    except TemplateSyntaxError as error:
        raise ExpressionError(str(error.message), position=_bad_position(source)) from error
    except RecursionError as error:
        raise ExpressionError("the expression is nested too deeply") from error
    _check_size(tree)
    return tree


def _bad_position(source: str) -> int:
    """The offset of the first expression or statement that does not parse by itself."""
    start = offset = 0
    try:
        for _line, token, value in environment().lex(source):
            if token in {"variable_begin", "block_begin"}:
                start = offset
            offset += len(value)
            if token == "variable_end" and not _parses(source[start:offset]):  # noqa: S105 - a kind of token
                return start
    except TemplateSyntaxError:
        return start
    return start


def _parses(source: str) -> bool:
    try:
        environment().parse(source)
    except TemplateSyntaxError:
        return False
    return True


def _check_size(tree: nodes.Node) -> None:
    level: list[nodes.Node] = [tree]
    count = depth = 0
    while level:
        count, depth = count + len(level), depth + 1
        if count > MAX_NODES:
            raise ExpressionError(f"an expression has at most {MAX_NODES:,} parts")
        if depth > MAX_NESTING:
            raise ExpressionError(f"an expression is nested at most {MAX_NESTING} levels deep")
        level = [child for node in level for child in node.iter_child_nodes()]


def near(name: str, known: Any) -> str:
    """A hint at the nearest known name."""
    found = get_close_matches(name, sorted(known), n=1)
    return f"; did you mean {found[0]!r}?" if found else ""


class Reader:
    """Turns Jinja's expression nodes into ours.

    Raises Beyond for what only the worker can do and ExpressionError for what nobody may do.
    """

    def __init__(self, text_of: Callable[[Any], str], *, secrets: bool = False) -> None:
        self.text_of = text_of
        self.secrets = secrets
        self.filters = {**FILTERS, "join": joined(text_of), "string": texted(text_of), "str": texted(text_of)}

    def whole(self, node: nodes.Expr) -> Node:
        """A whole value: here, and in the parts of a text, secrets may appear."""
        secret = self._secret(node)
        if secret is not None:
            return secret
        if isinstance(node, nodes.Concat):
            return self.text([self.whole(part) for part in node.nodes])
        if isinstance(node, nodes.Add):
            left, right = self.whole(node.left), self.whole(node.right)
            if any(isinstance(part, n.Secret | n.Text) for part in (left, right)) and self._has_secret(left, right):
                return self.text([left, right])
            return n.Apply(op.add, (left, right))
        return self.read(node)

    def text(self, parts: list[Node]) -> n.Text:
        """One text of several parts; texts inside it are laid open."""
        flat: list[Node] = []
        for part in parts:
            flat += part.parts if isinstance(part, n.Text) else (part,)
        return n.Text(tuple(flat), self.text_of)

    def read(self, node: nodes.Node) -> Node:
        """Any expression without secrets."""
        if self._secret(node) is not None:
            raise ExpressionError(
                "a secret can only be a whole value or a part of a text, nothing can be computed from it"
            )
        kind = type(node).__name__
        reader: Callable[[nodes.Node], Node] | None = getattr(self, f"_read_{kind.lower()}", None)
        if reader is None:
            raise Beyond(kind)
        return reader(node)

    def _has_secret(self, *parts: Node) -> bool:
        return any(
            isinstance(inner, n.Secret)
            for part in parts
            for inner in (part.parts if isinstance(part, n.Text) else (part,))
        )

    def _secret(self, node: nodes.Node) -> n.Secret | None:
        name = secret_name(node)
        if name is None:
            return None
        if not self.secrets:
            raise ExpressionError("secrets can only be used in the input of an action")
        return n.Secret(name)

    def _read_name(self, node: nodes.Name) -> Node:
        if node.name == "null":
            return n.Const(None)
        if node.name == "secrets":
            raise ExpressionError("secrets are read by name: secrets.NAME")
        return n.Name(node.name)

    def _read_const(self, node: nodes.Const | nodes.TemplateData) -> Node:
        return n.Const(node.value if isinstance(node, nodes.Const) else node.data)

    _read_templatedata = _read_const

    def _read_getattr(self, node: nodes.Getattr) -> Node:
        return n.Get(self.read(node.node), n.Const(node.attr))

    def _read_getitem(self, node: nodes.Getitem) -> Node:
        of, key = self.read(node.node), node.arg
        if isinstance(key, nodes.Slice):
            bounds = [
                self.read(part) if part is not None else n.Const(None) for part in (key.start, key.stop, key.step)
            ]
            return n.Slice(of, *bounds)
        return n.Get(of, self.read(key))

    def _read_binary(self, node: nodes.BinExpr) -> Node:
        return n.Apply(op.BINARY[str(node.operator)], (self.read(node.left), self.read(node.right)))

    def _read_unary(self, node: nodes.UnaryExpr) -> Node:
        operation = {"not": op.negated, "-": op.negative, "+": op.positive}[str(node.operator)]
        return n.Apply(operation, (self.read(node.node),))

    _read_add = _read_sub = _read_mul = _read_div = _read_floordiv = _read_mod = _read_pow = _read_binary
    _read_not = _read_neg = _read_pos = _read_unary

    def _read_and(self, node: nodes.And) -> Node:
        return n.Both(self.read(node.left), self.read(node.right))

    def _read_or(self, node: nodes.Or) -> Node:
        return n.Either(self.read(node.left), self.read(node.right))

    def _read_compare(self, node: nodes.Compare) -> Node:
        rest = tuple((op.COMPARE[operand.op], self.read(operand.expr)) for operand in node.ops)
        return n.Chain(self.read(node.expr), rest)

    def _read_concat(self, node: nodes.Concat) -> Node:
        return self.text([self.read(part) for part in node.nodes])

    def _read_condexpr(self, node: nodes.CondExpr) -> Node:
        otherwise = n.Const(None) if node.expr2 is None else self.read(node.expr2)
        return n.Choice(self.read(node.test), self.read(node.expr1), otherwise)

    def _read_list(self, node: nodes.List | nodes.Tuple) -> Node:
        return n.ListOf(tuple(self.read(item) for item in node.items))

    _read_tuple = _read_list

    def _read_dict(self, node: nodes.Dict) -> Node:
        return n.MapOf(tuple((self.read(pair.key), self.read(pair.value)) for pair in node.items))

    def _read_filter(self, node: nodes.Filter) -> Node:
        assert node.node is not None  # only the filter of a block has none, and blocks are not read here
        args, named = self._arguments(node)
        value = self.read(node.node)
        if node.name in {"default", "d"}:
            return _default(value, args, named)
        check_filter(node.name)
        if node.name not in self.filters:
            raise Beyond(node.name)
        _check_named_filter(node.name, args)
        return n.Apply(self.filters[node.name], (value, *args), named)

    def _read_test(self, node: nodes.Test) -> Node:
        args, named = self._arguments(node)
        value = self.read(node.node)
        if node.name in {"defined", "undefined"}:
            return n.Defined(value, node.name == "defined")
        if node.name not in TESTS:
            raise ExpressionError(f"there is no test {node.name!r}{near(node.name, TESTS)}")
        return n.Apply(TESTS[node.name], (value, *args), named)

    def _read_call(self, node: nodes.Call) -> Node:
        if isinstance(node.node, nodes.Name):
            return self._function(node.node.name, node)
        if isinstance(node.node, nodes.Getattr):
            return self._method(node.node, node)
        raise Beyond("call")

    def _function(self, name: str, node: nodes.Call) -> Node:
        args, named = self._arguments(node, barewords=name in BAREWORD_FUNCTIONS)
        if name in SCOPE_FUNCTIONS:
            return n.Call(name, args, named)
        if name == "default" and args:
            return _default(args[0], args[1:], named)
        operation = PURE_FUNCTIONS.get(name) or self.filters.get(name)
        if operation is None:
            raise ExpressionError(
                f"there is no function {name}(){near(name, {*SCOPE_FUNCTIONS, *PURE_FUNCTIONS, *FILTERS})}"
            )
        return n.Apply(operation, args, named)

    def _method(self, target: nodes.Getattr, node: nodes.Call) -> Node:
        args, named = self._arguments(node)
        value = self.read(target.node)
        if target.attr == "join" and len(args) == 1:
            return n.Apply(self.filters["join"], (args[0], value), named)
        if target.attr not in METHODS:
            raise Beyond(target.attr)
        return n.Apply(METHODS[target.attr], (value, *args), named, method=True)

    def _arguments(
        self, node: nodes.Call | nodes.Filter | nodes.Test, barewords: bool = False
    ) -> tuple[tuple[Node, ...], tuple[tuple[str, Node], ...]]:
        if node.dyn_args is not None or node.dyn_kwargs is not None:
            raise Beyond("unpacked arguments")
        args = tuple(
            n.Const(arg.name) if barewords and isinstance(arg, nodes.Name) else self.read(arg) for arg in node.args
        )
        return args, tuple((str(pair.key), self.read(pair.value)) for pair in node.kwargs)


def secret_name(node: nodes.Node) -> str | None:
    """The name in `secrets.NAME` or `secrets["NAME"]`."""
    if isinstance(node, nodes.Getattr) and _is_secrets(node.node):
        return node.attr
    if isinstance(node, nodes.Getitem) and _is_secrets(node.node):
        if isinstance(node.arg, nodes.Const) and isinstance(node.arg.value, str):
            return node.arg.value
        raise ExpressionError("secrets are read by name: secrets.NAME")
    return None


def _is_secrets(node: nodes.Node) -> bool:
    return isinstance(node, nodes.Name) and node.name == "secrets"


def check_filter(name: str) -> None:
    """Refuse a filter that neither this process nor the worker has."""
    known = {*FILTERS, *WORKER_FILTERS, "default", "d", "join", "string"}
    if name not in known:
        raise ExpressionError(f"there is no filter {name!r}{near(name, known)}")


def _check_named_filter(name: str, args: tuple[Node, ...]) -> None:
    """`map("center")` names a filter that only the worker has."""
    table = _BY_NAME.get(name)
    at = 1 if name.endswith("attr") else 0
    named = args[at] if table is not None and len(args) > at else None
    if table is not None and isinstance(named, n.Const) and named.value not in table:
        raise Beyond(str(named.value))


def _default(value: Node, args: tuple[Node, ...], named: tuple[tuple[str, Node], ...]) -> Node:
    options = dict(named)
    otherwise = args[0] if args else options.get("default_value", n.Const(""))
    falsy = args[1] if len(args) > 1 else options.get("boolean", n.Const(False))
    if not isinstance(falsy, n.Const):
        raise Beyond("default")
    return n.Default(value, otherwise, falsy=bool(falsy.value))


def expressions_in(tree: nodes.Template) -> Iterator[nodes.Expr] | None:
    """The parts of a text without statements, or None when there are statements."""
    if not all(isinstance(node, nodes.Output) for node in tree.body):
        return None
    return (part for output in tree.body for part in output.nodes)  # type: ignore[attr-defined]
