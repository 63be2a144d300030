"""Vectors in Milvus: a server by URI or `host:port`, or a Milvus Lite file. The library is imported on first use.

Its facts (measured, pymilvus 3 with milvus-lite 3): the asynchronous client cannot create collections, so that goes
through the synchronous one on a thread; filter templates are unknown to Milvus Lite, so filters are written here and
every text in them is quoted; importing the library reads a `.env` file, so it is imported only when chosen.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from models.run_facts import RunFilter, Visible
from services.errors import FeatureNotInstalled, Unavailable
from services.history.vectors import Entry, Hit

NONE = ""  # Milvus keeps no NULL in a filtered field: no workflow is the empty text, no community is 0
TEXT_BYTES = {"wpk_id": 2048, "run_id": 2048, "status": 16, "source": 16, "workflow_id": 36, "model": 256}
NUMBERS = ("community_id", "created_ms", "duration_ms")
WORKFLOWS_IN_FILTER = 5_000
TIMEOUT_S = 30.0


class CollectionMismatch(Unavailable):
    """The Milvus collection has another schema than ours; it was left alone."""


class MilvusStore:
    """One collection of embedded runs. It is created when missing and never altered when it is different."""

    def __init__(self, endpoint: str, collection: str) -> None:
        """`endpoint`: `http://host:19530`, `host:port`, or the path of a Milvus Lite file."""
        self.uri = _uri(endpoint)
        self.collection = collection
        self._client: Any = None
        self._opening = asyncio.Lock()

    async def upsert(self, model: str, entries: Sequence[Entry]) -> None:
        """Keep the entries; the collection takes the dimensions of the first one it ever sees."""
        if not entries:
            return
        client = await self._ready(len(entries[0].vector))
        await self._call(client.upsert(self.collection, [_row(model, entry) for entry in entries], timeout=TIMEOUT_S))
        await self._call(client.flush(self.collection, timeout=TIMEOUT_S))  # unflushed rows are searched 30x slower

    async def search(self, model: str, vector: Sequence[float], runs: RunFilter, k: int) -> list[Hit]:
        """The `k` nearest runs that the filter admits."""
        client = await self._ready(len(vector))
        found = await self._call(
            client.search(
                self.collection, data=[list(vector)], limit=k, filter=expression(model, runs), timeout=TIMEOUT_S
            )
        )
        return [Hit(UUID(hit["id"]), float(hit["distance"])) for hit in found[0]]

    async def delete(self, ids: Sequence[UUID]) -> None:
        """Forget these runs."""
        if ids and self._client is not None:
            await self._call(self._client.delete(self.collection, ids=[str(i) for i in ids], timeout=TIMEOUT_S))

    async def rest(self) -> None:
        """Nothing to give back: the vectors are not in this process."""

    async def close(self) -> None:
        """Close the connection."""
        if self._client is not None:
            await self._client.close()
            self._client = None

    async def _ready(self, dims: int) -> Any:
        async with self._opening:
            if self._client is None:
                async_client, error = _library()
                try:
                    await asyncio.to_thread(_prepare, self.uri, self.collection, dims)
                    self._client = async_client(uri=self.uri)
                except error as problem:
                    raise Unavailable(f"Milvus at {self.uri} cannot be used: {problem}") from problem
        return self._client

    async def _call(self, work: Any) -> Any:
        _, error = _library()
        try:
            return await work
        except error as problem:
            raise Unavailable(f"Milvus at {self.uri} failed: {problem}") from problem


def _library() -> tuple[Any, type[Exception]]:
    try:
        from pymilvus import AsyncMilvusClient, MilvusException
    except ImportError:
        raise FeatureNotInstalled("MILVUS_ENDPOINT needs the extra 'milvus': pip install '.[milvus]'") from None
    logging.getLogger("pymilvus").setLevel(logging.CRITICAL)  # it logs every error it also raises
    return AsyncMilvusClient, MilvusException


def _prepare(uri: str, collection: str, dims: int) -> None:
    """Create the collection, or check that the one that is there is ours."""
    from pymilvus import DataType, MilvusClient

    client = MilvusClient(uri=uri)
    try:
        if client.has_collection(collection):
            _check(client.describe_collection(collection), collection, dims)
            client.load_collection(collection)
            return
        schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field("id", DataType.VARCHAR, is_primary=True, max_length=36)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=dims)
        for name, size in TEXT_BYTES.items():
            schema.add_field(name, DataType.VARCHAR, max_length=size)
        for name in NUMBERS:
            schema.add_field(name, DataType.INT64)
        index = MilvusClient.prepare_index_params()
        index.add_index("vector", index_type="FLAT", metric_type="COSINE")
        client.create_collection(collection, schema=schema, index_params=index)
    finally:
        client.close()


def _check(description: dict[str, Any], collection: str, dims: int) -> None:
    fields = {field["name"]: field for field in description["fields"]}
    missing = {"id", "vector", *TEXT_BYTES, *NUMBERS} - fields.keys()
    if missing:
        raise CollectionMismatch(
            f"The Milvus collection {collection!r} has another schema (no {', '.join(sorted(missing))}); it was left "
            "alone. Set MILVUS_COLLECTION to a name of its own."
        )
    have = int(fields["vector"]["params"]["dim"])
    if have != dims:
        raise CollectionMismatch(
            f"The Milvus collection {collection!r} holds vectors of {have} dimensions, the embedding model answers "
            f"{dims}; it was left alone. Set MILVUS_COLLECTION to a new name."
        )


def _row(model: str, entry: Entry) -> dict[str, Any]:
    return {
        "id": str(entry.id),
        "vector": list(entry.vector),
        "wpk_id": entry.wpk_id,
        "run_id": entry.run_id,
        "status": entry.status,
        "source": entry.source,
        "workflow_id": str(entry.workflow_id or NONE),
        "model": model,
        "community_id": entry.community_id or 0,
        "created_ms": _millis(entry.created_at),
        "duration_ms": -1 if entry.duration_ms is None else entry.duration_ms,
    }


def expression(model: str, runs: RunFilter) -> str:
    """The filter in Milvus' language; every text is a quoted JSON string, so nothing in it can be an operator."""
    parts = [f"model == {_text(model)}"]
    for name, value in (("wpk_id", runs.wpk_id), ("status", runs.status), ("source", runs.source)):
        if value is not None:
            parts.append(f"{name} == {_text(value)}")
    if runs.since is not None:
        parts.append(f"created_ms >= {_millis(runs.since)}")
    if runs.until is not None:
        parts.append(f"created_ms < {_millis(runs.until)}")
    if runs.min_duration_ms is not None:
        parts.append(f"duration_ms >= {int(runs.min_duration_ms)}")
    if not runs.visible.everything:
        parts.append(_visible(runs.visible))
    return " and ".join(parts)


def _visible(visible: Visible) -> str:
    communities = ", ".join(str(int(c)) for c in sorted({0, *visible.communities}))
    unregistered = f'workflow_id == "{NONE}" and community_id in [{communities}]'
    workflows = ", ".join(_text(str(w)) for w in sorted(visible.workflows)[:WORKFLOWS_IN_FILTER])
    return f"(({unregistered}) or workflow_id in [{workflows}])"


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)


def _millis(at: datetime) -> int:
    return int(at.timestamp() * 1000)


def _uri(endpoint: str) -> str:
    if "://" in endpoint or endpoint.endswith(".db") or "/" in endpoint:
        return endpoint
    return f"http://{endpoint}"
