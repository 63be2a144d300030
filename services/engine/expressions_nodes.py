"""The one internal form of every in-process expression. Front ends (Jinja, YAQL ...) build it; nothing else evaluates.

The nodes can only look names up, reach into JSON values, call the scope's functions and apply our own operations:
Python attributes are out of reach by construction.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias


@dataclass(frozen=True, slots=True)
class Const:
    """A literal value."""

    value: Any


@dataclass(frozen=True, slots=True)
class Name:
    """A root name of the scope."""

    name: str


@dataclass(frozen=True, slots=True)
class Get:
    """A key of an object or an index of a list. `spread`: on a list of objects, the key of each."""

    of: Node
    key: Node
    spread: bool = False


@dataclass(frozen=True, slots=True)
class Slice:
    """A part of a list or a text."""

    of: Node
    start: Node
    stop: Node
    step: Node


@dataclass(frozen=True, slots=True)
class Call:
    """A function of the scope."""

    name: str
    args: tuple[Node, ...] = ()
    named: tuple[tuple[str, Node], ...] = ()


@dataclass(frozen=True, slots=True)
class Apply:
    """One of our own operations, called with the scope and the values."""

    operation: Callable[..., Any]
    args: tuple[Node, ...]
    named: tuple[tuple[str, Node], ...] = ()
    method: bool = False


@dataclass(frozen=True, slots=True)
class Both:
    """`and`: the first false value, else the last one."""

    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class Either:
    """`or`: the first true value, else the last one."""

    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class Choice:
    """One of two values, by the truth of a third."""

    test: Node
    then: Node
    otherwise: Node


@dataclass(frozen=True, slots=True)
class Chain:
    """Comparisons in a row: `a < b <= c`."""

    first: Node
    rest: tuple[tuple[Callable[..., Any], Node], ...]


@dataclass(frozen=True, slots=True)
class Default:
    """A value, or another one where it reads an undefined name (`falsy`: or is false; `null`: or is null)."""

    of: Node
    otherwise: Node
    falsy: bool = False
    null: bool = False


@dataclass(frozen=True, slots=True)
class Defined:
    """Can the value be read at all?"""

    of: Node
    wanted: bool = True


@dataclass(frozen=True, slots=True)
class ListOf:
    """A list literal."""

    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class MapOf:
    """An object literal."""

    items: tuple[tuple[Node, Node], ...]


@dataclass(frozen=True, slots=True)
class It:
    """The current element inside a `Lambda` (YAQL's `$`)."""


@dataclass(frozen=True, slots=True)
class Lambda:
    """An expression handed to an operation, to be evaluated for each element."""

    body: Node


@dataclass(frozen=True, slots=True)
class Text:
    """A text put together from parts."""

    parts: tuple[Node, ...]
    text_of: Callable[[Any], str]


@dataclass(frozen=True, slots=True)
class Secret:
    """A reference to a secret: the whole value, or a part of a text."""

    name: str


Node: TypeAlias = (
    Const
    | Name
    | Get
    | Slice
    | Call
    | Apply
    | Both
    | Either
    | Choice
    | Chain
    | Default
    | Defined
    | ListOf
    | MapOf
    | It
    | Lambda
    | Text
    | Secret
)

Path: TypeAlias = tuple[str | int, ...]


@dataclass(slots=True)
class Reads:
    """What an expression reads, found without evaluating it.

    `required` and `optional` (guarded by `default`, `is defined`, `.get`) are paths: `("vars", "a", "b")`;
    what `ctx` gives is read as `("ctx", "x")`. `calls` are functions with their constant arguments.
    """

    required: set[Path] = field(default_factory=set)
    optional: set[Path] = field(default_factory=set)
    functions: set[str] = field(default_factory=set)
    calls: set[tuple[str, tuple[Any, ...]]] = field(default_factory=set)
    secrets: set[str] = field(default_factory=set)

    def update(self, other: Reads) -> None:
        """Add what another expression reads."""
        self.required |= other.required
        self.optional |= other.optional
        self.functions |= other.functions
        self.calls |= other.calls
        self.secrets |= other.secrets
