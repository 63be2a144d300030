"""Embeddings from OpenAI or any server that speaks its protocol. The library is imported on first use."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from services.errors import FeatureNotInstalled
from services.history.vectors import EmbeddingFailed

if TYPE_CHECKING:
    from openai import AsyncOpenAI

TIMEOUT_S = 20.0


class OpenAIEmbedder:
    """One model at one address; asks for plain floats, because local servers often know nothing else."""

    def __init__(self, *, key: str | None, base_url: str | None, model: str) -> None:
        self._key, self._base_url, self._model = key, base_url, model
        self._client: AsyncOpenAI | None = None
        self._dims: int | None = None

    @property
    def model(self) -> str:
        """The model's name."""
        return self._model

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """One vector of unit length per text. EmbeddingFailed says whether trying again can help."""
        import openai

        try:
            answer = await self._open().embeddings.create(
                model=self._model, input=list(texts), encoding_format="float", timeout=TIMEOUT_S
            )
        except openai.APIStatusError as error:
            permanent = error.status_code in {400, 413, 422}
            raise EmbeddingFailed(
                f"the embedding service answered {error.status_code}",
                permanent=permanent,
                retry_after_s=_seconds(error.response.headers.get("retry-after")),
            ) from error
        except (openai.OpenAIError, ValueError) as error:
            raise EmbeddingFailed(f"the embedding service failed: {type(error).__name__}") from error
        return self._checked([item.embedding for item in getattr(answer, "data", None) or ()], len(texts))

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.close()
            self._client = None

    def _open(self) -> AsyncOpenAI:
        if self._client is None:
            try:
                from openai import AsyncOpenAI
            except ImportError:
                raise FeatureNotInstalled("Embeddings need the extra 'ai': pip install '.[ai]'") from None
            # a local server without keys still needs the client to have one
            self._client = AsyncOpenAI(api_key=self._key or "none", base_url=self._base_url, max_retries=0)
        return self._client

    def _checked(self, vectors: Sequence[object], expected: int) -> list[list[float]]:
        if len(vectors) != expected:
            raise EmbeddingFailed(f"the embedding service answered {len(vectors)} vectors for {expected} texts")
        unit = [_unit(vector) for vector in vectors]
        dims = self._dims or len(unit[0])
        if any(len(vector) != dims for vector in unit):
            raise EmbeddingFailed(f"the embedding service answered vectors of other than {dims} dimensions")
        self._dims = dims
        return unit


def _unit(vector: object) -> list[float]:
    if not isinstance(vector, list) or not vector or not all(isinstance(x, int | float) for x in vector):
        raise EmbeddingFailed("the embedding service answered something that is no vector")
    length = math.sqrt(sum(float(x) * x for x in vector))
    if not math.isfinite(length) or length == 0.0:
        raise EmbeddingFailed("the embedding service answered a vector without direction")
    return [x / length for x in vector]


def _seconds(header: str | None) -> float | None:
    try:
        return max(0.0, float(header)) if header else None
    except ValueError:
        return None
