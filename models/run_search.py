"""Keyword search over runs: the filter first, then the newest matches, then their ranks."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from models.run_facts import RunFilter
from models.runs import RunSql, conditions

RANKED = 10_000
"""Matches that are ranked; of more, the newest."""
LOOKED_AT = 50_000
"""Matches that a filter is applied to; of more, the newest."""
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """A run with the words; `rank` is comparable within one answer only, higher is better."""

    id: UUID
    rank: float
    text: str


def words(question: str, *, most: int = 16) -> list[str]:
    """The words of a question, at most 16: nothing in it can be an operator."""
    return [word.lower() for word in _WORD.findall(question)][:most]


async def search(db: Any, question: Sequence[str], runs: RunFilter, *, every: bool, count: int) -> list[Match]:
    """Runs with every (or, else, any) of the words, the best first."""
    sql = RunSql.of(db)
    best = _postgres(sql, question, runs, every) if sql.postgres else _sqlite(sql, question, runs, every)
    text = (
        f"SELECT d.run, b.rank, d.text FROM ({best} LIMIT {sql.bind(count)}) AS b JOIN run_document d ON d.n = b.n"
        " ORDER BY b.rank DESC, b.n DESC"
    )
    rows = await db.sql(text, into=(db.run_document, db.workflow_runs), **sql.values)
    return [Match(id=UUID(str(row["run"])), rank=float(row["rank"]), text=row["text"]) for row in rows]


def _sqlite(sql: RunSql, question: Sequence[str], runs: RunFilter, every: bool) -> str:
    query = (" " if every else " OR ").join(f'"{word}"' for word in question)
    matched = sql.bind(query)
    newest = (
        f"SELECT run_text.rowid AS n, run_text.rank AS rank FROM run_text WHERE run_text MATCH {matched}"
        f" ORDER BY run_text.rowid DESC LIMIT {{}}"
    )
    where = conditions(sql, runs)
    if not where:
        ranked = newest.format(sql.bind(RANKED))
    else:
        ranked = (
            f"SELECT h.n, h.rank FROM ({newest.format(sql.bind(LOOKED_AT))}) AS h JOIN run_document d ON d.n = h.n"
            f" JOIN workflow_runs w ON w.id = d.run WHERE {' AND '.join(where)} LIMIT {sql.bind(RANKED)}"
        )
    return f"SELECT r.n, -r.rank AS rank FROM ({ranked}) AS r ORDER BY r.rank, r.n DESC"


def _postgres(sql: RunSql, question: Sequence[str], runs: RunFilter, every: bool) -> str:
    query = sql.bind((" & " if every else " | ").join(f"'{word}'" for word in question))
    where = conditions(sql, runs)
    tsquery = f"to_tsquery('simple', {query})"
    newest = f"SELECT t.n, t.run, t.words FROM run_text t WHERE t.words @@ {tsquery} ORDER BY t.n DESC LIMIT {{}}"
    if not where:
        ranked = newest.format(sql.bind(RANKED))
    else:  # LATERAL with OFFSET 0: one look-up per match, never a join with the whole table
        ranked = (
            f"SELECT h.n, h.words FROM ({newest.format(sql.bind(LOOKED_AT))}) AS h CROSS JOIN LATERAL"
            f" (SELECT 1 FROM workflow_runs w WHERE w.id = h.run AND {' AND '.join(where)} OFFSET 0) AS seen"
            f" ORDER BY h.n DESC LIMIT {sql.bind(RANKED)}"
        )
    return f"SELECT r.n, ts_rank(r.words, {tsquery}) AS rank FROM ({ranked}) AS r ORDER BY rank DESC, r.n DESC"
