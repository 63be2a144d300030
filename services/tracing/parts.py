"""Which rows of a log one process has to tell of, so that every span is sent once. Pure.

A worker tells of what was written since the last one let go, when it lets go itself or when the execution ends. What a
dead worker wrote is told by the one that takes over: its first row says `claimed`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from services.engine.events import Claimed, Troubled

if TYPE_CHECKING:
    from services.execution.journal import EventRow


def told_by(rows: Sequence[EventRow], epoch: int | None) -> range:
    """The `seq` numbers that the worker with this epoch tells of; None: whoever ended an execution from outside."""
    driven = [at for at, row in enumerate(rows) if row.driver is not None]
    if epoch is None:
        first = driven[-1] + 1 if driven and len(rows) > 1 else 0
        return _numbers(rows, first, len(rows) - 1)
    own = [at for at in driven if rows[at].epoch == epoch]
    if not own:
        return range(0)
    return _numbers(rows, _first(rows, driven, own[0]), own[-1])


def _first(rows: Sequence[EventRow], driven: Sequence[int], at: int) -> int:
    """Go back over everybody whose work was taken over, then to behind the one who let go."""
    before = [place for place in driven if place < at]
    while before and _takes_over(rows[at]):
        epoch = rows[before[-1]].epoch
        at = next(place for place in before if rows[place].epoch == epoch)
        before = [place for place in before if place < at]
    return before[-1] + 1 if before else 0


def _takes_over(row: EventRow) -> bool:
    return any(
        isinstance(event, Claimed) or (isinstance(event, Troubled) and event.kind == "quarantined")
        for event in row.events
    )


def _numbers(rows: Sequence[EventRow], first: int, last: int) -> range:
    return range(rows[first].seq, rows[last].seq + 1) if first <= last else range(0)
