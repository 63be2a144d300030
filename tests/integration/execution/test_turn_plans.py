"""A sweep reads what is due, however many wait and however many have ended: no statement scans the executions."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from models import executions, turns
from models.dal import AsyncDAL
from models.records import uuid7
from tests.support.execution import now


@pytest.fixture
async def filled(db: AsyncDAL) -> AsyncDAL:
    """Many that have ended, many that wait for people, a few that are due, a few that are driven."""
    workflows, version, began = [uuid7() for _ in range(5)], uuid7(), now() - timedelta(hours=1)
    rows: list[dict[str, Any]] = []
    for n in range(3000):
        kind = {"ended_at": began, "status": "completed"} if n % 2 else {}
        kind = kind or ({"wake_at": began} if n % 100 == 0 else {"driver": version} if n % 150 == 2 else {})
        rows.append(
            {
                "execution_id": uuid7(),
                "workflow_id": workflows[n % 5],
                "workflow_ref": "p.w",
                "workflow_version": "1",
                "package_id": "w-1",
                "version_id": version,
                "status": "running",
                "start_time": began,
                "engine_version": 1,
                **kind,
            }
        )
    for start in range(0, len(rows), 500):
        await db.batch(*[db.workflow_executions.insert(**row) for row in rows[start : start + 500]])
    if db.engine == "postgres":
        await db.sql("ANALYZE workflow_executions")
    return db


class Recorder:
    """A database that explains what it is asked, instead of answering."""

    def __init__(self, db: AsyncDAL) -> None:
        self.engine = db.engine
        self.workflow_executions = db.workflow_executions
        self.plans: list[str] = []
        self._db = db

    async def sql(
        self, text: str | None = None, *, pg: str = "", sqlite: str = "", into: Any = (), **values: Any
    ) -> Any:
        del into
        chosen = text or (pg if self.engine == "postgres" else sqlite)
        how = "EXPLAIN (FORMAT JSON)" if self.engine == "postgres" else "EXPLAIN QUERY PLAN"
        found = await self._db.sql(f"{how} {chosen}", **values)
        if self.engine == "sqlite":
            self.plans.append("\n".join(row["detail"] for row in found))
        else:
            plan = found[0]["QUERY PLAN"]
            self.plans.append(plan if isinstance(plan, str) else json.dumps(plan))
        return []


async def test_a_sweep_scans_nothing(filled: AsyncDAL) -> None:
    asked: Any = Recorder(filled)
    some = [uuid7()]

    await turns.due(asked, engine=1, count=256)
    await turns.workflows(asked, engine=1, after=turns.FIRST, count=256)
    await turns.shares(asked, some, engine=1, each=9, full=some)
    await turns.live(asked)
    await executions.orphans(asked, me=some[0], engine=1, count=256)

    assert len(asked.plans) == 5
    for plan in asked.plans:
        assert not scans(plan), plan


def scans(plan: str) -> list[str]:
    """The executions, read from end to end."""
    if plan.startswith("["):
        steps = [step for step in plan.split("{") if '"Seq Scan"' in step]
        return [step for step in steps if '"workflow_executions"' in step]
    lines = [line for line in plan.splitlines() if line.startswith(("SCAN x", "SCAN workflow_executions"))]
    return [line for line in lines if "workflow_executions_driver" not in line]
