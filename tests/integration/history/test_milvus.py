"""The Milvus adapter against a real Milvus Lite."""

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from models.run_facts import RunFilter, Visible
from services.adapters.milvus import CollectionMismatch, MilvusStore, expression
from services.errors import Unavailable
from services.history.vectors import Entry

T0 = datetime(2026, 1, 1, tzinfo=UTC)
ALL = Visible(everything=True)
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def entry(n: int, **fields) -> Entry:
    vector = [0.0] * 8
    vector[n] = 1.0
    plain = {"wpk_id": "w-1.0.0", "run_id": f"r{n}", "status": "completed", "source": "langgraph", "created_at": T0}
    return Entry(id=UUID(int=n + 1), vector=vector, **{**plain, **fields})


@pytest.fixture
async def store(tmp_path):
    store = MilvusStore(str(tmp_path / "vectors.db"), "workflow_runs")
    yield store
    await store.close()


async def found(store: MilvusStore, n: int = 0, **filters) -> list[int]:
    runs = RunFilter(**{"visible": ALL, **filters})
    return [hit.id.int - 1 for hit in await store.search("m", entry(n).vector, runs, 10)]


async def test_the_nearest_run_comes_first(store):
    await store.upsert("m", [entry(n) for n in range(4)])

    hits = await store.search("m", entry(2).vector, RunFilter(visible=ALL), 2)

    assert hits[0].id == UUID(int=3)
    assert hits[0].score == pytest.approx(1.0)


async def test_filters_apply_before_ranking(store):
    await store.upsert(
        "m",
        [
            entry(0),
            entry(1, status="failed"),
            entry(2, wpk_id='quo"te\\'),
            entry(3, created_at=T0 + timedelta(days=1), duration_ms=900),
        ],
    )

    assert await found(store, status="failed") == [1]
    assert await found(store, wpk_id='quo"te\\') == [2]
    assert await found(store, since=T0 + timedelta(hours=1)) == [3]
    assert await found(store, min_duration_ms=900) == [3]
    assert 3 not in await found(store, until=T0 + timedelta(hours=1))


async def test_a_filter_cannot_be_escaped_from(store):
    await store.upsert("m", [entry(0), entry(1)])

    assert await found(store, wpk_id='x" or wpk_id != "') == []


async def test_only_visible_runs_are_found(store):
    seen, hidden = uuid4(), uuid4()
    await store.upsert(
        "m",
        [
            entry(0),
            entry(1, community_id=7),
            entry(2, community_id=8),
            entry(3, workflow_id=seen, community_id=8),
            entry(4, workflow_id=hidden),
        ],
    )

    visible = Visible(workflows=frozenset({seen}), communities=frozenset({7}))

    assert sorted(await found(store, visible=visible)) == [0, 1, 3]


async def test_runs_of_another_model_are_not_compared(store):
    await store.upsert("other", [entry(0)])

    assert await found(store) == []


async def test_an_upsert_replaces_and_a_delete_forgets(store):
    await store.upsert("m", [entry(0, status="running"), entry(1)])
    await store.upsert("m", [entry(0, status="completed")])
    await store.delete([UUID(int=2)])

    assert await found(store, status="running") == []
    assert await found(store) == [0]


async def test_a_collection_with_another_schema_is_left_alone(tmp_path):
    from pymilvus import MilvusClient

    path = str(tmp_path / "theirs.db")
    client = MilvusClient(path)
    client.create_collection("workflow_runs", dimension=8)
    client.close()
    store = MilvusStore(path, "workflow_runs")

    with pytest.raises(CollectionMismatch, match=r"has another schema .* MILVUS_COLLECTION"):
        await store.upsert("m", [entry(0)])


async def test_other_dimensions_are_an_error_that_says_what_to_do(store):
    await store.upsert("m", [entry(0)])
    await store.close()

    with pytest.raises(CollectionMismatch, match="vectors of 8 dimensions, the embedding model answers 3"):
        await store.search("m", [1.0, 0.0, 0.0], RunFilter(visible=ALL), 1)


async def test_a_server_that_is_not_there_is_unavailable():
    store = MilvusStore("127.0.0.1:9", "workflow_runs")

    with pytest.raises(Unavailable, match=r"127\.0\.0\.1:9 cannot be used"):
        await store.upsert("m", [entry(0)])


@pytest.mark.parametrize("hostile", ['" or 1 == 1', "\\", "'", "\n", "é"])
def test_every_text_of_a_filter_is_one_quoted_string(hostile):
    import json

    text = expression("m", RunFilter(visible=ALL, wpk_id=hostile))

    assert json.loads(text.removeprefix('model == "m" and wpk_id == ')) == hostile
