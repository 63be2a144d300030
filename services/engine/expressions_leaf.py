"""One text with expressions: what every language turns its texts into."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from services.engine import expressions_nodes as n
from services.engine.expressions_blocks import WorkerText, read_blocks
from services.engine.expressions_code import Code, compile_node, is_read
from services.engine.expressions_errors import ExpressionError, NeedsWorker, TooMuchWork
from services.engine.expressions_jinja import Beyond, Reader, expressions_in, parse
from services.engine.expressions_nodes import Node, Reads
from services.engine.expressions_reads import reads_of
from services.engine.expressions_scope import Scope
from services.engine.expressions_secrets import SecretText
from services.engine.expressions_values import TextStyle, plain, text_function

_AS_IS = frozenset({str, int, float, bool, type(None), dict, list})


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """What differs between places: how values become text, and whether secrets may appear."""

    text: TextStyle = "json"
    secrets: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    """A compiled text."""

    code: Code
    reads: Reads
    safe: bool = True
    literal: bool = False


LeafReader = Callable[[str, Style], Leaf]


def literal_leaf(value: Any) -> Leaf:
    """A text that is what it says."""
    return Leaf(code=lambda _scope: value, reads=Reads(), literal=True)


def node_leaf(node: Node, source: str, heavy: Code | None = None) -> Leaf:
    """A text that is evaluated in this process; `heavy` takes over where its data turn out to be too much for that."""
    if isinstance(node, n.Const):
        return literal_leaf(node.value)
    reads = reads_of(node)
    code = _guarded(compile_node(node), source, as_read=is_read(node))
    return Leaf(code=code if heavy is None or reads.secrets else _relieved(code, heavy), reads=reads)


def jinja_leaf(source: str, style: Style) -> Leaf:
    """A text with Jinja expressions."""
    if "{{" not in source and "{%" not in source:
        return literal_leaf(source)
    tree = parse(source)
    found = expressions_in(tree)
    parts = None if found is None else list(found)
    whole = parts is not None and _is_whole(parts, style)
    reader = Reader(text_function(style.text), secrets=style.secrets)
    try:
        if parts is None:
            return _worker_leaf(read_blocks(tree, source, whole=False, style=style.text))
        read = [reader.whole(part) for part in parts]
        return node_leaf(read[0] if whole else _written(reader, read), source, _elsewhere(source, whole, style))
    except Beyond:
        return _worker_leaf(read_blocks(tree, source, whole=whole, style=style.text))


def _written(reader: Reader, parts: list[Node]) -> Node:
    if all(isinstance(part, n.Const) and isinstance(part.value, str) for part in parts):
        return n.Const("".join(part.value for part in parts if isinstance(part, n.Const)))
    return reader.text(parts)


def _is_whole(parts: list[Any], style: Style) -> bool:
    """Is the text exactly one expression? A line break that YAML's block text adds does not count."""
    from jinja2 import nodes

    if not parts or isinstance(parts[0], nodes.TemplateData):
        return False
    return len(parts) == 1 or (
        style.text == "json" and len(parts) == 2 and isinstance(parts[1], nodes.TemplateData) and parts[1].data == "\n"
    )


def _guarded(code: Code, source: str, *, as_read: bool) -> Code:
    """Errors that name the expression, and results that are values."""

    def evaluate(scope: Scope) -> Any:
        try:
            value = code(scope)
            if as_read and type(value) in _AS_IS:
                return value
            return value if type(value) is SecretText else plain(value)
        except ExpressionError as error:
            raise error.within(source) from error
        except RecursionError as error:
            raise ExpressionError("the value is nested too deeply", expression=source) from error
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise ExpressionError(str(error).lstrip("_"), expression=source) from error

    return evaluate


def _relieved(code: Code, heavy: Code) -> Code:
    def evaluate(scope: Scope) -> Any:
        try:
            return code(scope)
        except TooMuchWork:
            return heavy(scope)

    return evaluate


def _elsewhere(source: str, whole: bool, style: Style) -> Code:
    """The same text in the worker, read when it is needed."""
    return lambda scope: _worker_leaf(read_blocks(parse(source), source, whole=whole, style=style.text)).code(scope)


def _worker_leaf(text: WorkerText) -> Leaf:
    def evaluate(scope: Scope) -> Any:
        request = text.request(scope)
        answer = scope.answers.get(request["id"])
        if answer is None:
            raise NeedsWorker([request])
        if "error" in answer:
            raise ExpressionError(str(answer["error"]), expression=text.source)
        return answer["value"]

    return Leaf(code=evaluate, reads=text.reads, safe=False)
