"""Nearest runs by brute force over a matrix in memory: exact, and quick enough to some hundred thousand runs.

What filters need stands in small arrays beside the matrix, so that a filter is a mask and only admitted rows are
ranked. numpy is imported when the first index is made.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from models.run_facts import RunFilter, Visible
from services.history.vectors import Entry, Hit

if TYPE_CHECKING:
    import numpy as np

    Floats = np.ndarray[Any, np.dtype[np.float32]]
    Mask = np.ndarray[Any, np.dtype[np.bool_]]

NOBODY = -1
_TEXTS = ("wpk_id", "status", "source", "workflow")
_NUMBERS = ("community", "created_ms", "duration_ms")


class _Codes:
    """Small integers for repeated texts, so that comparing a column is comparing integers."""

    def __init__(self) -> None:
        self._codes: dict[object, int] = {}

    def learn(self, value: object) -> int:
        return self._codes.setdefault(value, len(self._codes))

    def of(self, value: object) -> int:
        return self._codes.get(value, NOBODY)


class VectorIndex:
    """Runs of one model, all of `dims` dimensions."""

    def __init__(self, dims: int) -> None:
        import numpy as np

        self._np = np
        self.dims = dims
        self._rows: dict[UUID, int] = {}
        self._ids: list[UUID | None] = []
        self._codes = {name: _Codes() for name in _TEXTS}
        self._matrix: Floats = np.empty((0, dims), np.float32)
        self._columns = {name: np.empty(0, np.int64) for name in (*_TEXTS, *_NUMBERS)}

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, entries: Sequence[Entry]) -> None:
        """Take in entries, replacing earlier ones of the same runs."""
        self._reserve(len(self._ids) + len(entries))
        for entry in entries:
            row = self._rows.get(entry.id)
            if row is None:
                row = self._rows[entry.id] = len(self._ids)
                self._ids.append(entry.id)
            self._matrix[row] = entry.vector
            for name, value in self._facts(entry):
                self._columns[name][row] = value

    def remove(self, ids: Iterable[UUID]) -> None:
        """Forget runs; their rows stay empty until the index is built anew."""
        for run in ids:
            if (row := self._rows.pop(run, None)) is not None:
                self._ids[row] = None
                self._matrix[row] = 0.0
                self._columns["community"][row] = NOBODY
                self._columns["workflow"][row] = NOBODY

    def keep_newest(self, count: int) -> None:
        """Forget the oldest runs until `count` are left."""
        if len(self) > count:
            created = self._columns["created_ms"]
            oldest = sorted(self._rows, key=lambda run: int(created[self._rows[run]]))
            self.remove(oldest[: len(self) - count])

    def search(self, vector: Sequence[float], runs: RunFilter, k: int) -> list[Hit]:
        """The `k` nearest runs that the filter admits, best first."""
        np, size = self._np, len(self._ids)
        mask = self._mask(runs)[:size]
        rows = np.flatnonzero(mask)
        if not len(rows):
            return []
        matrix = self._matrix[:size] if len(rows) > size // 8 else self._matrix[rows]
        scores = matrix @ np.asarray(vector, np.float32)
        if len(scores) != len(rows):
            scores = scores[rows]
        best = np.argpartition(-scores, min(k, len(scores)) - 1)[:k]
        best = best[np.argsort(-scores[best], kind="stable")]
        return [Hit(found, float(scores[i])) for i in best if (found := self._ids[rows[i]]) is not None]

    def _reserve(self, size: int) -> None:
        if size <= len(self._matrix):
            return
        np, capacity = self._np, max(1024, int(size * 1.3))
        matrix = np.zeros((capacity, self.dims), np.float32)
        matrix[: len(self._matrix)] = self._matrix
        self._matrix = matrix
        for name, column in self._columns.items():
            grown = np.full(capacity, NOBODY, np.int64)
            grown[: len(column)] = column
            self._columns[name] = grown

    def _facts(self, entry: Entry) -> Iterable[tuple[str, int]]:
        texts = (entry.wpk_id, entry.status, entry.source, entry.workflow_id)
        for name, text in zip(_TEXTS, texts, strict=True):
            yield name, self._codes[name].learn(text)
        yield "community", entry.community_id or 0
        yield "created_ms", _millis(entry.created_at)
        yield "duration_ms", NOBODY if entry.duration_ms is None else entry.duration_ms

    def _mask(self, runs: RunFilter) -> Mask:
        columns = self._columns
        mask: Mask = columns["community"] != NOBODY
        for name, value in (("wpk_id", runs.wpk_id), ("status", runs.status), ("source", runs.source)):
            if value is not None:
                mask &= columns[name] == self._codes[name].of(value)
        if runs.since is not None:
            mask &= columns["created_ms"] >= _millis(runs.since)
        if runs.until is not None:
            mask &= columns["created_ms"] < _millis(runs.until)
        if runs.min_duration_ms is not None:
            mask &= columns["duration_ms"] >= runs.min_duration_ms
        return mask if runs.visible.everything else mask & self._visible(runs.visible)

    def _visible(self, visible: Visible) -> Mask:
        np, codes = self._np, self._codes["workflow"]
        workflows = [codes.of(w) for w in visible.workflows]
        unregistered = self._columns["workflow"] == codes.of(None)
        members = np.isin(self._columns["community"], [0, *visible.communities])
        mask: Mask = (unregistered & members) | np.isin(
            self._columns["workflow"], [w for w in workflows if w != NOBODY]
        )
        return mask


def _millis(at: datetime) -> int:
    return int(at.timestamp() * 1000)
