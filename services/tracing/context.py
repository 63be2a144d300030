"""Which trace an execution belongs to, and the ids of its spans. Pure: every worker finds the same ones.

The trace is the caller's where a `traceparent` came with the start; else its id is the execution's. A span's id is a
hash of what the span is about, so that whoever takes an execution over continues the trace without asking anybody.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import blake2b
from uuid import UUID

_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_RANDOM_BITS = 56
"""The last 56 bits of a trace id are random (W3C Trace Context, level 2); those of our ids are."""


@dataclass(frozen=True, slots=True)
class Lineage:
    """The trace of an execution: `parent` is the caller's span, `asked` what the caller said about sampling."""

    trace_id: int
    span_id: int
    parent: int | None = None
    asked: bool | None = None


@dataclass(frozen=True, slots=True)
class Sampler:
    """Which traces are kept. `ratio`: the share of those; `heeds_caller`: a caller's decision wins."""

    ratio: float = 1.0
    heeds_caller: bool = True

    def keeps(self, lineage: Lineage) -> bool:
        """Whether this trace is kept; the same on every worker."""
        if self.heeds_caller and lineage.asked is not None:
            return lineage.asked
        return lineage.trace_id % (1 << _RANDOM_BITS) < self.ratio * (1 << _RANDOM_BITS)


def lineage(execution_id: str, traceparent: str | None) -> Lineage:
    """The trace of an execution."""
    span = span_id(execution_id)
    found = _TRACEPARENT.fullmatch(traceparent) if traceparent else None
    if found is None:
        return Lineage(UUID(execution_id).int, span)
    trace, parent = int(found[1], 16), int(found[2], 16)
    if not trace or not parent:
        return Lineage(UUID(execution_id).int, span)
    return Lineage(trace, span, parent, bool(int(found[3], 16) & 1))


def span_id(execution_id: str, *parts: object) -> int:
    """The id of an execution's span, or of the part of it that is meant."""
    text = "/".join([execution_id, *map(str, parts)])
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big") or 1


def attempt_id(execution_id: str, key: tuple[str, int, int | None], attempt: int) -> int:
    """The id of an attempt's span; `key` is node, run and item."""
    return span_id(execution_id, *key, attempt)


def header(trace_id: int, span: int, *, sampled: bool) -> str:
    """The `traceparent` that is sent on."""
    return f"00-{trace_id:032x}-{span:016x}-{'01' if sampled else '00'}"
