"""YAML as we accept it for definitions: safe, no duplicate keys, no alias bombs, JSON values only.

Scalars mean what PyYAML says (so StackStorm files keep their meaning), with two exceptions: a key is the text as
written (`on:` is the key "on"), and a time stays a text, because JSON has none.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import Any

import yaml
from yaml.composer import Composer
from yaml.constructor import SafeConstructor
from yaml.resolver import Resolver

from services.errors import BadRequest
from services.formats.strict_json import MAX_DEPTH, MAX_INTEGER, TOO_LARGE, text_problems

MAX_NODES = 200_000
MAX_KEYS = 5_000
_MERGE = "tag:yaml.org,2002:merge"
_TIME = "tag:yaml.org,2002:timestamp"
Path = tuple[str | int, ...]


if yaml.__with_libyaml__:
    from yaml._yaml import CParser as _Source  # reads about seven times as fast
else:
    from yaml.parser import Parser
    from yaml.reader import Reader
    from yaml.scanner import Scanner

    class _Source(Reader, Scanner, Parser):  # type: ignore[no-redef]  # the same in Python
        """Reads a text into events."""

        def __init__(self, text: str) -> None:
            Reader.__init__(self, text)
            Scanner.__init__(self)
            Parser.__init__(self)

        def dispose(self) -> None:
            """Let go of what was read."""


class _Loader(Composer, _Source, SafeConstructor, Resolver):
    """A safe loader that refuses what JSON would refuse."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - the attribute PyYAML reads
        first: [(tag, pattern) for tag, pattern in resolvers if tag != _TIME]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    depth = 0

    def __init__(self, text: str) -> None:
        _Source.__init__(self, text)
        Composer.__init__(self)
        SafeConstructor.__init__(self)
        Resolver.__init__(self)

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Compose one node, counting how deep it stands."""
        self.depth += 1
        if self.depth > MAX_DEPTH + 1:
            here: Any = self.peek_event()
            raise _refuse(f"more than {MAX_DEPTH} levels of nesting", "too_deep", here.start_mark)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        """Build one mapping with text keys; a key written twice is an error, a merged one gives way."""
        if len(node.value) > MAX_KEYS:
            raise _refuse(f"more than {MAX_KEYS} keys on one level", "too_many_keys", node.start_mark)
        written = [key for key, _ in node.value if key.tag != _MERGE]
        seen: set[str] = set()
        for key in written:
            if not isinstance(key, yaml.ScalarNode):
                raise _refuse("a key must be text", "key_not_text", key.start_mark)
            if key.value in seen:
                raise _refuse(f"the key {key.value!r} appears twice", "duplicate_key", key.start_mark)
            seen.add(key.value)
        self.flatten_mapping(node)
        return {key.value: self.construct_object(value, deep=deep) for key, value in node.value}


def loads(raw: bytes) -> tuple[Any, str]:
    """The value of one YAML document, and its text.

    Raises `BadRequest` with the line and column of what is wrong.
    """
    try:
        text = raw.decode("utf-8")
        value = _load(text)
    except UnicodeDecodeError:
        raise _refuse("not UTF-8 text", "yaml_invalid", None) from None
    except yaml.YAMLError as error:
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "it cannot be read"
        raise _refuse(f"not valid YAML: {problem}", "yaml_invalid", getattr(error, "problem_mark", None)) from None
    except (ValueError, RecursionError) as error:
        raise _refuse(f"not valid YAML: {error}", "yaml_invalid", None) from None
    return _Plain().of(value, ()), text


def _load(text: str) -> Any:
    loader = _Loader(text)
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


class _Plain:
    """Copies a YAML value into JSON values, counting what aliases multiply."""

    def __init__(self) -> None:
        self.nodes = 0

    def of(self, value: Any, path: Path) -> Any:
        """`value` with JSON scalars only and nothing shared."""
        self.nodes += 1
        if self.nodes > MAX_NODES or len(path) > MAX_DEPTH:
            raise _refuse("the document grows too large when its aliases are resolved", "too_large", None)
        if isinstance(value, dict):
            return {key: self.of(item, (*path, key)) for key, item in value.items() if self._readable(key, path)}
        if isinstance(value, list):
            return [self.of(item, (*path, index)) for index, item in enumerate(value)]
        return self._scalar(value, path)

    def _readable(self, text: str, path: Path) -> bool:
        problems = list(text_problems(path, text))
        if problems:
            raise BadRequest(f"{_place(path)}: {problems[0]['message']}", errors=problems)
        return True

    def _scalar(self, value: Any, path: Path) -> Any:
        if isinstance(value, str):
            self._readable(value, path)
            return value
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, int):
            if abs(value) > MAX_INTEGER:
                raise _refuse(f"{_place(path)}: {TOO_LARGE}", "integer_too_large", None)
            return value
        if isinstance(value, float) and math.isfinite(value):
            return value
        raise _refuse(f"{_place(path)}: {value!r} is not a JSON value", "not_json", None)


def _place(path: Path) -> str:
    return ".".join(["body", *map(str, path)])


def _refuse(message: str, kind: str, mark: yaml.Mark | None) -> BadRequest:
    if mark is not None:
        message = f"{message} at line {mark.line + 1} column {mark.column + 1}"
    return BadRequest(message, errors=[{"loc": ["body"], "message": message, "type": kind}])
