"""Values with expressions inside: compiled once, evaluated often, never evaluated twice.

`compile_template` reads a value of a definition (text, list, object; keys too) and gives a `Template`;
`Template.evaluate(scope)` gives the value. What is in the safe subset runs here as Python closures of our own;
the rest raises `NeedsWorker` with requests for the expression worker, and is evaluated again with its answers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

from services.engine.expressions_code import Code
from services.engine.expressions_errors import ExpressionError, NeedsWorker, Problem, UndefinedName
from services.engine.expressions_leaf import Leaf, LeafReader, Style, jinja_leaf, literal_leaf
from services.engine.expressions_nodes import Path, Reads
from services.engine.expressions_scope import Scope
from services.engine.expressions_secrets import SecretRef, SecretText, extract_secrets, insert_secrets
from services.engine.expressions_values import MAX_DEPTH, TextStyle

__all__ = [
    "ExpressionError",
    "NeedsWorker",
    "Path",
    "Problem",
    "Scope",
    "SecretRef",
    "SecretText",
    "Template",
    "TextStyle",
    "UndefinedName",
    "compile_template",
    "extract_secrets",
    "insert_secrets",
    "literal_template",
]


class Template:
    """A value of a definition, ready to be evaluated.

    `free_names` are the paths it must be able to read (`("vars", "a", "b")`; what `ctx` gives as `("ctx", "x")`),
    `optional_names` those it can do without, `functions` the scope's functions it calls, `calls` those calls whose
    arguments are all constants, `secrets` the names of secrets, `safe` whether it never needs the worker,
    `is_literal` whether it has no expression at all.
    """

    __slots__ = (
        "_code",
        "calls",
        "free_names",
        "functions",
        "is_literal",
        "optional_names",
        "safe",
        "secrets",
        "source",
    )

    def __init__(self, source: Any, leaf: Leaf) -> None:
        reads = leaf.reads
        self.source = source
        self.free_names = frozenset(path for path in reads.required if not _covered(path, reads.optional))
        self.optional_names = frozenset(reads.optional)
        self.functions = frozenset(reads.functions)
        self.calls = frozenset(reads.calls)
        self.secrets = frozenset(reads.secrets)
        self.safe = leaf.safe
        self.is_literal = leaf.literal
        self._code = leaf.code

    def evaluate(self, scope: Scope) -> Any:
        """The value. Raises ExpressionError (UndefinedName for a name without value) or NeedsWorker."""
        scope.steps = 0
        return self._code(scope)

    def __repr__(self) -> str:
        return f"Template({self.source!r})"


def compile_template(value: Any, *, lang: str = "jinja", text: TextStyle = "json", secrets: bool = False) -> Template:
    """Compile a value of a definition.

    `lang`: `jinja`; `orquesta` (YAQL and Jinja, told apart by their delimiters) or `yaql`.
    `text`: how values become part of a text. `secrets`: whether `secrets.NAME` may appear (in an action's input).
    Raises ExpressionError whose `problems` are all that is wrong, each with the path to its text and its position.
    """
    problems: list[Problem] = []
    leaf = _Compiler(lang, Style(text=text, secrets=secrets), problems).compile(value, ())
    if problems:
        first = problems[0]
        raise ExpressionError(first.message, expression=first.expression, position=first.position, problems=problems)
    return Template(value, leaf)


def literal_template(value: Any) -> Template:
    """A value that means itself, even where it looks like an expression."""
    return Template(value, literal_leaf(value))


def _covered(path: Path, optional: set[Path]) -> bool:
    """Is the path, or something it starts with, asked for with a default or a test elsewhere?"""
    return any(path[:end] in optional for end in range(1, len(path) + 1))


@lru_cache(maxsize=4096)
def _read_text(source: str, lang: str, style: Style) -> Leaf:
    return _language(lang)(source, style)


def _language(lang: str) -> LeafReader:
    if lang == "jinja":
        return jinja_leaf
    if lang in {"orquesta", "yaql"}:
        from services.engine.dialects.yaql import orquesta_leaf, yaql_leaf

        return orquesta_leaf if lang == "orquesta" else yaql_leaf
    raise ValueError(f"there is no expression language {lang!r}")


class _Compiler:
    """Walks a value and compiles every text in it, collecting all problems."""

    def __init__(self, lang: str, style: Style, problems: list[Problem]) -> None:
        self.lang = lang
        self.style = style
        self.problems = problems

    def compile(self, value: Any, path: Path) -> Leaf:
        if isinstance(value, str):
            return self._text(value, path)
        if len(path) > MAX_DEPTH:
            self.problems.append(Problem(message=f"nested deeper than {MAX_DEPTH} levels", path=path))
        elif isinstance(value, Mapping):
            return self._object(value, path)
        elif isinstance(value, list | tuple):
            return self._list(value, path)
        return literal_leaf(value)

    def _text(self, source: str, path: Path) -> Leaf:
        try:
            return _read_text(source, self.lang, self.style)
        except ExpressionError as error:
            self.problems += [
                replace(problem, path=(*path, *problem.path), expression=problem.expression or source)
                for problem in error.problems
            ]
            return literal_leaf(source)

    def _list(self, value: Any, path: Path) -> Leaf:
        leaves = [self.compile(item, (*path, index)) for index, item in enumerate(value)]
        if all(leaf.literal for leaf in leaves):
            return literal_leaf(list(value))
        return _joint(leaves, _list_code([leaf.code for leaf in leaves]))

    def _object(self, value: Mapping[Any, Any], path: Path) -> Leaf:
        for_keys = _Compiler(
            self.lang, replace(self.style, secrets=False), self.problems
        )  # a place has no key of its own
        keys = [for_keys.compile(key, (*path, key)) for key in value]
        leaves = [self.compile(item, (*path, key)) for key, item in value.items()]
        if all(leaf.literal for leaf in (*keys, *leaves)):
            return literal_leaf(dict(value))
        pairs = list(zip(keys, leaves, strict=True))
        if all(key.literal for key in keys):
            return _joint(leaves, _object_code(list(value), leaves))
        return _joint([*keys, *leaves], _keyed_code([(key.code, leaf.code) for key, leaf in pairs]))


def _joint(leaves: list[Leaf], code: Code) -> Leaf:
    reads = Reads()
    for leaf in leaves:
        reads.update(leaf.reads)
    safe = all(leaf.safe for leaf in leaves)
    return Leaf(code=code if safe else _gathering(leaves, code), reads=reads, safe=safe)


def _gathering(leaves: list[Leaf], code: Code) -> Code:
    """Ask for everything that needs the worker at once, not one by one."""
    unsafe = [leaf.code for leaf in leaves if not leaf.safe]

    def evaluate(scope: Scope) -> Any:
        requests = [request for part in unsafe for request in _asked(part, scope)]
        if requests:
            raise NeedsWorker(requests)
        return code(scope)

    return evaluate


def _asked(code: Code, scope: Scope) -> Iterator[Mapping[str, Any]]:
    try:
        code(scope)
    except NeedsWorker as need:
        yield from need.requests


def _list_code(codes: list[Code]) -> Code:
    return lambda scope: [code(scope) for code in codes]


def _object_code(keys: list[Any], leaves: list[Leaf]) -> Code:
    pairs = [(key, leaf.code) for key, leaf in zip(keys, leaves, strict=True)]
    return lambda scope: {key: code(scope) for key, code in pairs}


def _keyed_code(pairs: list[tuple[Code, Code]]) -> Code:
    def build(scope: Scope) -> dict[str, Any]:
        built: dict[str, Any] = {}
        for key_code, code in pairs:
            key = key_code(scope)
            if not isinstance(key, str):
                raise ExpressionError(f"the key {key!r} of an object is not text")
            built[key] = code(scope)
        return built

    return build
