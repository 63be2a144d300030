"""The short storm: the long one is `make crash`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.crash.__main__ import brewing
from tests.crash.storm import Plan, verdict

SEEDS = {"postgres": 11, "sqlite": 3}


@pytest.mark.crash
@pytest.mark.timeout(900)
async def test_nothing_is_lost_doubled_or_changed_in_a_storm(tmp_path: Path, database_engine: str):
    plan = Plan(seed=SEEDS[database_engine], seconds=6, executions=48, pause_s=(0.5, 1.2))

    async with brewing(plan, database_engine, tmp_path) as storm:
        await storm.run()
        problems, counts = await verdict(storm)

    assert problems == []
    assert counts["disturbances"], "nothing was disturbed, so nothing was shown"
    assert sum(counts["executions"].values()) >= plan.executions
