"""Filters that StackStorm adds to expressions: versions, YAML, JSONPath and spans of time. Bounded like all others."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import yaml

from services.engine.expressions_errors import ExpressionError
from services.engine.expressions_regex import regex_substring
from services.engine.expressions_scalars import the_text
from services.engine.expressions_scope import Scope
from services.engine.expressions_values import bounded_text, dump_json, is_list, is_mapping, kind_of, plain

MAX_YAML = 32 * 1024
"""Characters of a YAML text that is read in an expression."""
VERSION = re.compile(r"(\d+)\.(\d+)\.(\d+)(?:-([0-9A-Za-z.-]+))?(?:\+[0-9A-Za-z.-]+)?")
CONDITION = re.compile(r"\s*(>=|<=|==|!=|>|<|=)?\s*(.+)")
STEP = re.compile(r"\.\.(?P<deep>[\w-]+|\*)|\.(?P<name>[\w-]+|\*)|\[(?P<index>-?\d+|\*)\]|\['(?P<key>[^']*)'\]")

NONE = "%*****__%NONE%__*****%"
"""StackStorm's text for a null that an action is to receive as such."""

Key = tuple[int, int, int, bool, tuple[tuple[bool, int, str], ...]]


def version_key(value: Any) -> Key:
    """A semantic version as something that sorts: a pre-release comes before its release."""
    match = VERSION.fullmatch(the_text(value).strip())
    if match is None:
        raise ExpressionError(f"{value!r} is not a version like 1.2.3")
    parts = tuple(
        (not part.isdecimal(), int(part) if part.isdecimal() else 0, part)
        for part in (match[4] or "").split(".")
        if part
    )
    return (int(match[1]), int(match[2]), int(match[3]), match[4] is None, parts)


def version_compare(_scope: Scope, value: Any, other: Any) -> int:
    """1, 0 or -1: the version is higher than the other, equal or lower."""
    left, right = version_key(value), version_key(other)
    return (left > right) - (left < right)


def version_match(scope: Scope, value: Any, pattern: Any) -> bool:
    """Whether a version satisfies `>=1.2.0` and the like."""
    match = CONDITION.fullmatch(the_text(pattern))
    order = version_compare(scope, value, match[2] if match else pattern)
    wanted: Mapping[str, tuple[int, ...]] = {">": (1,), ">=": (0, 1), "<": (-1,), "<=": (-1, 0), "!=": (-1, 1)}
    return order in wanted.get((match[1] if match else None) or "==", (0,))


def bumped(part: int) -> Callable[[Scope, Any], str]:
    """Raise one part of a version and set those behind it to zero."""

    def bump(_scope: Scope, value: Any) -> str:
        numbers = list(version_key(value)[:3])
        return ".".join(map(str, [*numbers[:part], numbers[part] + 1, 0, 0][:3]))

    return bump


def version_strip_patch(_scope: Scope, value: Any) -> str:
    """`1.2.3` without its last part."""
    key = version_key(value)
    return f"{key[0]}.{key[1]}"


def human_time(_scope: Scope, value: Any) -> str:
    """Seconds as `1d2h3m4s`."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise ExpressionError(f"seconds are a number, not {kind_of(value)}")
    rest, parts = int(value), ""
    for unit, size in (("y", 31_536_000), ("d", 86_400), ("h", 3_600), ("m", 60)):
        count, rest = divmod(rest, size)
        parts += f"{count}{unit}" if count or parts else ""
    return f"{parts}{rest}s"


def from_yaml(scope: Scope, value: Any) -> Any:
    """The value that a YAML text stands for."""
    text = the_text(value)
    if len(text) > MAX_YAML:
        raise ExpressionError(f"a YAML text has at most {MAX_YAML:,} characters")
    scope.charge(len(text) * 10)
    try:
        return plain(yaml.load(text, YamlLoader))  # noqa: S506 - a SafeLoader
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise ExpressionError(f"not YAML: {str(error)[:200]}") from error


class YamlLoader(yaml.SafeLoader):
    """A safe loader for which a time stays a text."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - the attribute PyYAML reads
        first: [pair for pair in pairs if pair[0] != "tag:yaml.org,2002:timestamp"]
        for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def to_yaml(scope: Scope, value: Any) -> str:
    """A value as YAML text."""
    data = plain(value)
    scope.charge(len(str(data)) * 10)
    return bounded_text(yaml.safe_dump(data, default_flow_style=False, allow_unicode=True))


def jsonpath_query(scope: Scope, value: Any, query: Any) -> list[Any]:
    """What a JSONPath leads to: `$.a.b[0]`, `[*]`, `['key']`, `..name`; filters are not known."""
    found, rest = [value], the_text(query).strip().removeprefix("$")
    rest = rest if rest[:1] in ("", ".", "[") else f".{rest}"
    while rest:
        step = STEP.match(rest)
        if step is None:
            raise ExpressionError(f"JSONPath: {rest[:50]!r} is not understood")
        found = [entry for one in found for entry in stepped(scope, one, step)]
        rest = rest[step.end() :]
    return found


def stepped(scope: Scope, value: Any, step: re.Match[str]) -> Iterator[Any]:
    """What one step of a JSONPath leads to."""
    scope.charge(1)
    if step["deep"] is not None:
        for entry in below(scope, value):
            yield from named(entry, step["deep"])
    elif step["index"] not in (None, "*"):
        index = int(step["index"])
        if is_list(value) and -len(value) <= index < len(value):
            yield value[index]
    else:
        yield from named(value, step["name"] or step["key"] or "*")


def named(value: Any, name: str) -> Iterator[Any]:
    """The entry of that name, or all entries."""
    if name == "*":
        yield from value.values() if is_mapping(value) else value if is_list(value) else ()
    elif is_mapping(value) and name in value:
        yield value[name]


def below(scope: Scope, value: Any) -> Iterator[Any]:
    """A value and everything inside it, from the outside in."""
    waiting = deque([value])
    while waiting:
        entry = waiting.popleft()
        scope.charge(1)
        yield entry
        waiting.extend(named(entry, "*"))


def basename(_scope: Scope, value: Any) -> str:
    """The last part of a path."""
    return the_text(value).rsplit("/", 1)[-1]


def dirname(_scope: Scope, value: Any) -> str:
    """A path without its last part."""
    return the_text(value).rpartition("/")[0]


def json_escape(_scope: Scope, value: Any) -> str:
    """The text as it stands inside a JSON text."""
    return dump_json(the_text(value))[1:-1]


STACKSTORM_FILTERS: Mapping[str, Callable[..., Any]] = {
    "version_compare": version_compare,
    "version_more_than": lambda scope, value, other: version_compare(scope, value, other) > 0,
    "version_less_than": lambda scope, value, other: version_compare(scope, value, other) < 0,
    "version_equal": lambda scope, value, other: version_compare(scope, value, other) == 0,
    "version_match": version_match,
    "version_bump_major": bumped(0),
    "version_bump_minor": bumped(1),
    "version_bump_patch": bumped(2),
    "version_strip_patch": version_strip_patch,
    "to_human_time_from_seconds": human_time,
    "from_yaml_string": from_yaml,
    "yaml_parse": from_yaml,
    "to_yaml_string": to_yaml,
    "yaml_dump": to_yaml,
    "jsonpath_query": jsonpath_query,
    "regex_substring": regex_substring,
    "basename": basename,
    "dirname": dirname,
    "json_escape": json_escape,
    "use_none": lambda _scope, value: NONE if value is None else value,
}
