from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from models.run_facts import RunFilter, Visible
from models.run_stats import days
from models.runs import WorkflowRuns, by_run_id
from services.adapters.openai import OpenAIEmbedder
from services.history.database_vectors import DatabaseVectors
from services.history.outbox import Embeddings, Indexer
from services.history.record import Run
from services.history.runs import RunLog, Target
from services.history.search import RunSearch, snippet
from services.history.stats import summary
from tests.support.embedding_server import embedding_server

pytestmark = pytest.mark.db
T0 = datetime(2026, 1, 1, tzinfo=UTC)
ALL = RunFilter(visible=Visible(everything=True))
TEXTS = [
    "database connection refused while loading rows",
    "disk full on node seven",
    "invoice 17 was sent to the customer by email",
    "certificate of the gateway expires tomorrow",
    'quo"te AND OR NOT near* ) (',
]


def now() -> datetime:
    return T0 + timedelta(hours=1)


def run(n: int, text: str, **fields) -> Run:
    plain = {"wpk_id": "w-1.0.0", "run_id": f"r{n}", "status": "completed", "outputs": {"text": text}}
    return Run(**{**plain, "created_at": T0 + timedelta(seconds=n), **fields})


async def worked(*workers) -> None:
    while any([await worker.work() for worker in workers]):
        pass


@pytest.fixture
def log(db):
    return RunLog(db, now)


@pytest.fixture
async def words(db, log):
    await log.log([run(n, text) for n, text in enumerate(TEXTS)], source="langgraph")
    await worked(Indexer(db, now, embed=False))
    return RunSearch(db)


@pytest.fixture
async def meaning(db, log):
    with embedding_server() as server:
        embedder = OpenAIEmbedder(key=None, base_url=server.url, model="m")
        store = DatabaseVectors(db)
        await log.log([run(n, text) for n, text in enumerate(TEXTS)], source="langgraph")
        await worked(Indexer(db, now, embed=True), Embeddings(db, embedder, store, now))
        yield RunSearch(db, embedder, store), server
        await embedder.close()


async def ids(search: RunSearch, question: str, wanted: RunFilter = ALL) -> list[str]:
    return [found.run.run_id for found in (await search.search(question, wanted, k=10)).found]


async def test_words_find_the_run_that_says_them(words):
    answer = await words.search("DISK full", ALL, k=10)

    assert (answer.mode, answer.degraded) == ("keyword", None)
    assert [(found.run.run_id, found.snippet) for found in answer.found] == [("r1", "disk full on node seven")]
    assert answer.found[0].score > 0


async def test_some_of_the_words_are_enough_when_no_run_has_all(words):
    assert await ids(words, "certificate database") == ["r0", "r3"] or await ids(words, "certificate database") == [
        "r3",
        "r0",
    ]


@pytest.mark.parametrize("hostile", ['"', "' OR 1=1 --", "a:*", "NEAR(", "\\", "%", "()", "& | !", "AND", "-", "é\x01"])
async def test_no_question_is_a_query(words, hostile):
    await words.search(hostile, ALL, k=5)


async def test_words_that_look_like_operators_are_words(words):
    assert await ids(words, "quo AND OR NOT near") == ["r4"]


async def test_filters_apply_before_ranking(words, log, db):
    await log.log(
        [run(10, "disk full again", status="failed"), run(11, "disk full too", wpk_id="x-1.0.0")], source="notify"
    )
    await worked(Indexer(db, now, embed=False))

    def only(**fields):
        return RunFilter(visible=Visible(everything=True), **fields)

    assert await ids(words, "disk", only(status="failed")) == ["r10"]
    assert await ids(words, "disk", only(wpk_id="x-1.0.0")) == ["r11"]
    assert await ids(words, "disk", only(source="langgraph")) == ["r1"]
    assert await ids(words, "disk", only(until=T0 + timedelta(seconds=5))) == ["r1"]


async def test_nobody_finds_what_they_may_not_see(words, log, db):
    target = Target(workflow_id=UUID(int=9), version="1", community_id=7)
    await log.log([run(20, "disk full secretly")], source="langgraph", target=target)
    await log.log([run(21, "disk full in seven")], source="langgraph", community_id=7)
    await worked(Indexer(db, now, embed=False))

    assert await ids(words, "disk", RunFilter()) == ["r1"]
    assert sorted(await ids(words, "disk", RunFilter(visible=Visible(communities=frozenset({7}))))) == ["r1", "r21"]
    mine = RunFilter(visible=Visible(workflows=frozenset({UUID(int=9)})))
    assert sorted(await ids(words, "disk", mine)) == ["r1", "r20"]


async def test_a_removed_or_changed_text_is_not_found_any_more(words, log, db):
    await log.log([run(1, "all is well")], source="langgraph")
    await worked(Indexer(db, now, embed=False))

    assert await ids(words, "disk") == []
    assert await ids(words, "well") == ["r1"]


async def test_a_paraphrase_is_found_by_meaning(meaning):
    search, _ = meaning

    answer = await search.search("storage space ran out", ALL, k=1)

    assert answer.mode == "semantic"
    assert [found.run.run_id for found in answer.found] == ["r1"]


async def test_without_the_service_search_goes_on_by_words_and_says_so(meaning):
    search, server = meaning
    server.misbehave = lambda _: (500, {}, {})

    answer = await search.search("disk", ALL, k=5)

    assert (answer.mode, [found.run.run_id for found in answer.found]) == ("keyword", ["r1"])
    assert answer.degraded == "the embedding service answered 500"


async def test_similar_runs_leave_the_run_itself_out(meaning, db, log):
    search, _ = meaning
    [this] = await by_run_id(db, "r0", None)

    answer = await search.similar(this, ALL, k=2)

    assert answer.mode == "semantic"
    assert len(answer.found) == 2
    assert this.id not in {found.run.id for found in answer.found}


async def test_similar_runs_are_found_by_words_where_nothing_is_embedded(words, db, log):
    await log.log([run(30, "the database connection was refused")], source="langgraph")
    await worked(Indexer(db, now, embed=False))
    [this] = await by_run_id(db, "r30", None)

    answer = await words.similar(this, ALL, k=3)

    assert (answer.mode, answer.found[0].run.run_id) == ("keyword", "r0")


async def test_stats_come_from_the_daily_aggregates(db, log):
    await log.log(
        [run(n, "t", duration_ms=100 * (n + 1), status="failed" if n == 0 else "completed") for n in range(4)]
        + [run(9, "t", status="running"), run(10, "t", created_at=T0 + timedelta(days=1), duration_ms=1000)],
        source="langgraph",
    )
    await worked(Indexer(db, now, embed=False))

    figures = summary(await days(db, WorkflowRuns(packages=["w-1.0.0"]), since="2025-12-31"))

    assert (figures["runs"], figures["by_status"]) == (6, {"completed": 4, "failed": 1, "running": 1})
    assert figures["success_rate"] == 0.8
    assert figures["duration_ms"]["p50"] == pytest.approx(300, rel=0.03)
    assert figures["duration_ms"]["p99"] == pytest.approx(400, rel=0.03)
    assert figures["duration_ms"]["average"] == 400
    assert [(day["day"], day["runs"]) for day in figures["days"]] == [("2026-01-01", 5), ("2026-01-02", 1)]


def test_a_snippet_shows_the_first_word_found():
    text = "x " * 300 + "the needle is here " + "y " * 300

    part = snippet(text, ["needle"], length=40)

    assert "needle" in part
    assert part.startswith("…")
    assert part.endswith("…")
    assert len(part) == 42
