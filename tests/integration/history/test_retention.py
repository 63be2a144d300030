from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from models.records import uuid7
from models.runs import WorkflowRuns, workflow_page, workflow_total
from services.access.actor import SYSTEM
from services.history.outbox import Indexer
from services.history.record import Run
from services.history.retention import BATCH, Policy, Retention
from services.history.runs import RunLog

pytestmark = pytest.mark.db
NOW = datetime(2026, 6, 1, tzinfo=UTC)
WANTED = WorkflowRuns(packages=["w-1.0.0"])


def run(days_ago: float, n: int = 0, **fields) -> Run:
    plain = {"wpk_id": "w-1.0.0", "run_id": f"r{days_ago}-{n}", "status": "completed", "outputs": {"text": f"ran {n}"}}
    return Run(**{**plain, "created_at": NOW - timedelta(days=days_ago), "duration_ms": 5, **fields})


@pytest.fixture
def log(db):
    return RunLog(db, lambda: NOW)


def retention(db, **policy) -> Retention:
    return Retention(db, Policy(**{"success_days": 30, "failure_days": 90, **policy}), lambda: NOW)


async def left(db) -> list[str]:
    return [found.run_id for found in await workflow_page(db, WANTED, after=None, skip=0, count=500)]


async def test_successes_go_first_and_failures_are_kept_longer(db, log):
    await log.log(
        [run(31), run(29), run(31, 1, status="failed"), run(91, 1, status="failed"), run(400, status="running")],
        source="langgraph",
    )

    gone = await retention(db).run()

    assert gone == 2
    assert await left(db) == ["r29-0", "r31-1", "r400-0"]
    assert await workflow_total(db, WANTED) == 3


async def test_everything_that_belongs_to_a_run_goes_with_it(db, log):
    await log.log([run(31)], source="langgraph")
    indexer = Indexer(db, lambda: NOW, embed=True)
    await indexer.catch_up()

    await retention(db).run()

    for table in (db.workflow_runs, db.run_document, db.run_embedding, db.outbox):
        assert await db(table).count() == 0
    assert await db.sql("SELECT count(*) AS n FROM run_text").scalar() == 0


async def test_an_execution_goes_with_its_events_and_payloads(db):
    execution = uuid7()
    await db.workflow_executions.insert(
        execution_id=execution, workflow_ref="p.w", workflow_version="1", package_id="w-1.0.0", version_id=UUID(int=1),
        status="completed", start_time=NOW, engine_version=1, nodes_executed=0, depth=0, epoch=0, wake_no=0,
        takeovers=0, takeover_seq=0,
    )  # fmt: skip
    await db.execution_event.insert(execution_id=execution, seq=0, epoch=1, v=1, events="[]", at=NOW)
    await db.payload.insert(execution_id=execution, n=0, body='"x"')
    await db.workflow_runs.insert(
        id=execution, wpk_id="w-1.0.0", run_id=str(execution), status="completed", source="engine",
        created_at=NOW - timedelta(days=31), updated_at=NOW, pinned=False,
    )  # fmt: skip

    assert await retention(db).run() == 1

    for table in (db.workflow_executions, db.execution_event, db.payload, db.workflow_runs):
        assert await db(table).count() == 0


async def test_daily_aggregates_outlive_the_runs(db, log):
    await log.log([run(31)], source="langgraph")

    await retention(db).run()

    assert (await db(db.workflow_daily).select().first())["runs"] == 1


async def test_pinned_runs_stay(db, log):
    [logged] = await log.log([run(31)], source="langgraph")
    await db(db.workflow_runs.id == logged.id).update(pinned=True)

    assert await retention(db).run() == 0


async def test_imported_runs_stay_until_an_administrator_says_so(db, log):
    await log.log([run(400)], source="import")
    policy = retention(db)
    before = await policy.preview()

    assert await policy.run() == 0
    await policy.allow_imported(by=SYSTEM)

    assert (before.runs, before.imported_exempt) == (0, True)
    assert (await policy.preview()).runs == 1
    assert await policy.run() == 1


async def test_the_preview_says_per_workflow_what_would_go(db, log):
    await log.log([run(31), run(32), run(31, wpk_id="x-1.0.0"), run(1)], source="langgraph")

    found = await retention(db).preview()

    assert {(one["wpk_id"], one["runs"]) for one in found.workflows} == {("w-1.0.0", 2), ("x-1.0.0", 1)}
    assert found.runs == 3
    assert found.bytes > 600


async def test_only_the_newest_runs_of_a_workflow_are_kept(db, log):
    await log.log([run(n) for n in range(9)], source="langgraph")

    await retention(db, runs_per_workflow=4).run()

    assert await left(db) == ["r0-0", "r1-0", "r2-0", "r3-0"]


async def test_a_full_database_loses_its_oldest_successes_first(db, log):
    await log.log([run(2, status="failed"), run(1), run(0.5)], source="langgraph")

    await retention(db, max_bytes=1).run(batches=1)

    assert await workflow_total(db, WorkflowRuns(packages=["w-1.0.0"])) == 0


async def test_more_than_a_batch_goes_in_several(db, log):
    await log.log([run(31, n) for n in range(BATCH + 30)], source="langgraph")

    assert await retention(db).run() == BATCH + 30


async def test_no_limits_keep_everything(db, log):
    await log.log([run(4000)], source="langgraph")

    assert await retention(db, success_days=0, failure_days=0).run() == 0
