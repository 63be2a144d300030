"""What single nodes did in a run: from our own event log, or from what another runner logged."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson

_NUMBERS = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}|0x[0-9a-f]+|\d+", re.IGNORECASE)
_NAMES = ("node_id", "node", "name", "task")
MOST_NODES = 50


@dataclass(slots=True)
class NodeFacts:
    """One run: seconds by node, whether anything was tried again, seconds it waited to begin."""

    seconds: dict[str, float] = field(default_factory=dict)
    retried: bool = False
    wait: float = float("nan")


def of_events(rows: Iterable[str]) -> NodeFacts:
    """From the rows of an execution's event log, in order."""
    facts, begun, accepted = NodeFacts(), {}, None
    for row in rows:
        for event in orjson.loads(row):
            name, at = event.get("e"), event.get("at")
            if name == "started":
                accepted = at
            elif name == "node_started":
                begun[event["node"], event.get("run", 0)] = at
                if accepted is not None and facts.wait != facts.wait:
                    facts.wait = _between(accepted, at)
            elif name == "node_ended" and (start := begun.get((event["node"], event.get("run", 0)))):
                _add(facts, event["node"], _between(start, at))
            elif name in ("attempt_ended", "attempt_started") and event.get("attempt", 1) > 1:
                facts.retried = True
    return facts


def of_logs(logs: Any) -> NodeFacts:
    """From the node logs of another runner: objects with a name and `duration_ms`; anything else is passed over."""
    facts = NodeFacts()
    for log in logs if isinstance(logs, list) else ():
        if not isinstance(log, Mapping):
            continue
        name = next((log[key] for key in _NAMES if isinstance(log.get(key), str)), None)
        took = log.get("duration_ms")
        if name is not None and isinstance(took, int | float) and not isinstance(took, bool) and took >= 0:
            _add(facts, name, took / 1000)
        retries = log.get("retry_count", log.get("retries", 0))
        facts.retried = facts.retried or (isinstance(retries, int) and retries > 0)
    return facts


def error_class(text: str | None) -> str:
    """An error without what differs from time to time: ids and numbers."""
    return _NUMBERS.sub("#", text.strip().split("\n", 1)[0])[:120] if text else ""


def _add(facts: NodeFacts, node: str, seconds: float) -> None:
    if node in facts.seconds or len(facts.seconds) < MOST_NODES:
        facts.seconds[node] = facts.seconds.get(node, 0.0) + max(seconds, 0.0)


def _between(start: str, end: str) -> float:
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()
