"""Who may be driven next: by turns over the workflows, and never more at once than the limits allow. Pure."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from uuid import UUID

from models.turns import Live, Waiting


class Room:
    """The places that are left, given what is driven now. Derived from executions that somebody drives: it cannot leak."""

    def __init__(self, live: Iterable[Live], *, per_key: int) -> None:
        """`per_key`: executions of one key at once, 0 = any number."""
        self._per_key = per_key
        self._of_workflow: dict[UUID | None, int] = defaultdict(int)
        self._of_key: dict[UUID | None, int] = defaultdict(int)
        for group in live:
            self._of_workflow[group.workflow_id] += group.n
            self._of_key[group.key_id] += group.n

    @property
    def full_keys(self) -> list[UUID]:
        """Keys that may have nothing more."""
        full = (key for key, n in self._of_key.items() if key is not None and n >= self._per_key)
        return list(full) if self._per_key else []

    def obstacle(self, waiting: Waiting) -> str | None:
        """Which limit keeps it waiting, in words; None when it may go on."""
        if waiting.most is None:
            return None
        of_workflow, of_key = self._of_workflow[waiting.workflow_id], self._of_key[waiting.key_id]
        if waiting.most and of_workflow >= waiting.most:
            return f"{of_workflow} executions of this workflow are driven and max_parallel_executions is {waiting.most}"
        if self._per_key and waiting.key_id is not None and of_key >= self._per_key:
            return f"{of_key} executions of this key are driven and MAX_PARALLEL_EXECUTIONS_PER_KEY is {self._per_key}"
        return None

    def take(self, waiting: Waiting) -> bool:
        """Take a place for it, if there is one."""
        if self.obstacle(waiting) is not None:
            return False
        self._of_workflow[waiting.workflow_id] += 1
        self._of_key[waiting.key_id] += 1
        return True

    def admitted(self, waiting: Iterable[Waiting]) -> list[Waiting]:
        """Those that find a place, in their order; each takes it."""
        return [one for one in waiting if self.take(one)]


def by_turns(waiting: Sequence[Waiting]) -> list[Waiting]:
    """One of each workflow, then the next of each, and so on; within a workflow the order stays."""
    queues: dict[UUID | None, deque[Waiting]] = {}
    for one in waiting:
        queues.setdefault(one.workflow_id, deque()).append(one)
    ordered: list[Waiting] = []
    while queues:
        for workflow in list(queues):
            ordered.append(queues[workflow].popleft())
            if not queues[workflow]:
                del queues[workflow]
    return ordered
