"""What keeps a database well: liveness, space, copies, settings."""

from __future__ import annotations

import pytest

from models.dal import AsyncDAL, Options, Unavailable, sqlite_url
from tests.dal.conftest import MIGRATIONS, declare
from tests.dal.test_lanes import dying


async def test_a_database_that_works_answers_a_ping(small):
    assert await small.ping() is None


async def test_a_dead_writer_fails_the_ping(databases):
    async with declare(AsyncDAL(databases.create("sqlite", MIGRATIONS))) as db:
        with pytest.raises(Unavailable):
            await dying(db).submit("x")

        with pytest.raises(Unavailable):
            await db.ping()


async def test_deleted_rows_give_their_space_back(small):
    w = small.workflow
    await small.batch(*[w.insert(ref=str(i), title="x" * 5000) for i in range(200)])
    await small(w).delete()

    freed = [await small.reclaim(50), await small.reclaim(1000), await small.reclaim(1000)]

    assert freed[0] == (50 if small.engine == "sqlite" else 0)
    assert freed[1] > 100 or small.engine == "postgres"
    assert freed[2] == 0


async def test_a_backup_is_a_database_of_its_own(databases, tmp_path):
    async with declare(AsyncDAL(databases.create("sqlite", MIGRATIONS))) as db:
        await db.workflow.insert(ref="a")
        await db.backup(tmp_path / "copy.db")
        with pytest.raises(FileExistsError):
            await db.backup(tmp_path / "copy.db")

    async with declare(AsyncDAL(sqlite_url(tmp_path / "copy.db"))) as copy:
        assert [row.ref for row in await copy(copy.workflow).select(copy.workflow.ref)] == ["a"]
        assert await copy.check_schema() == []


async def test_a_pooler_that_keeps_nothing_is_enough(databases):
    url = databases.create("postgres", MIGRATIONS)
    async with declare(AsyncDAL(url, Options(pgbouncer=True, application_name="pooled", pool_size=1))) as db:
        w = db.workflow
        await db.batch(w.insert(ref="a", tags=["x"], meta={"k": 1}), db(w.ref == "a").update(n=1).expect(1))
        found = await db(w.tags.contains("x")).select(w.ref, w.n, w.meta).first()
        name = await db.sql("SHOW application_name").scalar()
        kept = await db.sql("SELECT count(*) FROM pg_prepared_statements").scalar()

    assert (found, name, kept) == ({"ref": "a", "n": 1, "meta": {"k": 1}}, "pooled", 0)
    databases.drop(url)


async def test_a_lost_server_is_unavailable_and_comes_back(databases):
    if databases.server.cluster is None:
        pytest.skip("POSTGRES_TEST_DSN: this server is not ours to restart")
    cluster = type(databases.server.cluster)()  # one that nobody else uses
    try:
        async with AsyncDAL(cluster.dsn(), Options(pool_size=2)) as db:
            lane = db.grouped(sqlite=None, postgres=_echo)
            assert await lane.submit(1) == 1
            cluster.restart()

            with pytest.raises(Unavailable):  # whether it was done is not known, so it is not done again
                await db.sql("CREATE TABLE thing (a bigint)")
            assert await db.sql("SELECT 1").scalar() == 1
            cluster.restart()
            assert await db.sql("SELECT 1").scalar() == 1  # a read is asked again
            assert await lane.submit(3) == 3
    finally:
        cluster.stop()


async def _echo(connection, members):
    await connection.execute("SELECT 1")
    return members


@pytest.mark.parametrize(
    "url",
    [
        "",
        "mysql://x:secret@host/y",
        "sqlite:///",
        "sqlite:///:memory:",
        "sqlite:///x.db?cache=shared",
        "sqlite:///x.db?mode=memory",
    ],
)
def test_a_url_that_names_no_database_is_refused_without_repeating_it(url):
    with pytest.raises(ValueError, match="URL") as caught:
        AsyncDAL(url)

    assert "secret" not in str(caught.value)


def test_a_path_with_special_characters_survives(tmp_path):
    from models.dal.url import parse_url

    path = tmp_path / "a folder" / "50%?#.db"

    assert parse_url(sqlite_url(path)).path == path


def test_a_table_cannot_take_the_name_of_a_method():
    db = AsyncDAL("sqlite:///unused.db")

    for name in ("sql", "batch", "tables", "options"):
        with pytest.raises(ValueError, match="cannot be called"):
            db.define_table(name)


def test_an_undeclared_table_is_named():
    with pytest.raises(AttributeError, match="no table nothing is declared"):
        _ = AsyncDAL("sqlite:///unused.db").nothing
