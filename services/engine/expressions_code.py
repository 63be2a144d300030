"""From nodes to Python closures. Everything that can be decided is decided here, so that evaluating is only calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from services.engine import expressions_nodes as n
from services.engine.expressions_errors import ExpressionError, UndefinedName
from services.engine.expressions_nodes import Node, Path
from services.engine.expressions_reads import path_of
from services.engine.expressions_scope import Scope
from services.engine.expressions_secrets import SecretRef, SecretText
from services.engine.expressions_values import MAX_TEXT, is_list, is_mapping, kind_of

Code: TypeAlias = Callable[[Scope], Any]


def compile_node(node: Node) -> Code:
    """A function of the scope that gives the value of the node."""
    return _COMPILERS[type(node)](node)


def is_read(node: Node) -> bool:
    """Is the value handed on as it is found (so that it needs no checking)?"""
    root, _ = path_of(node)
    return isinstance(root, n.Name | n.Call | n.Const | n.Defined | n.Secret)


def _const(node: n.Const) -> Code:
    value = node.value
    return lambda _scope: value


def _name(node: n.Name) -> Code:
    name = node.name

    def read(scope: Scope) -> Any:
        try:
            return scope.names[name]
        except KeyError:
            raise UndefinedName(f"{name!r} is not defined") from None

    return read


def _get(node: n.Get) -> Code:
    root, keys = path_of(node)
    if not keys:
        return _dynamic_get(node)
    if isinstance(root, n.Name):
        return _named_path(root.name, keys)
    start, seen = compile_node(root), _root_text(root)
    retry = _spread_path if _spreads(node) else _no_spread

    def read(scope: Scope) -> Any:
        found = value = start(scope)
        try:
            for key in keys:
                value = value[key]
        except (KeyError, TypeError, IndexError):
            return retry(scope, found, keys, seen)
        return value

    return read


def _spreads(node: Node) -> bool:
    return isinstance(node, n.Get) and (node.spread or _spreads(node.of))


def _no_spread(_scope: Scope, value: Any, keys: Path, seen: str) -> Any:
    raise _missing(value, keys, seen) from None


def _spread_path(scope: Scope, value: Any, keys: Path, seen: str) -> Any:
    """Follow the keys; on a list a name is that key of each element."""
    for done, key in enumerate(keys):
        if is_list(value) and isinstance(key, str):
            scope.charge(len(value))
            value = [item_of(item, key, seen) for item in value]
        else:
            try:
                value = value[key]
            except (KeyError, TypeError, IndexError):
                raise _missing(value, keys[done:], ".".join([seen, *map(str, keys[:done])])) from None
    return value


def _named_path(name: str, keys: Path) -> Code:
    def read(scope: Scope) -> Any:
        try:
            value = scope.names[name]
            for key in keys:
                value = value[key]
        except (KeyError, TypeError, IndexError):
            raise _missing(scope.names, (name, *keys), "") from None
        return value

    return read


def _root_text(node: Node) -> str:
    if isinstance(node, n.Call):
        inner = ", ".join(repr(arg.value) for arg in node.args if isinstance(arg, n.Const))
        return f"{node.name}({inner})"
    return "the value"


def _missing(value: Any, keys: Path, root: str) -> UndefinedName:
    """Which part of the path is not there."""
    seen = root
    for key in keys:
        try:
            value = value[key]
        except (KeyError, TypeError, IndexError):
            step = f"{seen}.{key}" if seen else str(key)
            if not seen or is_mapping(value):
                return UndefinedName(f"{step!r} is not defined")
            return UndefinedName(f"{step!r} is not defined: {seen} is {kind_of(value)}")
        seen = f"{seen}.{key}" if seen else str(key)
    return UndefinedName(f"{seen!r} is not defined")  # pragma: no cover - the caller has just failed to read it


def _dynamic_get(node: n.Get) -> Code:
    of, key = compile_node(node.of), compile_node(node.key)
    seen = ".".join(map(str, path_of(node.of)[1])) or "the value"
    return lambda scope: item_of(of(scope), key(scope), seen)


def item_of(value: Any, key: Any, seen: str = "the value") -> Any:
    """The element of an object, a list or a text; UndefinedName when there is none."""
    try:
        return value[key]
    except (KeyError, TypeError, IndexError):
        raise UndefinedName(f"{seen} ({kind_of(value)}) has no {key!r}") from None


def _slice(node: n.Slice) -> Code:
    of, start, stop, step = (compile_node(part) for part in (node.of, node.start, node.stop, node.step))

    def read(scope: Scope) -> Any:
        value = of(scope)
        if not is_list(value) and not isinstance(value, str):
            raise ExpressionError(f"{kind_of(value)} has no parts")
        scope.charge(len(value) // 10)
        return value[start(scope) : stop(scope) : step(scope)]

    return read


def _call(node: n.Call) -> Code:
    name = node.name
    args = tuple(compile_node(arg) for arg in node.args)
    named = {key: compile_node(value) for key, value in node.named}

    def call(scope: Scope) -> Any:
        values = [arg(scope) for arg in args]
        options = {key: value(scope) for key, value in named.items()}
        try:
            return scope.functions[name](*values, **options)
        except LookupError as error:
            raise _not_found(scope, name, error) from error

    def call_plain(scope: Scope) -> Any:
        try:
            return scope.functions[name]()
        except LookupError as error:
            raise _not_found(scope, name, error) from error

    return call if args or named else call_plain


def _not_found(scope: Scope, name: str, error: LookupError) -> ExpressionError:
    if name not in scope.functions:
        return ExpressionError(f"{name}() cannot be used here")
    return UndefinedName(str(error.args[0]) if error.args else f"{name}() found nothing")


def _apply(node: n.Apply) -> Code:
    operation = node.operation
    args = tuple(compile_node(arg) for arg in node.args)
    if node.named:
        named = {key: compile_node(value) for key, value in node.named}
        return lambda scope: operation(
            scope, *[arg(scope) for arg in args], **{key: value(scope) for key, value in named.items()}
        )
    if len(args) == 1:
        (only,) = args
        return lambda scope: operation(scope, only(scope))
    if len(args) == 2:
        left, right = args
        return lambda scope: operation(scope, left(scope), right(scope))
    return lambda scope: operation(scope, *[arg(scope) for arg in args])


def _both(node: n.Both) -> Code:
    left, right = compile_node(node.left), compile_node(node.right)
    return lambda scope: left(scope) and right(scope)


def _either(node: n.Either) -> Code:
    left, right = compile_node(node.left), compile_node(node.right)
    return lambda scope: left(scope) or right(scope)


def _choice(node: n.Choice) -> Code:
    test, then, otherwise = compile_node(node.test), compile_node(node.then), compile_node(node.otherwise)
    return lambda scope: then(scope) if test(scope) else otherwise(scope)


def _chain(node: n.Chain) -> Code:
    first = compile_node(node.first)
    rest = tuple((compare, compile_node(value)) for compare, value in node.rest)
    if len(rest) == 1:
        ((compare, other),) = rest
        return lambda scope: compare(scope, first(scope), other(scope))

    def all_hold(scope: Scope) -> bool:
        left = first(scope)
        for compare, value in rest:
            right = value(scope)
            if not compare(scope, left, right):
                return False
            left = right
        return True

    return all_hold


def _default(node: n.Default) -> Code:
    of, otherwise, falsy, null = compile_node(node.of), compile_node(node.otherwise), node.falsy, node.null

    def read(scope: Scope) -> Any:
        try:
            value = of(scope)
        except UndefinedName:
            return otherwise(scope)
        if (falsy and not value) or (null and value is None):
            return otherwise(scope)
        return value

    return read


def _defined(node: n.Defined) -> Code:
    of, wanted = compile_node(node.of), node.wanted

    def read(scope: Scope) -> bool:
        try:
            of(scope)
        except UndefinedName:
            return not wanted
        return wanted

    return read


def _list(node: n.ListOf) -> Code:
    items = tuple(compile_node(item) for item in node.items)
    return lambda scope: [item(scope) for item in items]


def _map(node: n.MapOf) -> Code:
    items = tuple((compile_node(key), compile_node(value)) for key, value in node.items)

    def build(scope: Scope) -> dict[str, Any]:
        built: dict[str, Any] = {}
        for key, value in items:
            name = key(scope)
            if not isinstance(name, str):
                raise ExpressionError(f"the key of an object is text, not {kind_of(name)}")
            built[name] = value(scope)
        return built

    return build


def _it(_node: n.It) -> Code:
    return lambda scope: scope.it


def _lambda(node: n.Lambda) -> Code:
    body = compile_node(node.body)

    def bind(scope: Scope) -> Callable[[Any], Any]:
        def each(item: Any) -> Any:
            scope.charge(1)
            outer, scope.it = scope.it, item
            try:
                return body(scope)
            finally:
                scope.it = outer

        return each

    return bind


def _text(node: n.Text) -> Code:
    parts = tuple(compile_node(part) for part in node.parts)
    text_of = node.text_of
    if any(isinstance(part, n.Secret) for part in node.parts):
        return lambda scope: _secret_text([part(scope) for part in parts], text_of)

    def write(scope: Scope) -> str:
        texts: list[str] = []
        size = 0
        for part in parts:
            value = part(scope)
            text = text_of(value)
            if text is not value:
                scope.charge(len(text) // 4)
            texts.append(text)
            size += len(text)
            if size > MAX_TEXT:
                raise ExpressionError(f"the text grows beyond {MAX_TEXT:,} characters")
        return "".join(texts)

    return write


def _secret_text(values: list[Any], text_of: Callable[[Any], str]) -> SecretText:
    parts: list[str | SecretRef] = []
    for value in values:
        if isinstance(value, SecretText):
            parts += value.parts
        else:
            parts.append(text_of(value))
    return SecretText(tuple(parts))


def _secret(node: n.Secret) -> Code:
    value = SecretText((SecretRef(node.name),))
    return lambda _scope: value


_COMPILERS: Mapping[type, Callable[[Any], Code]] = {
    n.Const: _const,
    n.Name: _name,
    n.Get: _get,
    n.Slice: _slice,
    n.Call: _call,
    n.Apply: _apply,
    n.Both: _both,
    n.Either: _either,
    n.Choice: _choice,
    n.Chain: _chain,
    n.Default: _default,
    n.Defined: _defined,
    n.ListOf: _list,
    n.MapOf: _map,
    n.It: _it,
    n.Lambda: _lambda,
    n.Text: _text,
    n.Secret: _secret,
}
