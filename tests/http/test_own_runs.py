"""Own-run insights: what changed in a workflow's runs, since when and since which version."""

from datetime import timedelta

import numpy as np
import pytest

from services.access.authentication import utc_now
from services.history.record import Run
from services.history.runs import RunLog

WORKFLOW = "billing-1.0.0"


@pytest.fixture
async def log(here):
    """`await log(count, …)` adds runs, one a minute, up to now; what differs is given by number of the run."""
    writer = RunLog(here.db, utc_now)
    rng = np.random.default_rng(5)

    async def add(count, *, slow=lambda n: 1.0, fails=lambda n: False, until=None):
        end = until or utc_now()
        runs = []
        for n in range(count):
            fetch, store = (np.exp(rng.normal(0, 0.2, 2)) * (0.4 * slow(n), 0.8)).tolist()
            runs.append(
                Run(
                    wpk_id=WORKFLOW,
                    run_id=f"run-{n}",
                    status="failed" if fails(n) else "completed",
                    error=f"no route to host 10.0.0.{n}" if fails(n) else None,
                    duration_ms=int((fetch + store) * 1000),
                    created_at=end - timedelta(minutes=count - n),
                    node_logs=[
                        {"node": "fetch", "duration_ms": fetch * 1000},
                        {"node": "store", "duration_ms": store * 1000},
                    ],
                )
            )
        await writer.log(runs, source="langgraph")

    return add


async def insights(client, headers, name=WORKFLOW):
    answer = await client.get(f"/api/v1/workflows/{name}/insights", headers=headers)
    assert answer.status_code == 200, await answer.get_json()
    return (await answer.get_json())["data"]["insights"]


async def test_healthy_runs_have_nothing_to_tell(client, alice, log):
    await log(200)

    assert await insights(client, alice) == []


async def test_a_slower_node_is_named_with_how_much_and_since_when(client, alice, log):
    await log(200, slow=lambda n: 2.0 if n >= 180 else 1.0)

    found = {(one["kind"], one["node"]): one for one in await insights(client, alice)}

    one = found["node_duration", "fetch"]
    assert one["score"] >= 2
    assert 1.7 < one["now"] / one["usual"] < 2.3
    assert one["hint"].startswith("node fetch takes ")
    assert "run-199" in one["example_runs"]
    assert ("node_duration", "store") not in found


async def test_failures_that_become_more_frequent_and_their_error_are_found(client, alice, log):
    await log(200, fails=lambda n: n >= 170 and n % 2 == 0)

    kinds = {one["kind"]: one for one in await insights(client, alice)}

    assert kinds["failure_rate"]["score"] >= 2
    assert kinds["new_error"]["hint"].endswith("no route to host #.#.#.#")


async def test_a_run_that_should_have_come_is_missed(client, alice, log):
    await log(60, until=utc_now() - timedelta(minutes=20))

    [one] = await insights(client, alice)

    assert one["kind"] == "missing_run"
    assert "usually one every" in one["hint"]


async def test_a_workflow_nobody_knows_is_not_found(client, alice):
    answer = await client.get("/api/v1/workflows/unheard-of/insights", headers=alice)

    assert answer.status_code == 404


async def test_the_background_makes_one_signal_of_it_however_often_it_looks(here, client, alice, log):
    await log(200, slow=lambda n: 2.5 if n >= 180 else 1.0)
    now = utc_now()
    own = here.insight.own_runs
    own._last_turn = None

    for minutes in (2, 8, 14):
        await own.look(now + timedelta(minutes=minutes))

    listed = await (await client.get("/signals?metric=own:node_duration", headers=alice)).get_json()
    assert listed["total"] == 1
    assert listed["signals"][0]["labels"] == {"workflow": WORKFLOW, "node": "fetch"}


async def test_only_one_worker_takes_a_turn(here):
    now = utc_now() + timedelta(hours=1)
    await here.insight.own_runs.look(now)

    from models import own_runs

    assert await own_runs.take_turn(here.db, "own-runs", at=now, last_before=now - timedelta(minutes=1)) == 0
