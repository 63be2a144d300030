"""A whole round of the journal as one statement (PostgreSQL): no BEGIN, no COMMIT, one journey to the server and back.

That is possible for what executions write nearly always: a start, a step, an end, letting go. The statement is
optimistic: it takes for granted that every place is free. When one is taken it fails, nothing of it is written, and
the round is written again the careful way (`journal.write_postgres`), which knows how to leave out one unit.

PostgreSQL runs the parts of a WITH that change something from the last to the first; they are named in reverse, so that
rows are locked in the same order as there. No part sees what another one writes, so a unit that touches a row twice
does not fit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from models.bulk import Bulk, Row
from models.journal import PLAIN, Rows, Unit, Written, by_statement
from models.journal_news import CHANNEL, News
from models.journal_statements import (
    APPEND_PLAIN,
    AUDIT,
    COUNT_DAYS,
    COUNT_RUNS,
    ENQUEUE,
    FINISH,
    OPEN_INQUIRY,
    OUTBOX,
    PARK,
    PAYLOAD,
    RUN,
    RUN_COUNT,
    START,
    STATUS,
    TAKEN_OVER,
)

OF_THE_SUMMARY = frozenset(bulk.name for bulk in (START, FINISH, STATUS, TAKEN_OVER, PARK))
"""Statements that change the execution's own row: a unit with two of them does not fit."""
OF_OTHERS = frozenset(
    bulk.name for bulk in (PAYLOAD, OPEN_INQUIRY, RUN, OUTBOX, AUDIT, COUNT_RUNS, RUN_COUNT, COUNT_DAYS)
)
Group = tuple[Bulk, list[Row]]


class AtOnce:
    """Makes the statement of a round. The texts are kept: there are few, because executions do the same things."""

    def __init__(self, count: Callable[[int], None] = lambda _units: None) -> None:
        """`count` is told how many units were written together."""
        self._count = count
        self._texts: dict[tuple[str, ...], str] = {}

    def fits(self, unit: Unit) -> bool:
        """Whether the unit can be written so."""
        if unit.guards:
            return False
        own = 0
        for bulk, _ in unit.also:
            if bulk.name in OF_THE_SUMMARY:
                own += 1
            elif bulk.name not in OF_OTHERS:
                return False
        return own < 2

    def statement(self, units: Sequence[Unit]) -> tuple[str, list[Any]]:
        """The text and its values."""
        news = News()
        news.gather(units, {})
        groups: list[Group] = [(APPEND_PLAIN, _sorted(units)), *by_statement(units)]
        if jobs := news.jobs:
            groups.append((ENQUEUE, jobs))
        values: list[Any] = [column for bulk, rows in groups for column in bulk.arrays(rows)]
        told = news.text
        if told is not None:
            values.append(told)
        return self._text([bulk for bulk, _ in groups], told is not None), values

    def outcomes(self, units: Sequence[Unit], rows: Rows) -> list[Written]:
        """What became of each unit: it was written, and perhaps let go."""
        self._count(len(units))
        parked = {str(row[0]) for row in rows if row[0] is not None}
        if not parked:
            return [PLAIN] * len(units)
        return [Written(True, parked=True) if unit.event[0] in parked else PLAIN for unit in units]

    def _text(self, bulks: Sequence[Bulk], telling: bool) -> str:
        key = (*[bulk.name for bulk in bulks], "told" if telling else "")
        text = self._texts.get(key)
        if text is None:
            text = self._texts[key] = _joined(bulks, telling)
        return text


def _sorted(units: Sequence[Unit]) -> list[Row]:
    return sorted((unit.event for unit in units), key=lambda row: row[:2])


def _joined(bulks: Sequence[Bulk], telling: bool) -> str:
    parts, first = [], 1
    for bulk in bulks:
        parts.append(f"{bulk.name} AS ({bulk.postgres_from(first)})")
        first += len(bulk.fields)
    answer = "SELECT execution_id FROM park" if PARK in bulks else "SELECT NULL"
    if telling:
        parts.append(f"told AS (SELECT pg_notify('{CHANNEL}', ${first}))")
        answer = f"SELECT NULL::uuid FROM told UNION ALL {answer}" if PARK in bulks else "SELECT NULL FROM told"
    return f"WITH {', '.join(reversed(parts))} {answer}"
