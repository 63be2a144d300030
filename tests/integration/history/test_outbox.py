import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from models import embeddings, outbox
from models.run_facts import RunFilter, Visible
from services.adapters.openai import OpenAIEmbedder
from services.history import histogram
from services.history.database_vectors import DatabaseVectors
from services.history.index_round import EMBED
from services.history.log_round import INDEX
from services.history.outbox import GIVE_UP, Embeddings, Indexer
from services.history.record import Run
from services.history.runs import RunLog
from tests.support.embedding_server import embedding_server

pytestmark = pytest.mark.db
T0 = datetime(2026, 1, 1, tzinfo=UTC)
ALL = RunFilter(visible=Visible(everything=True))


class Clock:
    """A clock that tests turn by hand."""

    def __init__(self) -> None:
        self.at = T0 + timedelta(hours=1)

    def __call__(self) -> datetime:
        return self.at

    def turn(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def server():
    with embedding_server() as server:
        yield server


@pytest.fixture
async def embedder(server):
    embedder = OpenAIEmbedder(key=None, base_url=server.url, model="m1")
    yield embedder
    await embedder.close()


@pytest.fixture
def log(db, clock):
    return RunLog(db, clock)


@pytest.fixture
def indexer(db, clock):
    return Indexer(db, clock, embed=True)


@pytest.fixture
def store(db):
    return DatabaseVectors(db)


@pytest.fixture
def worker(db, embedder, store, clock):
    return Embeddings(db, embedder, store, clock)


def run(n: int = 0, text: str = "disk full on node seven", **fields) -> Run:
    plain = {"wpk_id": "w-1.0.0", "run_id": f"r{n}", "status": "completed", "created_at": T0, "outputs": {"text": text}}
    return Run(**{**plain, **fields})


async def drained(*workers) -> None:
    while any([await worker.work() for worker in workers]):
        pass


async def near(store, embedder, question: str) -> list:
    [vector] = await embedder.embed([question])
    return await store.search(embedder.model, vector, ALL, 3)


async def test_an_ended_run_is_indexed_counted_and_embedded(db, log, indexer, worker, store, embedder):
    [logged] = await log.log([run(duration_ms=120)], source="langgraph")

    await drained(indexer, worker)

    document = await db(db.run_document.run == logged.id).select().first()
    day = await db(db.workflow_daily.status == "completed").select().first()
    [hit] = await near(store, embedder, "disk full on node seven")
    assert document["text"] == "disk full on node seven"
    assert day["durations"] == histogram.of([120])
    assert (hit.id, hit.score) == (logged.id, pytest.approx(1.0, abs=1e-5))
    assert await db(db.outbox).count() == 0


async def test_a_changed_run_leaves_its_old_duration_and_text(db, log, indexer, worker, store, embedder):
    await log.log([run(duration_ms=120)], source="langgraph")
    await drained(indexer, worker)

    await log.log([run(text="payment refused", status="failed", duration_ms=7)], source="langgraph")
    await drained(indexer, worker)

    days = {row["status"]: row["durations"] for row in await db(db.workflow_daily).select()}
    [hit] = await near(store, embedder, "payment refused")
    assert days == {"completed": {}, "failed": histogram.of([7])}
    assert hit.score == pytest.approx(1.0, abs=1e-5)


async def test_the_same_text_is_not_embedded_again(log, indexer, worker, server):
    await log.log([run()], source="langgraph")
    await drained(indexer, worker)

    await log.log([run(duration_ms=9)], source="langgraph")
    await drained(indexer, worker)

    assert server.texts == ["disk full on node seven"]


async def test_a_run_without_text_is_not_embedded(log, indexer, worker, server, db):
    await log.log([run(outputs=None)], source="langgraph")

    await drained(indexer, worker)

    assert server.texts == []
    assert await db(db.outbox).count() == 0


@pytest.mark.parametrize(
    "trouble",
    [
        (500, {}, {}),
        (429, {}, {"Retry-After": "5"}),
        (200, {"data": []}, {}),
        (200, {"data": [{"embedding": "rubbish"}]}, {}),
    ],
)
async def test_trouble_with_the_service_delays_and_loses_nothing(db, log, indexer, worker, server, clock, trouble):
    server.misbehave = lambda _: trouble
    await log.log([run(n, text=f"text {n}") for n in range(3)], source="langgraph")
    await drained(indexer)
    await worker.work()
    assert await worker.work() == 0

    server.misbehave = None
    clock.turn(30)
    await drained(worker)

    assert sorted(server.texts) == ["text 0", "text 1", "text 2"]
    assert await db(db.outbox).count() == 0


async def test_one_text_the_service_refuses_does_not_block_the_others(db, log, indexer, worker, server):
    server.misbehave = lambda texts: (400, {}, {}) if "poison" in texts else None
    await log.log([run(0), run(1, text="poison"), run(2, text="fine")], source="langgraph")

    await drained(indexer, worker)

    [dead] = await outbox.dead(db, count=10)
    assert sorted(server.texts) == ["disk full on node seven", "fine"]
    assert dead["error"] == "the embedding service answered 400"


async def test_what_was_tried_too_often_is_given_up_until_asked_for_again(db, log, indexer, worker, server, clock):
    server.misbehave = lambda _: (500, {}, {})
    await log.log([run()], source="langgraph")
    await drained(indexer)
    for _ in range(GIVE_UP):
        await worker.work()
        clock.turn(700)
    backlog = await outbox.backlog(db, EMBED)
    server.misbehave = None

    revived = await outbox.revive(db, EMBED, now=clock())
    await drained(worker)

    assert (backlog.waiting, backlog.dead, revived) == (0, 1, 1)
    assert server.texts == ["disk full on node seven"]


async def test_another_model_embeds_everything_anew_in_the_background(db, log, indexer, worker, server, store, clock):
    await log.log([run(n, text=f"text {n}") for n in range(3)], source="langgraph")
    await drained(indexer, worker)
    other = OpenAIEmbedder(key=None, base_url=server.url, model="m2")
    anew = Embeddings(db, other, store, clock)

    before = await embeddings.progress(db, "m2")
    await anew.adopt_model()
    await drained(anew)

    assert before == (0, 3)
    assert await embeddings.progress(db, "m2") == (3, 0)
    assert len(await near(store, other, "text 1")) == 3
    await other.close()


async def test_a_worker_that_dies_leaves_its_tasks_to_others(db, log, indexer, clock):
    await log.log([run()], source="langgraph")
    await outbox.claim(db, INDEX, now=clock(), until=clock() + timedelta(seconds=60), count=10)
    assert await indexer.work() == 0

    clock.turn(61)

    assert await indexer.work() == 1


async def test_a_run_that_changes_while_it_is_indexed_is_indexed_again(db, log, clock, indexer):
    await log.log([run()], source="langgraph")
    claimed = await outbox.claim(db, INDEX, now=clock(), until=clock() + timedelta(seconds=60), count=10)
    clock.turn(1)
    await log.log([run(text="changed")], source="langgraph")

    await outbox.settle(db, claimed)

    assert await indexer.work() == 1


async def test_two_workers_never_hold_the_same_task(db, log, clock):
    await log.log([run(n) for n in range(40)], source="langgraph")
    until = clock() + timedelta(seconds=60)

    taken = await asyncio.gather(*(outbox.claim(db, INDEX, now=clock(), until=until, count=15) for _ in range(4)))

    ids = [task.id for tasks in taken for task in tasks]
    assert len(ids) == len(set(ids)) == 40


async def test_the_index_in_memory_follows_the_table(log, indexer, worker, store, embedder):
    await log.log([run(0, text="alpha beta")], source="langgraph")
    await drained(indexer, worker)
    await near(store, embedder, "alpha beta")

    await log.log([run(1, text="gamma delta")], source="langgraph")
    await drained(indexer, worker)

    assert len(await near(store, embedder, "gamma delta")) == 2
