"""Where series come from: one interface, whoever answers."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from services.access.actor import Actor
from services.errors import BadRequest

MAX_POINTS = 11_000
"""Points of one series that a query may ask for; Prometheus has the same limit."""
MAX_SERIES = 1_000
LOCAL = "local:"
_SELECTOR = re.compile(r"^([a-zA-Z_:][a-zA-Z0-9_:]*)\s*(?:\{(.*)\})?$", re.DOTALL)
_LABEL = re.compile(r'\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*=\s*("(?:[^"\\]|\\.)*")\s*(?:,|$)')


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A question: which series, from when to when, at which distance of points, on whose behalf."""

    query: str
    start: datetime
    end: datetime
    step_s: int
    actor: Actor

    @property
    def points(self) -> int:
        """How many points a series of the answer has at most."""
        return int((self.end - self.start).total_seconds() // self.step_s) + 1


@dataclass(frozen=True, slots=True)
class RawSeries:
    """One series as a source gave it, neither sorted nor cleaned. Times in seconds since 1970."""

    metric: str
    labels: Mapping[str, str]
    times: Sequence[float]
    values: Sequence[float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """An answer: series, or the bytes of a Prometheus answer, which are read where they disturb nobody."""

    source: str
    series: Sequence[RawSeries] = ()
    prometheus: bytes | None = None


class Source(Protocol):
    """Answers questions about series.

    Raises `BadRequest` for a query it does not understand or that finds nothing, `Unavailable` when it cannot answer.
    """

    async def fetch(self, wanted: Wanted) -> Fetched:
        """Every series the query names."""
        ...


class Sources:
    """Asks Prometheus where it is set, the server itself for `local:` and for everything when it is not."""

    def __init__(self, local: Source, prometheus: Source | None) -> None:
        self._local, self._prometheus = local, prometheus

    async def fetch(self, wanted: Wanted) -> Fetched:
        """Every series the query names; `BadRequest` when it asks for too many points."""
        if wanted.points > MAX_POINTS:
            raise BadRequest(
                f"That is {wanted.points:,} points a series; at most {MAX_POINTS:,} are possible: "
                f"ask for a longer step or a shorter lookback"
            )
        if self._prometheus is None or wanted.query.strip().startswith(LOCAL):
            return await self._local.fetch(wanted)
        return await self._prometheus.fetch(wanted)


@dataclass(frozen=True, slots=True)
class Selector:
    """A metric and the labels it must have: `workflow_runs_total{workflow="etl.nightly"}`."""

    metric: str
    labels: Mapping[str, str]


def parse_selector(query: str) -> Selector:
    """Read the query of a local metric; `BadRequest` says what is wrong with it."""
    found = _SELECTOR.match(query.strip().removeprefix(LOCAL).strip())
    if found is None:
        raise BadRequest(
            f'Local queries are a metric with labels, like workflow_runs_total{{workflow="…"}}; not {query!r}'
        )
    labels: dict[str, str] = {}
    rest = (found.group(2) or "").strip()
    while rest:
        label = _LABEL.match(rest)
        if label is None:
            raise BadRequest(f'Labels are name="value" pairs; cannot read {rest!r}')
        labels[label.group(1)] = json.loads(label.group(2))
        rest = rest[label.end() :]
    return Selector(metric=found.group(1), labels=labels)


def series_key(metric: str, labels: Mapping[str, str]) -> str:
    """Metric and labels in one canonical text."""
    if not labels:
        return metric
    inside = ",".join(f"{name}={json.dumps(labels[name], ensure_ascii=False)}" for name in sorted(labels))
    return f"{metric}{{{inside}}}"
