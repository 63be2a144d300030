"""The grouped, fenced writing of the journal: many executions' appends as one transaction.

A `Unit` is what one execution writes at one moment. Its event row is the fence: when `(execution_id, seq)` is taken,
nothing else of the unit is written. A unit with guards (an idempotency key, an inquiry that may have been answered) is
written by itself, because a guard decides whether there is anything to write at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from msgspec import Struct, field

from models.bulk import Bulk, Row
from models.journal_news import News
from models.journal_statements import APPEND, APPEND_FENCED, LAST, ORDER, PARK, WAKE

Rows = Sequence[Sequence[Any]]
PLACE = {bulk.name: place for place, bulk in enumerate((*ORDER, *LAST))}


class Unit(Struct):
    """What is written together: the event row (the columns of APPEND), and rows for further statements."""

    event: Row
    also: list[tuple[Bulk, Row]] = field(default_factory=list)
    guards: list[tuple[Bulk, Row]] = field(default_factory=list)
    endings: tuple[Any, ...] = ()  # what ends with it: told to whoever counts, once it is written

    def add(self, bulk: Bulk, *row: Any) -> None:
        """Write this row, too."""
        self.also.append((bulk, row))

    def include(self, other: Unit) -> None:
        """Write another execution's unit in the same transaction, unless that execution exists already."""
        self.also.append((APPEND, other.event))
        self.also += other.also
        self.endings += other.endings


class Written(Struct, frozen=True):
    """What became of a unit. Not `committed`: somebody wrote at its place before, or `refused_by` names the guard."""

    committed: bool
    refused_by: str | None = None
    parked: bool = False
    woken: tuple[tuple[str, str | None], ...] = ()  # execution, and who drives it


class PlaceTaken(Exception):
    """Somebody wrote at the place of one of these rows before."""


LOST = Written(False)
PLAIN = Written(True)


class SqliteRound(Protocol):
    """The writer thread's open transaction."""

    def fetch(self, sql: str, arguments: Sequence[Any] = ()) -> Rows:
        """The rows of a statement."""
        ...

    def change(self, sql: str, arguments: Sequence[Any] = ()) -> int:
        """How many rows a statement changed."""
        ...


class PostgresRound(Protocol):
    """A connection with an open transaction."""

    async def fetch(self, sql: str, *arguments: Any) -> Rows:
        """The rows of a statement."""
        ...


# ---- SQLite: in the writer's thread, inside the writer's transaction -------------------------------------------------


def write_sqlite(round_: SqliteRound, units: Sequence[Unit]) -> list[Written]:
    """Write a round; one outcome for each unit."""
    outcomes: dict[int, Written] = {}
    plain = [unit for unit in units if not unit.guards]
    if plain:
        written = _sqlite_appends(round_, plain)
        answers = _sqlite_rest(round_, written)
        outcomes = {id(unit): answers.of(unit) for unit in written}
    for unit in units:
        if unit.guards:
            outcomes[id(unit)] = _sqlite_guarded(round_, unit)
    return [outcomes.get(id(unit), LOST) for unit in units]


def _sqlite_appends(round_: SqliteRound, units: Sequence[Unit]) -> Sequence[Unit]:
    """The units whose place was free. Raises PlaceTaken when one of several was not: the writer then tries each alone."""
    rows = [unit.event for unit in units]
    if sum(round_.change(sql, values) for sql, values in APPEND.sqlite(rows)) == len(rows):
        return units
    if len(units) > 1:
        raise PlaceTaken
    return ()


def _sqlite_rest(round_: SqliteRound, units: Sequence[Unit]) -> Answers:
    answers = Answers()
    for bulk, rows in by_statement(units):
        for sql, values in bulk.sqlite(rows):
            if bulk.returning:
                answers.take(bulk, round_.fetch(sql, values))
            else:
                round_.change(sql, values)
    return answers


def _sqlite_guarded(round_: SqliteRound, unit: Unit) -> Written:
    round_.change("SAVEPOINT guarded")
    try:
        for bulk, row in unit.guards:
            if not round_.fetch(*next(bulk.sqlite([row]))):
                round_.change("ROLLBACK TO guarded")
                return Written(False, refused_by=bulk.name)
        if not round_.change(*next(APPEND.sqlite([unit.event]))):
            round_.change("ROLLBACK TO guarded")
            return LOST
        return _sqlite_rest(round_, [unit]).of(unit)
    finally:
        round_.change("RELEASE guarded")


# ---- PostgreSQL ------------------------------------------------------------------------------------------------------


async def write_postgres(round_: PostgresRound, units: Sequence[Unit]) -> list[Written]:
    """Write a round of units without guards, or a single one with them; one outcome for each."""
    outcomes: dict[int, Written] = {}
    plain = [unit for unit in units if not unit.guards]
    news = News()
    if plain:
        written = await _postgres_appends(round_, plain)
        answers = await _postgres_rest(round_, written)
        outcomes = {id(unit): answers.of(unit) for unit in written}
        news.gather(written, answers.drivers)
    for unit in units:
        if unit.guards:
            outcomes[id(unit)] = await _postgres_guarded(round_, unit, news)
    for sql, values in news.statements():
        await round_.fetch(sql, *values)
    return [outcomes.get(id(unit), LOST) for unit in units]


async def _postgres_appends(round_: PostgresRound, units: Sequence[Unit]) -> Sequence[Unit]:
    first = {unit.event[:2]: unit for unit in reversed(units)}  # of two at one place, the one that came first
    rows = sorted((unit.event for unit in first.values()), key=lambda row: row[:2])
    taken = await round_.fetch(APPEND_FENCED.postgres, *APPEND.arrays(rows))
    if len(taken) == len(units):
        return units
    return [first[str(row[0]), row[1]] for row in taken]


async def _postgres_rest(round_: PostgresRound, units: Sequence[Unit]) -> Answers:
    answers = Answers()
    for bulk, rows in by_statement(units):
        answers.take(bulk, await round_.fetch(bulk.postgres, *bulk.arrays(rows)))
    return answers


async def _postgres_guarded(round_: PostgresRound, unit: Unit, news: News) -> Written:
    await round_.fetch("SAVEPOINT guarded")
    for bulk, row in unit.guards:
        if not await round_.fetch(bulk.postgres, *bulk.arrays([row])):
            await round_.fetch("ROLLBACK TO SAVEPOINT guarded")
            return Written(False, refused_by=bulk.name)
    if not await _postgres_appends(round_, [unit]):
        await round_.fetch("ROLLBACK TO SAVEPOINT guarded")
        return LOST
    answers = await _postgres_rest(round_, [unit])
    news.gather([unit], answers.drivers)
    await round_.fetch("RELEASE SAVEPOINT guarded")
    return answers.of(unit)


# ---- both ------------------------------------------------------------------------------------------------------------


def by_statement(units: Iterable[Unit]) -> list[tuple[Bulk, list[Row]]]:
    """The rows of all units by statement, in a fixed order and sorted, so that processes do not lock crosswise."""
    groups: dict[str, tuple[Bulk, list[Row]]] = {}
    for unit in units:
        for bulk, row in unit.also:
            group = groups.get(bulk.name)
            if group is None:
                groups[bulk.name] = (bulk, [row])
            else:
                group[1].append(row)
    ordered = sorted(groups.values(), key=lambda group: PLACE.get(group[0].name, -1))
    return [(bulk, _sorted(bulk, rows)) for bulk, rows in ordered]


def _sorted(bulk: Bulk, rows: list[Row]) -> list[Row]:
    if bulk.summed is not None:
        return bulk.summed(rows)
    return sorted(rows, key=lambda row: str(row[0])) if len(rows) > 1 else rows


class Answers:
    """What the statements of a round answered."""

    __slots__ = ("drivers", "parked")

    def __init__(self) -> None:
        self.parked: set[str] = set()
        self.drivers: dict[str, str | None] = {}

    def take(self, bulk: Bulk, rows: Rows) -> None:
        """Keep what somebody will ask for."""
        if bulk is PARK:
            self.parked.update(str(row[0]) for row in rows)
        elif bulk is WAKE:
            self.drivers.update((str(row[0]), None if row[1] is None else str(row[1])) for row in rows)

    def of(self, unit: Unit) -> Written:
        """The part that belongs to one unit."""
        if not self.parked and not self.drivers:
            return PLAIN
        parked = any(bulk is PARK and row[0] in self.parked for bulk, row in unit.also)
        woken = [row[0] for bulk, row in unit.also if bulk is WAKE and row[0] in self.drivers]
        if not parked and not woken:
            return PLAIN
        return Written(True, parked=parked, woken=tuple((id_, self.drivers[id_]) for id_ in woken))
