"""SQL is built once per shape."""

from __future__ import annotations

from models.dal import AsyncDAL, Options
from tests.dal.conftest import declare


async def test_other_values_and_other_list_lengths_are_the_same_shape(small):
    w = small.workflow
    before = small.compiler.misses

    for i in range(20):
        await small((w.ref == f"r{i}") & (w.n > i)).select(w.id, limit=i)
        await small(w.ref.belongs(list("abc" * i))).count()
        await small(w.ref == f"r{i}").update(n=None if i % 2 else i)

    assert small.compiler.misses == before + 3


def test_null_in_a_comparison_is_another_shape():
    db = declare(AsyncDAL("sqlite:///unused.db"))
    w = db.workflow

    texts = {db(query).count().bound()[0] for query in (w.n == 1, w.n == None, w.n != None)}  # noqa: E711

    assert len(texts) == 3


def test_escape_and_case_are_part_of_the_shape():
    db = declare(AsyncDAL("sqlite:///unused.db"))
    w = db.workflow
    queries = [
        w.ref.like("a"),
        w.ref.like("a", escape="!"),
        w.ref.like("a", escape="\\"),
        w.ref.contains("a", case_sensitive=True),
        w.ref.contains("a", case_sensitive=False),
    ]

    bound = [db(query).count().statement for query in queries]

    assert len({id(statement) for statement in bound}) == 5


def test_columns_of_an_insert_have_one_order():
    db = declare(AsyncDAL("sqlite:///unused.db"))

    texts = {
        db.workflow.insert(ref="a", n=1, score=2.0).bound()[0],
        db.workflow.insert(score=2.0, n=1, ref="a").bound()[0],
    }

    assert len(texts) == 1


def test_the_least_recently_used_statements_are_forgotten():
    db = declare(AsyncDAL("sqlite:///unused.db", Options(shapes=3)))
    w = db.workflow
    for field in (w.ref, w.title, w.n, w.score, w.ref):
        db(field != None).count().op()  # noqa: E711

    assert len(db.compiler.statements()) == 3


def test_both_dialects_live_in_one_process():
    lite = declare(AsyncDAL("sqlite:///unused.db"))
    post = declare(AsyncDAL("postgresql://unused/unused"))

    texts = [db(db.workflow.ref.belongs(["a"])).count().bound()[0] for db in (lite, post, lite)]

    assert ["json_each" in text for text in texts] == [True, False, True]
    assert "ANY($1::text[])" in texts[1]


async def test_few_prepared_statements_remain_on_the_server(databases):
    from tests.dal.conftest import MIGRATIONS

    url = databases.create("postgres", MIGRATIONS)
    async with declare(AsyncDAL(url, Options(pool_size=1))) as db:
        w = db.workflow
        for i in range(50):
            await db((w.n > i) & (w.ref != str(i))).count()
            await db(w.ref.belongs(["x"] * i)).select(w.id, limit=i)

        count = await db.sql(
            "SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE :text", text='%"workflow"%'
        ).scalar()

    assert count == 2
    databases.drop(url)
