"""The tracer never hinders an execution: its notes are bounded, what does not fit is counted."""

from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from models.dal.errors import Unavailable
from services.engine.events import Finished
from services.engine.statuses import Phase
from services.execution.book import Facts
from services.execution.journal import EventRow
from services.metrics import Metrics
from services.tracing.tracer import Tracer
from tests.support.exposition import value

AT = datetime(2026, 1, 17, 12, tzinfo=UTC)


def facts(number):
    return Facts(
        execution_id=f"01890a5d-ac96-774b-bcce-{number:012d}",
        workflow_id=None,
        workflow_ref="default.flow",
        workflow_version="1",
        package_id="flow-1",
        version_id="v",
        community_id=None,
        start_time=AT,
        triggered_by=None,
    )


class Kept:
    """An exporter that keeps what it is given."""

    def __init__(self):
        self.batches = []

    async def send(self, spans):
        self.batches.append(list(spans))

    async def close(self):
        self.batches.append("closed")


async def ended(_execution_id):
    return [EventRow(0, None, 0, AT, (Finished(phase=Phase.COMPLETED, at=AT),))]


@pytest.fixture
def world():
    metrics, kept = Metrics(), Kept()
    tracer = Tracer(kept, metrics, most=3)
    tracer.rows = ended

    def dropped(reason):
        return value(metrics.text().decode(), "millrace_trace_drops_total", reason=reason)

    return SimpleNamespace(tracer=tracer, kept=kept, dropped=dropped)


async def test_what_does_not_fit_is_counted_and_given_up(world):
    for number in range(5):
        world.tracer.let_go(facts(number), None)

    await world.tracer.flush()

    assert [len(batch) for batch in world.kept.batches] == [3]
    assert world.dropped("queue_full") == 2


async def test_nothing_is_lost_while_the_log_cannot_be_read(world):
    async def away(_execution_id):
        raise Unavailable("away")

    world.tracer.let_go(facts(1), None)
    world.tracer.rows = away
    with pytest.raises(Unavailable):
        await world.tracer.flush()
    world.tracer.rows = ended

    await world.tracer.flush()

    assert [len(batch) for batch in world.kept.batches] == [1]


async def test_a_log_that_cannot_be_told_does_not_hold_up_the_others(world):
    async def strange(execution_id):
        return [None] if execution_id.endswith("1") else await ended(execution_id)

    world.tracer.rows = strange
    world.tracer.let_go(facts(1), None)
    world.tracer.let_go(facts(2), None)

    await world.tracer.flush()

    assert [len(batch) for batch in world.kept.batches] == [1]
    assert world.dropped("unreadable") == 1


async def test_what_waits_is_told_before_the_end(world):
    world.tracer.let_go(facts(1), None)

    await world.tracer.close()

    assert world.kept.batches[-1] == "closed"
    assert len(world.kept.batches[0]) == 1
