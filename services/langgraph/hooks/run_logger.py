"""The synchronous calls that existing LangGraph hooks import: no server, no key, the same database.

    from services.langgraph.hooks.run_logger import log_run
    log_run({"wpk_id": "test", "run_id": "r1", "status": "completed", "outputs": {"text": "ok"}, "duration_ms": 123})

The database is the one the server of this environment uses (`POSTGRES_DSN`, else SQLite in `DATA_DIR`); it is opened
and brought to the newest schema on the first call. A server that runs on it indexes and embeds the runs afterwards.
"""

from __future__ import annotations

import asyncio
import atexit
import sys
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from config import Settings

ROOT = Path(__file__).resolve().parents[3]
T = TypeVar("T")
RunLine = tuple[str, str, int | None, datetime]


def log_run(run_obj: dict[str, Any]) -> str:
    """Log one run and return its `run_id`; on return it is durable.

    Raises ValueError naming every field that is missing or wrong. The same run again updates it.
    """
    _find_project()
    from services.errors import Invalid
    from services.history.record import parse_run

    try:
        run = parse_run(run_obj)
    except Invalid as error:
        raise ValueError(error.message) from None
    _history().run(lambda here: here.log(run))
    return run.run_id


def get_runs_by_wpk_id(wpk_id: str, limit: int = 20, offset: int = 0) -> list[RunLine]:
    """The runs of a workflow package, newest first: `[(run_id, status, duration_ms, created_at), …]`."""
    _find_project()
    return _history().run(lambda here: here.runs(wpk_id, limit, offset))


def generate_embedding(text: str) -> list[float] | None:
    """The embedding of a text, or None where no embedding service is configured.

    Raises `EmbeddingFailed` when the service does not deliver.
    """
    _find_project()
    settings = _settings()
    if not settings.embeddings_on:
        return None
    return _history().run(lambda _: _embed(settings, text))


def upsert_to_milvus(run_obj: dict[str, Any], embedding: list[float] | None) -> bool:
    """Put a logged run's embedding into Milvus; False where there is no endpoint or no embedding.

    Raises `Unavailable` when Milvus is down, KeyError when the run was never logged.
    """
    _find_project()
    settings = _settings()
    if not settings.milvus_endpoint or embedding is None:
        return False
    _history().run(lambda here: here.upsert(settings, run_obj, embedding))
    return True


class _Direct:
    """The run history, opened by this process, on a loop of its own thread."""

    def __init__(self, settings: Settings) -> None:
        self.key = _key(settings)
        self._settings = settings
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="millrace-run-logger", daemon=True)
        self._thread.start()
        try:
            self._opened = self._run(_open(settings))
        except BaseException:
            self._end()
            raise

    def run(self, work: Callable[[_Opened], Coroutine[Any, Any, T]]) -> T:
        """Run `work(opened)` on the loop and return what it returns."""
        return self._run(work(self._opened))

    def close(self) -> None:
        """Close the database and end the thread."""
        self._run(self._opened.db.close())
        self._end()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@dataclass(frozen=True, slots=True)
class _Opened:
    """An open database with what writes runs to it."""

    db: Any
    writer: Any

    async def log(self, run: Any) -> None:
        from services.history.runs import Target
        from services.registry import lookup

        found = await lookup.find(self.db, run.wpk_id)
        target = None
        if found is not None:
            w = found.workflow
            target = Target(workflow_id=w.id, version=w.version, community_id=w.community_id)
        await self.writer.log([run], source="langgraph", target=target, community_id=run.community_id)

    async def runs(self, wpk_id: str, limit: int, offset: int) -> list[RunLine]:
        from models.runs import WorkflowRuns, workflow_page

        wanted = WorkflowRuns(packages=[wpk_id])
        page = await workflow_page(self.db, wanted, after=None, skip=offset, count=limit)
        return [(run.run_id, run.status, run.duration_ms, run.created_at) for run in page]

    async def upsert(self, settings: Settings, run_obj: dict[str, Any], embedding: list[float]) -> None:
        from models.embeddings import texts
        from models.runs import by_run_id
        from services.adapters.milvus import MilvusStore
        from services.history.database_vectors import facts_of

        known = await by_run_id(self.db, run_obj["run_id"], run_obj["wpk_id"])
        if not known:
            raise KeyError(run_obj["run_id"])
        [text] = await texts(self.db, [known[0].id])
        store = MilvusStore(settings.milvus_endpoint or "", settings.milvus_collection)
        try:
            await store.upsert(settings.embedding_model, [facts_of(text, embedding)])
        finally:
            await store.close()


_direct: _Direct | None = None
_opening = threading.Lock()


def _history() -> _Direct:
    """The history of the present environment; opened on first use and again when the environment changed."""
    global _direct  # noqa: PLW0603 - the calls are plain functions, so their connection has no other home
    settings = _settings()
    with _opening:
        if _direct is not None and _direct.key != _key(settings):
            _close()
        if _direct is None:
            _direct = _Direct(settings)
            atexit.register(_close)
        return _direct


def _close() -> None:
    global _direct  # noqa: PLW0603 - see above
    if _direct is not None:
        _direct.close()
        _direct = None
        atexit.unregister(_close)


async def _open(settings: Settings) -> _Opened:
    from models.dal import AsyncDAL, sqlite_url
    from models.schema import declare
    from services.access.authentication import utc_now
    from services.history.adoption import upgrade
    from services.history.runs import RunLog

    settings.data_dir.mkdir(parents=True, exist_ok=True)
    db = declare(AsyncDAL(settings.postgres_dsn or sqlite_url(settings.data_dir / "millrace.db")))
    await db.open()
    await upgrade(db, ROOT / "migrations", utc_now)
    return _Opened(db, RunLog(db, utc_now))


async def _embed(settings: Settings, text: str) -> list[float]:
    from services.adapters.openai import OpenAIEmbedder

    embedder = OpenAIEmbedder(
        key=settings.openai_key, base_url=settings.openai_base_url, model=settings.embedding_model
    )
    try:
        [vector] = await embedder.embed([text])
    finally:
        await embedder.close()
    return vector


def _settings() -> Settings:
    from config import load

    return load()


def _key(settings: Settings) -> tuple[str, str]:
    return settings.postgres_dsn or "", str(settings.data_dir.resolve())


def _find_project() -> None:
    """Let `from run_logger import log_run` work with nothing but this folder on the path."""
    if str(ROOT) not in sys.path:
        sys.path.append(str(ROOT))
