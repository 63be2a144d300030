"""The embedding adapter with the real client library against a server on this machine."""

import math

import pytest

from services.adapters.openai import OpenAIEmbedder
from services.history.vectors import EmbeddingFailed
from tests.support.embedding_server import embedding_server


@pytest.fixture
def server():
    with embedding_server() as server:
        yield server


@pytest.fixture
async def embedder(server):
    embedder = OpenAIEmbedder(key=None, base_url=server.url, model="test")
    yield embedder
    await embedder.close()


async def test_texts_become_vectors_of_unit_length(embedder, server):
    vectors = await embedder.embed(["disk full", "payment received"])

    assert [len(vector) for vector in vectors] == [384, 384]
    assert math.fsum(x * x for x in vectors[0]) == pytest.approx(1.0)
    assert server.texts == ["disk full", "payment received"]


@pytest.mark.parametrize(
    ("answer", "said", "permanent"),
    [
        ((500, {}, {}), "answered 500", False),
        ((400, {}, {}), "answered 400", True),
        ((200, {"data": []}, {}), "0 vectors for 1 texts", False),
        ((200, {"data": [{"embedding": "rubbish"}]}, {}), "no vector", False),
        ((200, {"data": [{"embedding": [0.0, 0.0]}]}, {}), "without direction", False),
        ((200, {"data": [{"embedding": [1e400]}]}, {}), "without direction", False),
        ((200, b"<html>", {}), "failed", False),
        ((200, {"hello": 1}, {}), "0 vectors", False),
    ],
)
async def test_whatever_the_service_answers_is_one_clear_error(embedder, server, answer, said, permanent):
    server.misbehave = lambda _: answer

    with pytest.raises(EmbeddingFailed, match=said) as caught:
        await embedder.embed(["x"])

    assert caught.value.permanent is permanent


async def test_a_rate_limit_says_when_to_come_back(embedder, server):
    server.misbehave = lambda _: (429, {}, {"Retry-After": "7"})

    with pytest.raises(EmbeddingFailed, match="429") as caught:
        await embedder.embed(["x"])

    assert caught.value.retry_after_s == 7.0


async def test_a_change_of_dimensions_is_refused(embedder, server):
    await embedder.embed(["x"])
    server.dims = 12

    with pytest.raises(EmbeddingFailed, match="other than 384 dimensions"):
        await embedder.embed(["x"])


async def test_a_dead_service_is_an_error_that_may_pass():
    embedder = OpenAIEmbedder(key="k", base_url="http://127.0.0.1:9/v1", model="test")

    with pytest.raises(EmbeddingFailed, match="APIConnectionError") as caught:
        await embedder.embed(["x"])

    assert not caught.value.permanent
    await embedder.close()
