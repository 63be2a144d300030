import asyncio
import random
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.run_facts import RunFilter, Visible
from models.runs import WorkflowRuns, by_run_id, page, payloads, workflow_count, workflow_page, workflow_total
from services.history.record import Run
from services.history.runs import RunLog, Target

pytestmark = pytest.mark.db
T0 = datetime(2026, 1, 1, tzinfo=UTC)
ALL = RunFilter(visible=Visible(everything=True))


def run(n: int = 0, **fields) -> Run:
    plain = {"wpk_id": "w-1.0.0", "run_id": f"r{n}", "status": "completed", "created_at": T0 + timedelta(seconds=n)}
    return Run(**{**plain, **fields})


@pytest.fixture
def log(db) -> RunLog:
    return RunLog(db, lambda: T0 + timedelta(hours=1))


async def workflow(db, *, community_id=None) -> Target:
    target = Target(workflow_id=UUID(int=7), version="1.0.0", community_id=community_id)
    await db.workflow.insert(
        id=target.workflow_id, ref="p.w", package_id="w-1.0.0", pack_ref="p", name="w", label="W", version="1.0.0",
        revision=1, version_id=UUID(int=8), source="api", search="", tags=[], enabled=True, modified=False,
        registered_at=T0, created=T0, updated=T0, total_runs=0, community_id=community_id,
    )  # fmt: skip
    return target


async def summary(db) -> tuple:
    row = await db.workflow(UUID(int=7))
    return row["total_runs"], row["latest_run_id"], row["latest_run_status"], row["latest_run_at"]


async def test_a_run_is_kept_with_everything_reported(db, log):
    [logged] = await log.log(
        [run(inputs={"a": [1]}, outputs={"text": "ok"}, node_logs=[{"n": 1}], duration_ms=12, error="e")],
        source="langgraph",
    )

    [found] = await by_run_id(db, "r0", None)
    kept = await payloads(db, logged.id)
    assert logged.new
    assert (found.id, found.status, found.duration_ms, found.error, found.source) == (
        logged.id,
        "completed",
        12,
        "e",
        "langgraph",
    )
    assert (kept.inputs, kept.outputs, kept.node_logs) == ({"a": [1]}, {"text": "ok"}, [{"n": 1}])


async def test_a_second_report_updates_the_run_and_counts_nothing(db, log):
    [first] = await log.log([run(status="running", inputs={"a": 1})], source="langgraph")

    [second] = await log.log([run(status="timeout", duration_ms=9, outputs={"b": 2})], source="langgraph")

    [found] = await by_run_id(db, "r0", "w-1.0.0")
    kept = await payloads(db, first.id)
    assert (second.id, second.new) == (first.id, False)
    assert (found.status, found.reported_status, found.duration_ms) == ("failed", "timeout", 9)
    assert (kept.inputs, kept.outputs) == ({"a": 1}, {"b": 2})
    assert await workflow_total(db, WorkflowRuns(packages=["w-1.0.0"])) == 1
    assert await workflow_total(db, WorkflowRuns(packages=["w-1.0.0"], status="running")) == 0


async def test_a_late_running_report_only_fills_gaps(db, log):
    [first] = await log.log([run(outputs={"b": 2})], source="langgraph")

    await log.log([run(status="running", inputs={"a": 1}, outputs={"b": 0})], source="langgraph")

    [found] = await by_run_id(db, "r0", None)
    kept = await payloads(db, first.id)
    assert found.status == "completed"
    assert (kept.inputs, kept.outputs) == ({"a": 1}, {"b": 2})


async def test_reports_of_one_run_in_one_round_end_as_one_run(db, log):
    logged = await log.log([run(status="running"), run(status="failed"), run(), run(1)], source="langgraph")

    assert [entry.new for entry in logged] == [True, False, False, True]
    assert len({entry.id for entry in logged}) == 2
    assert [found.status for found in await by_run_id(db, "r0", None)] == ["completed"]
    assert await workflow_total(db, WorkflowRuns(packages=["w-1.0.0"])) == 2


async def test_the_same_ids_in_two_communities_are_two_runs(db, log):
    await log.log([run()], source="langgraph", community_id=1)
    await log.log([run()], source="langgraph", community_id=2)
    await log.log([run()], source="langgraph")

    assert sorted(found.community_id or 0 for found in await by_run_id(db, "r0", None)) == [0, 1, 2]


async def test_a_workflow_knows_its_newest_run_and_their_number(db, log):
    target = await workflow(db)
    await log.log([run(5), run(9), run(7)], source="langgraph", target=target)

    assert await summary(db) == (3, "r9", "completed", T0 + timedelta(seconds=9))


async def test_an_older_run_never_overwrites_a_newer_one(db, log):
    target = await workflow(db)
    await log.log([run(9)], source="langgraph", target=target)

    await log.log([run(5, status="failed")], source="notify", target=target)

    assert await summary(db) == (2, "r9", "completed", T0 + timedelta(seconds=9))


async def test_among_equal_times_the_later_arrival_is_the_latest(db, log):
    target = await workflow(db)
    await log.log([run(1, created_at=T0)], source="langgraph", target=target)

    await log.log([run(2, created_at=T0)], source="langgraph", target=target)

    assert (await summary(db))[1] == "r2"


async def test_the_latest_run_changes_its_status_without_being_counted_again(db, log):
    target = await workflow(db)
    await log.log([run(3, status="running")], source="langgraph", target=target)

    await log.log([run(3, status="failed")], source="notify", target=target)

    assert await summary(db) == (1, "r3", "failed", T0 + timedelta(seconds=3))


async def test_fifty_senders_of_shuffled_repeated_runs_count_each_once(db, log):
    target = await workflow(db)
    reports = [run(n) for n in range(200)] * 3
    random.Random(3).shuffle(reports)

    async with asyncio.TaskGroup() as senders:
        for k in range(50):
            senders.create_task(log.log(reports[k::50], source="notify" if k % 2 else "langgraph", target=target))

    assert await summary(db) == (200, "r199", "completed", T0 + timedelta(seconds=199))
    assert await workflow_total(db, WorkflowRuns(packages=["w-1.0.0"])) == 200


async def test_two_processes_logging_the_same_runs_agree(db, log, database_url):
    from models.dal import AsyncDAL
    from models.schema import declare

    target = await workflow(db)
    async with declare(AsyncDAL(database_url)) as other:
        there = RunLog(other, lambda: T0)
        async with asyncio.TaskGroup() as senders:
            for k in range(20):
                mine = [run(n) for n in range(k % 3, 60, 2)]
                senders.create_task(
                    (log if k % 2 else there).log(mine[:: 1 if k % 4 else -1], source="langgraph", target=target)
                )

    assert (await summary(db))[:2] == (60, "r59")


async def test_daily_aggregates_follow_the_status(db, log):
    await log.log([run(0, status="running", duration_ms=5), run(1, duration_ms=10)], source="langgraph")
    await log.log([run(0, status="failed", duration_ms=30)], source="langgraph")

    rows = await db(db.workflow_daily).select()
    assert {(row["day"], row["status"], row["runs"], row["duration_ms_sum"]) for row in rows if row["runs"]} == {
        ("2026-01-01", "failed", 1, 30),
        ("2026-01-01", "completed", 1, 10),
    }


async def test_only_ended_runs_wait_for_the_index_and_only_once(db, log):
    [ended, _] = await log.log([run(0), run(1, status="running")], source="langgraph")
    await log.log([run(0)], source="langgraph")

    rows = await db(db.outbox).select(db.outbox.kind, db.outbox.subject)
    assert [(row["kind"], row["subject"]) for row in rows] == [("index", ended.id)]


async def test_a_workflows_runs_page_by_page_and_by_cursor(db, log):
    await log.log([run(n, status="failed" if n % 3 == 0 else "completed") for n in range(25)], source="langgraph")
    await log.log([run(n, wpk_id="w-1.1.0") for n in range(25, 30)], source="langgraph")
    wanted = WorkflowRuns(packages=["w-1.0.0", "w-1.1.0"])

    by_page = [
        row.run_id for skip in (0, 12, 24) for row in await workflow_page(db, wanted, after=None, skip=skip, count=12)
    ]
    by_cursor, after = [], None
    while rows := await workflow_page(db, wanted, after=after, skip=0, count=7):
        by_cursor += [row.run_id for row in rows]
        after = rows[-1].position

    assert by_page == by_cursor == [f"r{n}" for n in reversed(range(30))]


async def test_filters_of_a_workflows_runs_combine(db, log):
    await log.log([run(n, status="failed" if n % 3 == 0 else "completed") for n in range(25)], source="langgraph")
    wanted = WorkflowRuns(
        packages=["w-1.0.0"], status="failed", since=T0 + timedelta(seconds=6), until=T0 + timedelta(seconds=15)
    )

    assert [row.run_id for row in await workflow_page(db, wanted, after=None, skip=0, count=9)] == ["r12", "r9", "r6"]
    assert await workflow_count(db, wanted, cap=100) == 3
    assert await workflow_count(db, wanted, cap=2) == 2


async def test_a_workflows_runs_of_other_communities_are_neither_listed_nor_counted(db, log):
    for community in (None, 1, 2):
        await log.log([run(community or 0)], source="langgraph", community_id=community)
    wanted = WorkflowRuns(packages=["w-1.0.0"], communities=frozenset({0, 2}))

    assert [row.run_id for row in await workflow_page(db, wanted, after=None, skip=0, count=9)] == ["r2", "r0"]
    assert await workflow_total(db, wanted) == 2
    assert await workflow_count(db, wanted, cap=9) == 2


@pytest.mark.parametrize(
    ("runs", "found"),
    [
        (RunFilter(visible=Visible(everything=True)), [5, 4, 3, 2, 1, 0]),
        (RunFilter(visible=Visible(everything=True), wpk_id="a-1.0.0"), [1]),
        (RunFilter(visible=Visible(everything=True), status="failed"), [3]),
        (RunFilter(visible=Visible(everything=True), source="notify"), [5]),
        (RunFilter(visible=Visible(everything=True), min_duration_ms=100), [2]),
        (RunFilter(visible=Visible(everything=True), since=T0 + timedelta(seconds=4)), [5, 4]),
        (RunFilter(visible=Visible(everything=True), until=T0 + timedelta(seconds=2)), [1, 0]),
        (RunFilter(visible=Visible()), [5, 3, 2, 1]),
        (RunFilter(visible=Visible(communities=frozenset({4}))), [5, 4, 3, 2, 1]),
        (RunFilter(visible=Visible(workflows=frozenset({UUID(int=7)}))), [5, 3, 2, 1, 0]),
    ],
)
async def test_all_runs_are_filtered_and_only_visible_ones_listed(db, log, runs, found):
    await log.log([run(0)], source="langgraph", target=await workflow(db))
    await log.log([run(1, wpk_id="a-1.0.0"), run(2, duration_ms=100), run(3, status="failed")], source="langgraph")
    await log.log([run(4)], source="langgraph", community_id=4)
    await log.log([run(5)], source="notify")

    rows, stopped = await page(db, runs, after=None, count=10)

    assert [row.run_id for row in rows] == [f"r{n}" for n in found]
    assert stopped is None


async def test_a_filter_that_finds_little_stops_and_says_where(db, log, monkeypatch):
    monkeypatch.setattr("models.runs.SCANNED", 10)
    await log.log([run(n, duration_ms=500 if n == 0 else 1) for n in range(25)], source="langgraph")
    slow = RunFilter(visible=Visible(everything=True), min_duration_ms=100)

    found, after, pages = [], None, 0
    while True:
        rows, stopped = await page(db, slow, after=after, count=3)
        found += [row.run_id for row in rows]
        pages += 1
        if stopped is None:
            break
        after = stopped

    assert (found, pages) == (["r0"], 3)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=st.lists(
        st.tuples(
            st.integers(0, 3), st.sampled_from(["running", "interrupted", "completed", "failed"]), st.integers(0, 5)
        ),
        min_size=1,
        max_size=30,
    )
)
async def test_counters_always_equal_what_is_in_the_table(db, log, data):
    for start in range(0, len(data), 7):
        await log.log(
            [
                run(n, status=status, duration_ms=ms, created_at=T0 + timedelta(days=n))
                for n, status, ms in data[start : start + 7]
            ],
            source="langgraph",
        )

    counted = {(r["status"], r["runs"]) for r in await db(db.run_count.runs != 0).select()}
    real = {
        (r["status"], r["n"]) for r in await db.sql("SELECT status, count(*) AS n FROM workflow_runs GROUP BY status")
    }
    daily = await db.sql(
        "SELECT COALESCE(SUM(runs), 0) AS n, COALESCE(SUM(duration_ms_sum), 0) AS ms FROM workflow_daily"
    ).first()
    total = await db.sql("SELECT count(*) AS n, COALESCE(SUM(duration_ms), 0) AS ms FROM workflow_runs").first()
    assert counted == real
    assert (daily["n"], daily["ms"]) == (total["n"], total["ms"])
