"""One span of a trace, as it is handed to whoever sends it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

Attributes = Mapping[str, str | int | float | bool]


@dataclass(frozen=True, slots=True)
class Happening:
    """Something that happened at one moment within a span."""

    name: str
    at: datetime
    attributes: Attributes


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A piece of work with its beginning and its end. `error`: what went wrong; `links`: (trace, span)."""

    name: str
    trace_id: int
    span_id: int
    parent_id: int | None
    parent_is_remote: bool = False
    calls: bool = False
    """Whether it calls another service."""
    begun: datetime
    ended: datetime
    attributes: Attributes
    happenings: tuple[Happening, ...] = ()
    links: tuple[tuple[int, int], ...] = ()
    error: str | None = None
