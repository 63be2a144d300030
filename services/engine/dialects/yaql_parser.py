"""YAQL's grammar: a text between `<%` and `%>` becomes our nodes, or an ExpressionError that says where it fails.

Precedence, tightest first: `. ?.`, `[]`, unary `+ -`, `=~ !~`, `* / mod`, `+ -`, comparisons and `in`, `not`, `and`, `or`.
A bare word is a text; `$` is the element inside `where`, `select` and their like.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

from services.engine import expressions_nodes as n
from services.engine import expressions_operators as op
from services.engine.dialects import yaql_functions as functions
from services.engine.expressions_errors import ExpressionError
from services.engine.expressions_jinja import MAX_NESTING, MAX_NODES
from services.engine.expressions_nodes import Node

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<number>\d+\.\d+(?:[eE][+-]?\d+)?|\d+)
    | (?P<text>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')
    | (?P<verbatim>`(?:\\`|[^`])*`)
    | (?P<dollar>\$\w*)
    | (?P<word>(?!__)[^\W\d]\w*)
    | (?P<sign>=>|<=|>=|!=|=~|!~|\?\.|[-+*/<>=().,\[\]{}])
    )""",
    re.VERBOSE,
)
_END = "end of the expression"
_STRENGTH = {
    "or": 1,
    "and": 2,
    **dict.fromkeys(("<", ">", "<=", ">=", "=", "!=", "in"), 4),
    **dict.fromkeys(("+", "-"), 5),
    **dict.fromkeys(("*", "/", "mod"), 6),
    **dict.fromkeys(("=~", "!~"), 7),
}
_NOT = 3
_NESTING = 50
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", '"': '"', "'": "'", "`": "`", "/": "/"}
_CONSTANTS = {"true": True, "false": False, "null": None}


@dataclass(frozen=True, slots=True)
class Token:
    """One word of the text, with its offset."""

    kind: str
    text: str
    at: int


def parse_yaql(source: str, at: int = 0) -> Node:
    """The nodes of one YAQL expression that begins at offset `at` of its text."""
    return _Parser(list(_tokens(source, at)), source).whole()


def _tokens(source: str, at: int) -> Iterator[Token]:
    position, end = 0, len(source.rstrip())
    while position < end:
        match = _TOKEN.match(source, position)
        if match is None:
            start = position + len(source[position:]) - len(source[position:].lstrip())
            raise ExpressionError(f"unexpected {source[start]!r}", position=at + start)
        kind = str(match.lastgroup)
        yield Token(kind, match[kind], at + match.start(kind))
        position = match.end()
    yield Token("end", _END, at + end)


class _Parser:
    """Reads tokens from left to right, one function per level of precedence."""

    def __init__(self, tokens: list[Token], source: str) -> None:
        self.tokens = tokens
        self.source = source
        self.next = 0
        self.depth = 0
        self.inside = 0
        if len(tokens) > MAX_NODES:
            raise ExpressionError(f"an expression has at most {MAX_NODES:,} parts")

    def whole(self) -> Node:
        node = self.expression()
        if self.token.kind != "end":
            self.unexpected()
        return node

    @property
    def token(self) -> Token:
        return self.tokens[self.next]

    def take(self, *texts: str) -> Token | None:
        """The next token, if it is one of these words or signs."""
        token = self.token
        if token.kind in {"sign", "word"} and token.text in texts:
            self.next += 1
            return token
        return None

    def expect(self, text: str) -> None:
        if not self.take(text):
            self.unexpected(f", expected {text!r}")

    def unexpected(self, hint: str = "") -> NoReturn:
        token = self.token
        what = token.text if token.kind == "end" else repr(token.text)
        raise ExpressionError(f"unexpected {what}{hint}", position=token.at)

    def expression(self, strength: int = 1) -> Node:
        """An operand and all operators after it that bind at least that strongly."""
        self.depth += 1
        if self.depth > _NESTING:
            raise ExpressionError(f"an expression is nested at most {_NESTING} levels deep", position=self.token.at)
        node = self.unary()
        count = 0
        while (binding := self.binding()) >= strength:
            sign = self.token
            self.next += 1
            node = _binary(sign.text, node, self.expression(binding + 1))
            count += 1
            if count > MAX_NESTING:
                raise ExpressionError(f"more than {MAX_NESTING} operators in a row", position=sign.at)
        self.depth -= 1
        return node

    def binding(self) -> int:
        """How strongly the next token binds two operands; 0 when it is no operator."""
        return _STRENGTH.get(self.token.text, 0) if self.token.kind in {"sign", "word"} else 0

    def unary(self) -> Node:
        sign = self.take("-", "+", "not")
        if sign is None:
            return self.postfix(self.primary())
        if sign.text == "not":
            return n.Apply(op.negated, (self.expression(_NOT),))
        return n.Apply(
            op.negative if sign.text == "-" else op.positive, (self.expression(max(_STRENGTH.values()) + 1),)
        )

    def postfix(self, node: Node) -> Node:
        for _ in range(MAX_NESTING):
            if self.take("."):
                node = self.member(node)
            elif self.take("?."):
                node = n.Choice(n.Chain(node, ((op.equal, n.Const(None)),)), n.Const(None), self.member(node))
            elif self.take("["):
                node = self.index(node)
            else:
                return node
        raise ExpressionError(f"more than {MAX_NESTING} steps in a row", position=self.token.at)

    def member(self, of: Node) -> Node:
        token = self.token
        if token.kind != "word":
            self.unexpected(", expected a name")
        self.next += 1
        if self.take("("):
            return functions.method(token.text, of, self.arguments(token.text not in functions.PLAIN_METHODS), token.at)
        return n.Get(of, n.Const(token.text), spread=True)

    def index(self, of: Node) -> Node:
        arguments = self.arguments(lambdas=True, close="]")
        if len(arguments) not in {1, 2} or any(argument.key for argument in arguments):
            raise ExpressionError("[] takes an index, a key or a condition", position=self.token.at)
        key = arguments[0].value
        if functions.uses_it(key):
            return n.Apply(functions.where, (of, n.Lambda(key)))
        if len(arguments) == 2:
            return n.Apply(functions.get, (of, key, arguments[1].value))
        return n.Get(of, key)

    def arguments(self, lambdas: bool = False, close: str = ")") -> list[functions.Argument]:
        self.inside += lambdas
        found: list[functions.Argument] = []
        while not self.take(close):
            if found:
                self.expect(",")
            at, value = self.token.at, self.expression()
            if self.take("=>"):
                found.append(functions.Argument(self.expression(), value, at))
            else:
                found.append(functions.Argument(value, None, at))
        self.inside -= lambdas
        return found

    def primary(self) -> Node:
        token = self.token
        if self.take("("):
            node = self.expression()
            self.expect(")")
            return node
        if self.take("["):
            items = self.arguments(close="]")
            return n.ListOf(tuple(item.value for item in items))
        if self.take("{"):
            return functions.mapping(self.arguments(close="}"))
        reader = getattr(self, f"_{token.kind}", None)
        if reader is None:
            self.unexpected()
        self.next += 1
        found: Node = reader(token)
        return found

    def _number(self, token: Token) -> Node:
        return n.Const(float(token.text) if not token.text.isdecimal() else int(token.text[:400]))

    def _text(self, token: Token) -> Node:
        return n.Const(re.sub(r"\\(.)", lambda m: _ESCAPES.get(m[1], m[0]), token.text[1:-1], flags=re.DOTALL))

    def _verbatim(self, token: Token) -> Node:
        return n.Const(token.text[1:-1].replace("\\`", "`"))

    def _dollar(self, token: Token) -> Node:
        if token.text != "$" or not self.inside:
            raise ExpressionError(
                f"{token.text} has no value here: $ is the element inside where, select and the like", position=token.at
            )
        return n.It()

    def _word(self, token: Token) -> Node:
        if self.take("("):
            return functions.function(token.text, self.arguments(), token.at)
        if token.text in {"and", "or", "not", "in", "mod"}:
            self.next -= 1
            self.unexpected()
        return n.Const(_CONSTANTS.get(token.text, token.text))


def _binary(sign: str, left: Node, right: Node) -> Node:
    if sign == "and":
        return n.Both(left, right)
    if sign == "or":
        return n.Either(left, right)
    operation: Any = functions.OPERATORS[sign]
    return n.Apply(operation, (left, right))
