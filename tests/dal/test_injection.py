"""No text of a user ever becomes SQL."""

from __future__ import annotations

import pytest
from pydal.objects import Expression

EVIL = [
    "x' OR 1=1 --", "'; DROP TABLE workflow; --", 'a"b', "\\", "%", "_", "$1", "?1", ":ref", "\x010\x02", "a|b||c",
    "{a,b}", "élan Ünï", "\\%", "1) OR 1=1 --;",
]  # fmt: skip


@pytest.fixture
async def filled(small):
    w = small.workflow
    await small.batch(*[w.insert(ref=evil, title=evil, meta={"v": evil}, tags=[evil]) for evil in EVIL])
    return small


@pytest.mark.parametrize("evil", EVIL)
async def test_a_hostile_text_finds_exactly_itself(filled, evil):
    w = filled.workflow
    queries = [
        w.ref == evil,
        w.ref.belongs([evil]),
        w.tags.contains(evil),
        w.title.startswith(evil) & w.title.endswith(evil) & (w.ref == evil),
        (w.ref >= evil) & (w.ref <= evil),
        w.meta == {"v": evil},
    ]

    found = [[row.ref for row in await filled(query).select(w.ref)] for query in queries]

    assert found == [[evil]] * len(queries)


@pytest.mark.parametrize("evil", EVIL)
async def test_a_hostile_text_is_a_value_in_every_statement(filled, evil):
    w = filled.workflow
    among = await filled(w.title.contains(evil)).select(w.ref)
    json_found = await filled(w.meta == evil).count()  # pyDAL alone pastes this one into the text
    changed = await filled(w.ref == evil).update(title=evil + evil)
    named = await filled.sql("SELECT title FROM workflow WHERE ref = :r AND ':r' <> :r", r=evil)

    assert evil in [row.ref for row in among]
    assert (json_found, changed) == (0, 1)
    assert [row.title for row in named] == [evil + evil]
    assert await filled(w).count() == len(EVIL)


async def test_no_statement_text_contains_a_value(filled):
    w = filled.workflow
    for evil in EVIL:
        await filled((w.ref == evil) | w.title.like(evil) | w.tags.contains([evil, "b"])).select(limit=3)

    texts = [statement.sql for statement in filled.compiler.statements()]

    assert not [text for text in texts if "OR 1=1 --" in text or "DROP" in text or "élan" in text]


@pytest.mark.parametrize(
    "attempt",
    [
        lambda db, w: db("1=1").select(w.id),
        lambda db, w: db(w).select("1; DROP TABLE workflow"),
        lambda db, w: db(w).select(orderby="id; DROP TABLE workflow"),
        lambda db, w: db(w).select(groupby="1"),
        lambda db, w: db(w.ref.belongs("1) OR 1=1")).count().op(),
        lambda db, w: db(w.id == 1).select(w.ref[1:3]),
        lambda db, w: db(Expression(w._db, "1=1")).count(),
        lambda db, w: db(w.ref.regexp("^a")).count(),
        lambda db, w: db(w).select(w.n.sum().with_alias("x; DROP TABLE workflow")),
        lambda db, w: db(w.id),
        lambda db, w: db(w).select(for_update="; DROP TABLE workflow") if db.engine == "postgres" else db("x"),
    ],
)
async def test_raw_sql_in_a_query_is_refused(small, attempt):
    with pytest.raises((TypeError, ValueError)):
        attempt(small, small.workflow)


async def test_a_query_in_a_log_line_shows_no_value(small):
    assert "secret" not in repr(small.workflow.ref == "secret")
