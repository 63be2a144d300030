"""What the actions of a scenario answer: results by task, route, item and how often they ran."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

STATUSES = {"succeeded", "failed", "timeout", "abandoned", "canceled", "pending"}


@dataclass(frozen=True, slots=True)
class Answer:
    """How one run of an action ends."""

    status: str
    result: Any


class Mocks:
    """Hands out the answers of a scenario; a task that is not listed succeeds with null."""

    def __init__(self, results: Mapping[str, Any]) -> None:
        self._results = results
        self._runs: Counter[tuple[str, str, int | None]] = Counter()

    def next(self, task: str, route: str, item: int | None) -> Answer:
        """The answer to the next run of the action of this instance; the last entry of a list repeats."""
        key = (task, route, item)
        entry = self._entry(task, route, item)
        if isinstance(entry, list):
            entry = entry[min(self._runs[key], len(entry) - 1)]
        self._runs[key] += 1
        status = entry.get("status", "succeeded")
        if status not in STATUSES:
            raise ValueError(f"{task}: unknown status {status!r} of a mocked result")
        return Answer(status, entry.get("result"))

    def _entry(self, task: str, route: str, item: int | None) -> Any:
        entry = self._results.get(task, {})
        while isinstance(entry, Mapping):
            if "routes" in entry:
                entry = entry["routes"].get(route, entry.get("default", {}))
            elif "items" in entry:
                entry = nth(entry["items"], item)
            else:
                break
        return entry


def nth(entries: Any, item: int | None) -> Any:
    """The entry of one item; an item past the end succeeds with null."""
    return entries[item] if item is not None and item < len(entries) else {}
