"""Watches at work: one signal per incident, one worker per turn, as the person who made them."""

from datetime import timedelta

import pytest

from models import signals as model
from services.access.authentication import utc_now
from services.history.record import Run
from services.history.runs import RunLog
from services.insight.watches import WatchWish

WORKFLOW = "nightly-etl-1.0.0"


class Runs:
    """Runs of one workflow, minute by minute, up to a time."""

    def __init__(self, db, start):
        self.log, self.start, self.minute = RunLog(db, utc_now), start, 0

    async def minutes(self, count, runs=2):
        batch = [
            Run(
                wpk_id=WORKFLOW,
                run_id=f"{minute}-{n}",
                status="completed",
                created_at=self.start + timedelta(minutes=minute, milliseconds=50 * n),
            )
            for minute in range(self.minute, self.minute + count)
            for n in range(runs + minute % 2)
        ]
        await self.log.log(batch, source="langgraph")
        self.minute += count

    @property
    def now(self):
        return self.start + timedelta(minutes=self.minute, seconds=5)


@pytest.fixture
async def runs(here):
    start = (utc_now() + timedelta(days=1)).replace(second=0, microsecond=0)
    made = Runs(here.db, start)
    await made.minutes(90)
    return made


@pytest.fixture
async def owner(here, alice):
    return await here.insight.watches._owner(row(alice.user_id))


def row(user_id, **changes):
    now = utc_now()
    base = {
        "id": None, "query": "q", "every_seconds": 60, "threshold": 2.0, "method": "auto", "lookback_minutes": 60,
        "step_seconds": 60, "notify": None, "owner_id": user_id, "community_id": None, "enabled": True, "next_at": now,
        "last_at": None, "last_error": None, "worker": None, "created": now,
    }  # fmt: skip
    return model.WatchRow(**{**base, **changes})


async def stored(here):
    return [
        found.value
        for found in await here.db(here.db.insight_signals.score >= 0).select(orderby=here.db.insight_signals.id)
    ]


@pytest.mark.parametrize("method", ["auto", "zscore"])
async def test_an_incident_is_one_signal_and_after_calm_the_next_is_another(here, runs, owner, method):
    watches = here.insight.watches
    threshold = 2.0 if method == "auto" else 6.0
    wish = WatchWish(query="workflow_runs_total", method=method, threshold=threshold)
    await watches.create(owner, wish, now=runs.now)
    counts = []
    for burst, minutes in ((2, 1), (60, 1), (60, 1), (60, 1), (2, 70), (900, 1)):
        await runs.minutes(minutes, runs=burst)
        await watches.run_due(runs.now)
        counts.append(len(await stored(here)))

    assert counts == [0, 1, 1, 1, 1, 2]


async def test_a_turn_is_taken_by_one_worker_only(here, runs, owner):
    watches = here.insight.watches
    made = await watches.create(owner, WatchWish(query="workflow_runs_total"), now=runs.now)
    seen = await model.watch(here.db, made.id)

    taken = [
        await model.claim(here.db, seen, worker=made.id, next_at=runs.now + timedelta(minutes=1)) for _ in range(3)
    ]

    assert taken == [1, 0, 0]


async def test_a_signal_starts_the_workflow_as_the_owner_with_the_signal_as_input(here, runs, owner, alice):
    started = []

    async def start(actor, workflow, variables, metadata):
        started.append((actor.user_id, workflow, variables, metadata))

    watches = here.insight.watches
    watches.start = start
    notify = {"workflow": "ops.page", "variables": {"channel": "night"}}
    made = await watches.create(owner, WatchWish(query="workflow_runs_total", notify=notify), now=runs.now)
    await watches.run_due(runs.now)
    await runs.minutes(1, runs=80)
    await watches.run_due(runs.now)

    [(user, workflow, variables, metadata)] = started
    assert (user, workflow, metadata) == (alice.user_id, "ops.page", {"watch_id": str(made.id)})
    assert variables["channel"] == "night"
    assert variables["signal"]["metric"] == "workflow_runs_total"


async def test_a_watch_whose_owner_is_inactive_says_so_and_probes_nothing(here, runs, owner, alice):
    made = await here.insight.watches.create(owner, WatchWish(query="workflow_runs_total"), now=runs.now)
    await here.db(here.db.app_user.id == alice.user_id).update(is_active=False)

    await here.insight.watches.run_due(runs.now)

    assert (await model.watch(here.db, made.id)).last_error == "its owner is gone or inactive"


async def test_a_watch_that_cannot_ask_keeps_the_reason(here, runs, owner):
    made = await here.insight.watches.create(owner, WatchWish(query="rate(up[5m])"), now=runs.now)

    await here.insight.watches.run_due(runs.now)

    after = await model.watch(here.db, made.id)
    assert "PROM_URL is not set" in after.last_error
    assert after.next_at == runs.now + timedelta(minutes=1)


async def test_missed_turns_are_not_made_up_for(here, runs, owner):
    made = await here.insight.watches.create(owner, WatchWish(query="workflow_runs_total"), now=runs.now)

    ran = await here.insight.watches.run_due(runs.now + timedelta(minutes=10, seconds=7))

    assert ran == 1
    assert (await model.watch(here.db, made.id)).next_at == runs.now + timedelta(minutes=11)
