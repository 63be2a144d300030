"""Milvus and the index in memory give the same answers to the same questions."""

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from models.run_facts import RunFilter, Visible
from services.adapters.milvus import MilvusStore
from services.history.vector_index import VectorIndex
from services.history.vectors import Entry

T0 = datetime(2026, 1, 1, tzinfo=UTC)
ALL = Visible(everything=True)
WORKFLOWS = [UUID(int=1000 + n) for n in range(4)]
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def entries(count: int) -> list[Entry]:
    rng = random.Random(5)
    made = []
    for n in range(count):
        vector = [rng.gauss(0, 1) for _ in range(16)]
        length = sum(x * x for x in vector) ** 0.5
        made.append(
            Entry(
                id=UUID(int=n + 1),
                vector=[x / length for x in vector],
                wpk_id=f"w{n % 3}",
                run_id=f"r{n}",
                status=rng.choice(["completed", "failed"]),
                source=rng.choice(["langgraph", "engine"]),
                created_at=T0 + timedelta(minutes=n),
                duration_ms=rng.choice([None, 5, 500]),
                community_id=rng.choice([None, 7, 8]),
                workflow_id=rng.choice([None, *WORKFLOWS]),
            )
        )
    return made


QUESTIONS = [
    RunFilter(visible=ALL),
    RunFilter(visible=Visible()),
    RunFilter(visible=Visible(communities=frozenset({7}))),
    RunFilter(visible=Visible(workflows=frozenset(WORKFLOWS[:2]), communities=frozenset({8}))),
    RunFilter(visible=ALL, wpk_id="w1", status="failed"),
    RunFilter(visible=ALL, source="engine", min_duration_ms=100),
    RunFilter(visible=ALL, since=T0 + timedelta(minutes=20), until=T0 + timedelta(minutes=60)),
    RunFilter(visible=ALL, wpk_id="nobody"),
]


async def test_both_stores_find_the_same_runs_in_the_same_order(tmp_path):
    everything = entries(120)
    milvus, index = MilvusStore(str(tmp_path / "v.db"), "workflow_runs"), VectorIndex(16)
    await milvus.upsert("m", everything)
    index.add(everything)
    gone = [UUID(int=3), UUID(int=50)]
    await milvus.delete(gone)
    index.remove(gone)

    try:
        for question in QUESTIONS:
            for probe in everything[:5]:
                here = index.search(probe.vector, question, 7)
                there = await milvus.search("m", probe.vector, question, 7)
                assert [hit.id for hit in here] == [hit.id for hit in there], question
                assert [hit.score for hit in here] == pytest.approx([hit.score for hit in there], abs=1e-5)
    finally:
        await milvus.close()


def test_a_replaced_run_is_found_by_its_new_facts_only():
    index = VectorIndex(16)
    first, second = entries(2)
    index.add([first, second])

    index.add([replace(first, status="cancelled")])

    found = index.search(first.vector, RunFilter(visible=ALL, status="cancelled"), 5)
    assert [hit.id for hit in found] == [first.id]
    assert len(index) == 2
