"""A history to measure: many runs over many workflows, with documents, counters and aggregates, written in bulk."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any
from uuid import UUID

import asyncpg
import orjson

from models.dal import AsyncDAL
from models.dal.codecs import timestamp_text
from services.history import histogram

WORKFLOWS = 500
END = datetime(2026, 6, 1, tzinfo=UTC)
SPACING = timedelta(seconds=5)
WORDS = [f"word{n}" for n in range(2_000)]
PAGE = 20_000
Run = tuple[UUID, str, str, str, int, datetime, str, int | None, str]

LITE_RUN = (
    "INSERT INTO workflow_runs (id, wpk_id, run_id, status, duration_ms, created_at, updated_at, source, community_id,"
    " outputs, pinned) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0)"
)


def runs(count: int) -> Iterator[Run]:
    """id, wpk_id, run_id, status, duration, created, source, community, text; the same every time."""
    rng = random.Random(11)
    for n in range(count):
        workflow = min(int(rng.paretovariate(0.9)) - 1, WORKFLOWS - 1)
        status = "failed" if rng.random() < 0.06 else "completed"
        source = "engine" if rng.random() < 0.7 else "langgraph"
        created = END - SPACING * (count - n)
        community = None if workflow % 5 else workflow % 20 + 1
        text = f"rare{n // 5_000} {rng.choice(WORDS)} {rng.choice(WORDS)} common"
        duration = int(rng.lognormvariate(6, 1))
        yield (
            UUID(int=n + 1),
            f"w{workflow}-1.0.0",
            f"r{n}",
            status,
            duration,
            created,
            "import" if not n else source,
            community,
            text,
        )


async def fill(db: AsyncDAL, url: str, count: int) -> None:
    """Write the history."""
    counts: Counter[tuple[str, int, str]] = Counter()
    daily: dict[tuple[str, int, str, str], list[int]] = {}
    source = runs(count)
    while page := list(islice(source, PAGE)):
        await (_lite(db, page) if db.engine == "sqlite" else _postgres(url, page))
        for _, wpk, _, status, duration, created, _, community, _ in page:
            counts[wpk, community or 0, status] += 1
            daily.setdefault((wpk, community or 0, created.date().isoformat(), status), []).append(duration)
    await _aggregates(db, counts, daily)
    await db.sql("ANALYZE")


async def _lite(db: AsyncDAL, page: list[Run]) -> None:
    def write(round_: Any, _members: Any) -> list[None]:
        round_.each(
            LITE_RUN,
            [
                (str(i), wpk, run, status, ms, timestamp_text(at), timestamp_text(at), source, community,
                 orjson.dumps({"text": text}).decode())
                for i, wpk, run, status, ms, at, source, community, text in page
            ],
        )  # fmt: skip
        round_.each("INSERT INTO run_document (run, text) VALUES (?, ?)", [(str(r[0]), r[8]) for r in page])
        return [None]

    await db.grouped(sqlite=write, postgres=write).submit(None)


async def _postgres(url: str, page: list[Run]) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.copy_records_to_table(
            "workflow_runs",
            records=[
                (i, wpk, run, status, ms, at, at, source, community, orjson.dumps({"text": text}).decode(), False)
                for i, wpk, run, status, ms, at, source, community, text in page
            ],
            columns=["id", "wpk_id", "run_id", "status", "duration_ms", "created_at", "updated_at", "source",
                     "community_id", "outputs", "pinned"],
        )  # fmt: skip
        await connection.copy_records_to_table(
            "run_document", records=[(r[0], r[8]) for r in page], columns=["run", "text"]
        )
    finally:
        await connection.close()


async def _aggregates(db: AsyncDAL, counts: Any, daily: Any) -> None:
    rows = [(*key, n) for key, n in counts.items()]
    for start in range(0, len(rows), 200):
        await db.batch(
            *(
                db.run_count.insert(wpk_id=wpk, community_id=community, status=status, runs=n)
                for wpk, community, status, n in rows[start : start + 200]
            )
        )
    days = list(daily.items())
    for start in range(0, len(days), 200):
        await db.batch(
            *(
                db.workflow_daily.insert(
                    wpk_id=key[0], community_id=key[1], day=key[2], status=key[3], runs=len(durations),
                    duration_ms_sum=sum(durations), durations=histogram.of(durations),
                )
                for key, durations in days[start : start + 200]
            )
        )  # fmt: skip
