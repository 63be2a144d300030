"""Watches: probes that run by themselves, each on exactly one worker, as the person who made it.

A watch remembers every series it has seen: where it stopped, whether an incident is open, and what the detector has
learned. An incident is one signal however long it lasts; it may start a workflow with the signal as input.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import models.access
from models import signals
from models.records import uuid7
from models.signals import SignalRow, WatchRow, Whose
from services.access.actor import Actor
from services.access.audit import AuditLog, Category, Entry, Result, say
from services.errors import BadRequest, MillraceError, NotFound
from services.idempotency import Also, nothing
from services.insight.jobs import Judged, WatchJob
from services.insight.probes import METHODS, Computer, Probes
from services.insight.sources import Sources, Wanted

log = logging.getLogger("millrace.insight")
ROUND = 100
"""Due watches that one worker takes at a time."""
FETCHES = 8
HISTORY_POINTS = 10_000
"""Points of the past from which a new `auto` watch learns."""
STALE_S = 300

Start = Callable[[Actor, str, Mapping[str, Any], Mapping[str, Any]], Awaitable[object]]
"""Starts a workflow: as whom, which, variables, metadata."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchWish:
    """What to watch. `lookback_minutes` None = as far back as the method can use."""

    query: str
    every_seconds: int = 60
    threshold: float = 2.0
    method: str = "auto"
    step_seconds: int | None = None
    lookback_minutes: int | None = None
    notify: Mapping[str, Any] | None = None


@dataclass(slots=True)
class _Turn:
    """One watch in one round: as whom it runs, and its job or what went wrong."""

    row: WatchRow
    actor: Actor | None = None
    job: WatchJob | None = None
    error: str | None = None


class Watches:
    """Keeps watches and runs those that are due."""

    def __init__(self, db: Any, sources: Sources, computer: Computer, probes: Probes, *, audit: AuditLog) -> None:
        self._db, self._sources, self._computer, self._probes = db, sources, computer, probes
        self._audit = audit
        self._worker = uuid7()
        self.start: Start | None = None
        """How a workflow is started; set when the server can."""

    # ---- keeping ----

    async def create(self, actor: Actor, wish: WatchWish, *, now: datetime, also: Also = nothing) -> WatchRow:
        """A new watch of the caller; its first run comes at once. BadRequest when it cannot work.

        `also` yields statements of the same transaction for its id.
        """
        if wish.method not in METHODS:
            raise BadRequest(f"No method {wish.method!r}; there are {', '.join(METHODS)}")
        step = wish.step_seconds or min(max(wish.every_seconds, 15), 3600)
        points = HISTORY_POINTS if wish.method == "auto" else 120
        lookback = wish.lookback_minutes or max(points * step // 60, 1)
        row = WatchRow(
            id=uuid7(),
            query=wish.query,
            every_seconds=wish.every_seconds,
            threshold=wish.threshold,
            method=wish.method,
            lookback_minutes=lookback,
            step_seconds=step,
            notify=dict(wish.notify) if wish.notify else None,
            owner_id=actor.user_id,
            community_id=actor.community_id,
            enabled=True,
            next_at=now,
            last_at=None,
            last_error=None,
            worker=None,
            created=now,
        )
        entry = _entry(actor, "create_watch", row)
        await self._db.batch(*also(row.id), signals.insert_watch(self._db, row), self._audit.call(entry))
        say(entry)
        return row

    async def list(self, actor: Actor, *, after: UUID | None, count: int, skip: int = 0) -> tuple[list[WatchRow], int]:
        """The caller's watches (an administrator: all), by id, and how many there are."""
        whose = Whose(None if actor.is_admin else actor.user_id, actor.community_id)
        rows = await signals.watches(self._db, whose, after=after, count=count, skip=skip)
        return rows, await signals.watch_total(self._db, whose)

    async def get(self, actor: Actor, watch_id: UUID) -> WatchRow:
        """One watch of the caller. NotFound when it is somebody else's."""
        row = await signals.watch(self._db, watch_id)
        missing = NotFound("Watch not found", watch=str(watch_id))
        if row is None:
            raise missing
        if not ((actor.is_admin or row.owner_id == actor.user_id) and actor.reaches(row.community_id)):
            raise missing.denying("the watch is somebody else's")
        return row

    async def remove(self, actor: Actor, watch_id: UUID) -> None:
        """End a watch and forget what it learned; its signals stay."""
        row = await self.get(actor, watch_id)
        entry = _entry(actor, "delete_watch", row)
        await self._db.batch(
            signals.drop_watch(self._db, watch_id),
            signals.forget(self._db, _kind(row)),
            self._audit.call(entry),
        )
        say(entry)

    # ---- running ----

    async def run_due(self, now: datetime) -> int:
        """Run the watches whose time has come and that no other worker took; how many those were."""
        mine = []
        for row in await signals.due(self._db, now=now, count=ROUND):
            next_at = _next(row, now)
            if await signals.claim(self._db, row, worker=self._worker, next_at=next_at):
                mine.append(row)
        if mine:
            await self._run(mine, now)
        return len(mine)

    async def _run(self, rows: Sequence[WatchRow], now: datetime) -> None:
        gate = asyncio.Semaphore(FETCHES)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._prepared(row, gate, now)) for row in rows]
        prepared = [task.result() for task in tasks]
        ready = [turn for turn in prepared if turn.job is not None]
        results = await self._computer.call("watch", [turn.job for turn in ready]) if ready else []
        for turn, result in zip(ready, results, strict=True):
            if isinstance(result, str):
                turn.error = result
            else:
                await self._finish(turn, result, now)
        for turn in prepared:
            if turn.error is not None:
                await signals.finished(self._db, turn.row.id, at=now, error=turn.error)

    async def _prepared(self, row: WatchRow, gate: asyncio.Semaphore, now: datetime) -> _Turn:
        """As whom a watch runs, and its job or what went wrong."""
        async with gate:
            actor = await self._owner(row)
            if actor is None:
                return _Turn(row, error="its owner is gone or inactive")
            states = await signals.states(self._db, _kind(row))
            try:
                fetched = await self._sources.fetch(_wanted(row, actor, now, learned=bool(states)))
            except MillraceError as error:
                return _Turn(row, error=error.message)
            bars = await signals.bars(self._db, list(states))
            job = WatchJob(method=row.method, threshold=row.threshold, fetched=fetched, states=states, bars=bars)
            return _Turn(row, actor=actor, job=job)

    async def _finish(self, turn: _Turn, judged: Sequence[Judged], now: datetime) -> None:
        """Store the signals of incidents that begin, and what the watch has learned."""
        row = turn.row
        assert turn.actor is not None
        assert turn.job is not None
        new = []
        for one in judged:
            if one.opens:
                named = one if one.metric else replace(one, metric=row.query)
                signal = await self._probes.row(named, row.method, turn.job.fetched.source, turn.actor, now)
                new.append((replace(signal, watch_id=row.id), one.window))
        await self._probes.store(new)
        remember = [signals.remember(self._db, one.key, _kind(row), one.state, at=now) for one in judged]
        await self._db.batch(*remember, signals.finished(self._db, row.id, at=now, error=None))
        for signal, _ in new:
            await self._notify(row, turn.actor, signal)

    async def _notify(self, row: WatchRow, actor: Actor, signal: SignalRow) -> None:
        """Start the workflow that wants to know, as the watch's owner."""
        if not row.notify or self.start is None:
            return
        variables = {**dict(row.notify.get("variables") or {}), "signal": signal_input(signal)}
        try:
            await self.start(actor, str(row.notify["workflow"]), variables, {"watch_id": str(row.id)})
        except MillraceError as error:
            message = f"the workflow {row.notify['workflow']} was not started: {error.message}"
            log.warning("watch.not_notified watch=%s error=%s", row.id, message)
            await signals.finished(self._db, row.id, at=signal.created_at, error=message)

    async def _owner(self, row: WatchRow) -> Actor | None:
        """The person who made a watch, with the roles of today; None when there is no such active user."""
        user = await models.access.user(self._db, row.owner_id) if row.owner_id else None
        if user is None or not user.is_active:
            return None
        roles = await models.access.roles_of(self._db, [user.id])
        return Actor(
            user_id=user.id,
            name=user.name,
            is_admin=user.is_admin,
            community_id=row.community_id,
            roles=frozenset((role.community_id, role.role) for role in roles),
        )


def signal_input(signal: SignalRow) -> dict[str, Any]:
    """A signal as the input of a workflow."""
    return {
        "id": str(signal.id),
        "metric": signal.metric,
        "value": signal.value,
        "score": signal.score,
        "hint": signal.hint,
        "labels": dict(signal.labels or {}),
        "method": signal.method,
        "created_at": signal.created_at.isoformat(),
    }


def _wanted(row: WatchRow, actor: Actor, now: datetime, *, learned: bool) -> Wanted:
    """All the past for the first time; after that, for `auto`, only what is new."""
    start = now - timedelta(minutes=row.lookback_minutes)
    if learned and row.method == "auto" and row.last_at is not None:
        start = max(start, row.last_at - timedelta(seconds=max(STALE_S, 2 * row.step_seconds)))
    start = max(start, now - timedelta(seconds=row.step_seconds * HISTORY_POINTS))
    whole = row.step_seconds  # steps on round times: the same point is the same point every time it is asked for
    aligned = datetime.fromtimestamp(start.timestamp() // whole * whole, start.tzinfo)
    return Wanted(query=row.query, start=aligned, end=now, step_s=row.step_seconds, actor=actor)


def _next(row: WatchRow, now: datetime) -> datetime:
    """The next turn; turns that were missed are not made up for."""
    period = timedelta(seconds=row.every_seconds)
    missed = (now - row.next_at) // period
    return row.next_at + (missed + 1) * period


def _kind(row: WatchRow) -> str:
    return f"watch:{row.id}"


def _entry(actor: Actor, action: str, row: WatchRow) -> Entry:
    return Entry(
        category=Category.AUDIT,
        action=action,
        result=Result.SUCCESS,
        actor=actor,
        community_id=row.community_id,
        resource=str(row.id),
        details={"query": row.query},
    )
