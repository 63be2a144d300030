"""What a process knows of one execution: its facts, its graph, and the fold of its events up to some `seq`."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from msgspec import Struct, field

from models.executions import ExecutionRow
from services.engine.graph import Graph
from services.engine.state import State


class Facts(Struct, frozen=True, kw_only=True):
    """What never changes about an execution. Ids are text."""

    execution_id: str
    workflow_id: str | None
    workflow_ref: str
    workflow_version: str
    package_id: str
    version_id: str
    community_id: int | None
    start_time: datetime
    triggered_by: int | None
    key_id: str | None = None
    parent_execution_id: str | None = None
    parent_node: str | None = None
    depth: int = 1
    rerun_of: str | None = None
    metadata: Any = None
    traceparent: str | None = None

    @classmethod
    def of(cls, row: ExecutionRow) -> Facts:
        """The facts in a summary row."""
        return cls(
            execution_id=str(row.execution_id),
            workflow_id=_text(row.workflow_id),
            workflow_ref=row.workflow_ref,
            workflow_version=row.workflow_version,
            package_id=row.package_id,
            version_id=str(row.version_id),
            community_id=row.community_id,
            start_time=row.start_time,
            triggered_by=row.triggered_by,
            key_id=_text(row.key_id),
            parent_execution_id=_text(row.parent_execution_id),
            parent_node=row.parent_node,
            depth=row.depth,
            rerun_of=_text(row.rerun_of),
            metadata=row.metadata,
            traceparent=row.traceparent,
        )


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


class Book(Struct):
    """One execution, folded. Owned by exactly one task at a time; `next_seq` is where its next row goes."""

    facts: Facts
    graph: Graph
    state: State
    next_seq: int = 0
    last_at: datetime | None = None
    spent_s: float = 0.0  # time between claim and park so far, as far as this process knows
    pack: Mapping[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """The execution's id."""
        return self.facts.execution_id


class Shelf:
    """Books that nobody is using, the least recently used thrown away. Taking one removes it: one owner."""

    def __init__(self, size: int = 256) -> None:
        self._size = size
        self._books: OrderedDict[str, Book] = OrderedDict()

    def put(self, book: Book) -> None:
        """Leave a book that is no longer written in."""
        self._books[book.id] = book
        self._books.move_to_end(book.id)
        if len(self._books) > self._size:
            self._books.popitem(last=False)

    def take(self, execution_id: str) -> Book | None:
        """The book, if it is still here."""
        return self._books.pop(execution_id, None)
