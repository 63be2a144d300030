"""Keeping the history small: by age, by number, by size. Failures are kept longer, pinned runs for ever.

Runs that were adopted or imported from elsewhere are not touched before an administrator has said so once. Deleting
goes in small batches, each one transaction with its counters; the daily aggregates stay.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from models import retention
from models.dal import Round
from models.records import RunStatus
from models.retention import Doomed, Expired, PostgresReaper, SqliteReaper
from models.run_facts import Tally
from models.run_writer import PostgresRunWriter, SqliteRunWriter
from services.access.actor import Actor
from services.access.audit import AuditLog, Category, Entry, Result, say
from services.conversation import Conversation, drive, drive_async
from services.history.vectors import VectorStore

log = logging.getLogger("millrace.history")

BATCH = 200
PREVIEWED = 100_000
SUCCESS = (RunStatus.COMPLETED.value,)
FAILURE = (RunStatus.FAILED.value, RunStatus.CANCELLED.value, RunStatus.INTERRUPTED.value)
EVERYTHING = (*SUCCESS, *FAILURE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How long runs are kept; 0 = no limit of that kind. Days by age, runs per workflow, bytes of the database."""

    success_days: int = 30
    failure_days: int = 90
    runs_per_workflow: int = 0
    max_bytes: int = 0
    signal_days: int = 90


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What the policy would delete by age now: `workflows` = [{wpk_id, runs, bytes}], largest first."""

    runs: int
    bytes: int
    workflows: list[dict[str, Any]]
    imported_exempt: bool


class Retention:
    """Applies the policy."""

    def __init__(
        self, db: Any, policy: Policy, now: Callable[[], datetime], *, store: VectorStore | None = None
    ) -> None:
        self.policy = policy
        self._db, self._now, self._store = db, now, store
        self._audit = AuditLog(db, now=now)
        self._lane = db.grouped(sqlite=_sqlite, postgres=_postgres, limit=1)

    async def preview(self) -> Preview:
        """What would go by age; at most the oldest 100,000 runs of each kind are looked at."""
        imported = await self._imported()
        workflows: dict[str, dict[str, Any]] = {}
        for expired in self._by_age(imported=imported):
            for one in await retention.preview(self._db, expired, most=PREVIEWED):
                known = workflows.setdefault(one["wpk_id"], {"wpk_id": one["wpk_id"], "runs": 0, "bytes": 0})
                known["runs"] += one["runs"]
                known["bytes"] += one["bytes"]
        ordered = sorted(workflows.values(), key=lambda one: (-one["bytes"], one["wpk_id"]))
        return Preview(
            runs=sum(one["runs"] for one in ordered),
            bytes=sum(one["bytes"] for one in ordered),
            workflows=ordered,
            imported_exempt=not imported,
        )

    async def run(self, *, batches: int = 10_000) -> int:
        """Delete what the policy says, at most so many batches; how many runs went."""
        imported, gone = await self._imported(), 0
        for expired in self._by_age(imported=imported):
            gone += await self._all(expired, batches)
        gone += await self._by_number(imported, batches)
        gone += await self._by_size(imported, batches)
        if self.policy.signal_days:
            before = self._now() - timedelta(days=self.policy.signal_days)
            while await retention.delete_old_signals(self._db, before=before, count=BATCH) == BATCH:
                continue
        if gone:
            log.info("history.retention.deleted runs=%d", gone)
            await retention.give_space_back(self._db)
        return gone

    async def keep_up(self) -> None:
        """A little of it, often: what a server does in the background."""
        await self.run(batches=5)

    async def order(self, *, by: Actor) -> int:
        """Somebody wants it now: that is in the record before the first run goes; how many went."""
        await self._audit.write(_entry("run_retention", by, asdict(self.policy)))
        return await self.run()

    async def allow_imported(self, *, by: Actor) -> None:
        """From now on adopted and imported runs are like all others."""
        table, entry = self._db.retention_consent, _entry("allow_imported", by, {})
        consent = table.upsert(table.subject, subject=retention.IMPORTED, granted_at=self._now(), granted_by=by.user_id)
        await self._db.batch(consent, self._audit.call(entry))
        say(entry)

    def _by_age(self, *, imported: bool) -> list[Expired]:
        limits = ((SUCCESS, self.policy.success_days), (FAILURE, self.policy.failure_days))
        return [
            Expired(statuses=statuses, before=self._now() - timedelta(days=days), imported=imported)
            for statuses, days in limits
            if days
        ]

    async def _by_number(self, imported: bool, batches: int) -> int:
        gone, most = 0, self.policy.runs_per_workflow
        if most:
            for wpk_id, edge in await retention.crowded(self._db, more_than=most, count=1_000):
                gone += await self._all(
                    Expired(statuses=EVERYTHING, before=edge, imported=imported, wpk_id=wpk_id), batches
                )
        return gone

    async def _by_size(self, imported: bool, batches: int) -> int:
        gone, expired = 0, Expired(statuses=EVERYTHING, before=self._now(), imported=imported)
        while self.policy.max_bytes and batches and await retention.size_bytes(self._db) > self.policy.max_bytes:
            batches -= 1
            deleted = await self._batch(expired)
            if not deleted:
                break
            gone += deleted
        return gone

    async def _all(self, expired: Expired, batches: int) -> int:
        gone = 0
        for status in expired.statuses:
            for _ in range(batches):
                deleted = await self._batch(replace(expired, statuses=(status,)))
                gone += deleted
                if deleted < BATCH:
                    break
        return gone

    async def _batch(self, expired: Expired) -> int:
        ids: list[UUID] = await self._lane.submit(expired)
        if ids and self._store is not None:
            await self._store.delete(ids)
        return len(ids)

    async def _imported(self) -> bool:
        return await retention.consent(self._db, retention.IMPORTED) is not None


def _entry(action: str, by: Actor, details: dict[str, Any]) -> Entry:
    return Entry(category=Category.AUDIT, action=action, result=Result.SUCCESS, actor=by, details=details)


def reap(expired: Expired) -> Conversation[list[UUID]]:
    """Delete one batch, successes before failures; which runs went."""
    doomed: list[Doomed] = []
    for status in expired.statuses:
        if len(doomed) < BATCH:
            doomed += yield "choose", expired, status, BATCH - len(doomed)
    if doomed:
        tally = Tally()
        for one in doomed:
            wpk_id, _, community = one.key
            tally.counts[wpk_id, community, one.run.status] -= 1  # the daily aggregates outlive the runs
        yield "delete", doomed
        yield "count", tally
    return [one.id for one in doomed]


def _sqlite(round_: Round, members: Sequence[Expired]) -> list[list[UUID]]:
    return [drive(reap(expired), SqliteReaper(round_), SqliteRunWriter(round_)) for expired in members]


async def _postgres(connection: Any, members: Sequence[Expired]) -> list[list[UUID]]:
    writers = PostgresReaper(connection), PostgresRunWriter(connection)
    return [await drive_async(reap(expired), *writers) for expired in members]
