"""The journal of all executions: appends go through the grouped writer, reads put large values back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from msgspec import Struct

from models import executions
from models.journal import Unit, Written, write_postgres, write_sqlite
from models.journal_at_once import AtOnce
from models.journal_statements import PAYLOAD
from services.engine.events import FORMAT, Event
from services.engine.replay import decode, encode
from services.execution.telemetry import Telemetry

INLINE_BYTES = 64 * 1024
"""A row larger than this keeps its text in `payload`."""
LARGE = "{"
"""How the text of such a row begins; all others are lists."""


class Append(Struct, frozen=True):
    """Where a row goes, and who says so. `driver` None: a request from outside, by nobody who drives."""

    execution_id: str
    seq: int
    driver: str | None
    epoch: int
    at: datetime


class EventRow(Struct, frozen=True):
    """One stored row, its events decoded."""

    seq: int
    driver: UUID | None
    epoch: int
    at: datetime
    events: tuple[Event, ...]


class Journal:
    """Writes and reads event rows."""

    def __init__(self, db: Any, telemetry: Telemetry) -> None:
        self._db = db
        self._telemetry = telemetry
        counted = telemetry.metrics.journal_batch.observe
        self._lane = db.grouped(
            sqlite=_counted(write_sqlite, counted), postgres=_counted(write_postgres, counted), single=AtOnce(counted)
        )

    def unit(self, place: Append, events: Sequence[Event]) -> Unit:
        """What one append writes, to be added to before it is written."""
        text = orjson.dumps(encode(events)).decode()
        large = len(text) > INLINE_BYTES
        shown = f'{{"payload":{place.seq}}}' if large else text
        unit = Unit((place.execution_id, place.seq, place.driver, place.epoch, FORMAT, shown, place.at))
        if large:
            unit.add(PAYLOAD, place.execution_id, place.seq, text)
        return unit

    async def write(self, unit: Unit) -> Written:
        """Write a unit together with whatever else waits; returns when it is durable."""
        written: Written = await self._lane.submit(unit)
        if unit.endings and written.committed:
            self._telemetry.ended(unit)
        return written

    def was_written(self, unit: Unit) -> Written:
        """What is known of a unit whose answer was lost and whose row is there."""
        if unit.endings:
            self._telemetry.ended(unit)
        return Written(True)

    async def rows(self, execution_id: str, *, after: int = -1) -> list[EventRow]:
        """The rows behind `after`, oldest first."""
        found = await executions.events_after(self._db, UUID(execution_id), after)
        texts = {row["seq"]: row["events"] for row in found}
        large = [seq for seq, text in texts.items() if text.startswith(LARGE)]
        if large:
            texts |= await executions.payloads(self._db, UUID(execution_id), first=large[0])
        return [
            EventRow(row["seq"], row["driver"], row["epoch"], row["at"], decoded(texts[row["seq"]], row["v"]))
            for row in found
        ]

    async def rows_of_many(self, ids: Sequence[UUID], *, after: int = -1) -> dict[str, list[EventRow]]:
        """The rows of these executions behind `after`; one with large values, or unreadable, is left out (PostgreSQL)."""
        found: dict[str, list[EventRow]] = {}
        left_out: set[str] = set()
        for row in await executions.events_of_many(self._db, ids, after):
            execution_id, text = str(row["execution_id"]), row["events"]
            try:
                events = decoded(text, row["v"]) if not text.startswith(LARGE) else None
            except Exception:  # noqa: BLE001 - read by itself it will say what is wrong, and hinder nobody
                events = None
            if events is None:
                left_out.add(execution_id)
                continue
            stored = EventRow(row["seq"], row["driver"], row["epoch"], row["at"], events)
            found.setdefault(execution_id, []).append(stored)
        return {execution_id: rows for execution_id, rows in found.items() if execution_id not in left_out}


def _counted(write: Callable[..., Any], count: Callable[[int], None]) -> Callable[..., Any]:
    """The writer of a round, with its members counted."""

    def write_round(round_: Any, units: Sequence[Unit]) -> Any:
        count(len(units))
        return write(round_, units)

    return write_round


def decoded(text: str, version: int) -> tuple[Event, ...]:
    """The events of a row's text."""
    return tuple(decode(orjson.loads(text), version=version))
