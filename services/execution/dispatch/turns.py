"""Finds what should be driven next and claims it, a few at a time: what waits stays in the database, not in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from models import executions, turns
from models.executions import Claim, ExecutionRow
from models.turns import FIRST, Waiting
from services.execution.dispatch.fairness import Room, by_turns
from services.execution.pause_all import PauseAll

AHEAD = 256
"""Executions that are looked up before there is a slot for them."""


@dataclass(frozen=True, slots=True)
class Turn:
    """Why an execution that could go on is not driven, in words, and since when it could."""

    since: datetime
    reason: str


class Turns:
    """Looks for executions that are due and gives out turns under the limits. `per_key`: see `Rules`."""

    def __init__(self, db: Any, *, engine: int, per_key: int) -> None:
        self._db = db
        self._engine = engine
        self._per_key = per_key
        self._after = FIRST

    async def next(self, count: int = AHEAD) -> tuple[list[UUID], bool]:
        """Up to `count` that may be driven now, and whether there are more.

        When all that are due are few, they are it. When they are many, every workflow has an equal share, however many
        another one has; should there be more workflows than `count`, the next call goes on behind those of this one.
        """
        found = await turns.due(self._db, engine=self._engine, count=count)
        if len(found) < count:
            return _ids(await self._admitted(found)), False
        return await self._shares(count)

    async def _admitted(self, found: Sequence[Waiting]) -> Sequence[Waiting]:
        if all(one.most is None for one in found):
            return found
        return (await self._room()).admitted(found)

    async def _room(self) -> Room:
        return Room(await turns.live(self._db), per_key=self._per_key)

    async def _shares(self, count: int) -> tuple[list[UUID], bool]:
        workflows = await turns.workflows(self._db, engine=self._engine, after=self._after, count=count)
        self._after = workflows[-1] if len(workflows) == count else FIRST
        if not workflows:
            return [], False
        each = -(-count // len(workflows))
        room = await self._room()
        found = await turns.shares(self._db, workflows, engine=self._engine, each=each, full=room.full_keys)
        admitted = room.admitted(by_turns(found))
        return _ids(admitted[:count]), bool(admitted)

    async def claim(self, ids: Sequence[UUID], *, me: UUID) -> list[Claim]:
        """Claim those of `ids` that nobody alive drives and that no limit keeps waiting."""
        claims = await executions.claim(self._db, ids, me=me, engine=self._engine)
        if len(claims) < len(ids):
            taken = {claim.row.execution_id for claim in claims}
            claims += await self._claim_in_turn([id_ for id_ in ids if id_ not in taken], me=me)
        return claims

    async def _claim_in_turn(self, ids: Sequence[UUID], *, me: UUID) -> list[Claim]:
        """The part that is under a limit. Workers give out turns one after the other, so together they never exceed it."""
        if not await turns.asked(self._db, ids, engine=self._engine):
            return []
        if self._db.engine == "sqlite":  # the only one who claims
            return await self._chosen(ids, me=me)
        async with self._db.transaction():
            await turns.one_at_a_time(self._db)
            return await self._chosen(ids, me=me)

    async def _chosen(self, ids: Sequence[UUID], *, me: UUID) -> list[Claim]:
        asked = await turns.asked(self._db, ids, engine=self._engine)
        chosen = _ids((await self._room()).admitted(asked))
        if not chosen:
            return []
        return await executions.claim(self._db, chosen, me=me, engine=self._engine, in_turn=True)

    async def is_backlog(self, most: int) -> bool:
        """Whether at least `most` executions are due and nobody drives them."""
        return await turns.backlog(self._db, engine=self._engine, most=most) >= most

    async def turn_of(self, row: ExecutionRow, now: datetime, pause: PauseAll) -> Turn | None:
        """What an execution waits for that could go on and that nobody drives; None for any other."""
        if row.driver is not None or row.ended_at is not None or row.wake_at is None or row.wake_at > now:
            return None
        if pause.is_on:
            why = f": {pause.row.reason}" if pause.row.reason else ""
            return Turn(since=row.wake_at, reason=f"{pause.row.changed_by} has paused everything{why}")
        waiting = Waiting(row.execution_id, row.workflow_id, row.key_id, row.max_parallel)
        reason = (await self._room()).obstacle(waiting) if row.status == "running" else None
        return Turn(since=row.wake_at, reason=reason or "a worker with a free slot takes it")


def _ids(found: Sequence[Waiting]) -> list[UUID]:
    return [one.execution_id for one in found]
