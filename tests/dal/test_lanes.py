"""When a SQLite thread or the file under it fails, everybody gets an answer."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from models.dal import AsyncDAL, Options, Unavailable
from tests.dal.conftest import MIGRATIONS, declare

ROOT = Path(__file__).parents[2]


@pytest.fixture
def url(databases):
    return databases.create("sqlite", MIGRATIONS)


def dying(db):
    """A lane whose function ends the writer thread."""

    def sqlite(round_, members):
        raise SystemExit("the thread ends")

    return db.grouped(sqlite=sqlite, postgres=None)


async def test_a_dead_writer_fails_pending_and_new_calls_and_says_so(url):
    fatal = []
    async with declare(AsyncDAL(url, on_fatal=fatal.append)) as db:
        pending = [
            asyncio.gather(dying(db).submit("x"), return_exceptions=True),
            asyncio.gather(*[db.workflow.insert(ref=str(i)) for i in range(5)], return_exceptions=True),
        ]
        outcomes = [outcome for group in pending for outcome in await group]

        with pytest.raises(Unavailable, match="the sqlite-writer thread ended"):
            await db.workflow.insert(ref="new")
        assert {type(outcome) for outcome in outcomes} == {Unavailable}
        assert [type(error) for error in fatal] == [SystemExit]
        assert await db(db.workflow).count() == 0  # reading goes on


async def test_a_dead_writer_ends_an_interactive_transaction_that_waits_for_it(url):
    async with declare(AsyncDAL(url)) as db:
        lane = asyncio.create_task(_outcome(dying(db).submit("x")))
        await asyncio.sleep(0)
        with pytest.raises(Unavailable):
            async with db.transaction():
                pytest.fail("there is no writer")

        assert isinstance(await lane, Unavailable)


async def test_a_thread_that_hangs_in_the_operating_system_is_given_up(url):
    import threading

    release, fatal = threading.Event(), []
    options = Options(statement_timeout_s=0.05, busy_timeout_s=0.05)
    async with declare(AsyncDAL(url, options, on_fatal=fatal.append)) as db:
        lane = db.grouped(sqlite=lambda round_, members: [release.wait(20)], postgres=None)

        with pytest.raises(Unavailable, match="does not answer"):
            await lane.submit("x")
        with pytest.raises(Unavailable):
            await db.workflow.insert(ref="new")

        release.set()
    assert [type(error) for error in fatal] == [TimeoutError]


async def test_a_full_disk_fails_what_does_not_fit_and_nothing_else(url):
    async with declare(AsyncDAL(url)) as db:
        w = db.workflow
        pages = await db.sql("SELECT page_count FROM pragma_page_count").scalar()
        await db.sql(f"PRAGMA max_page_count = {pages + 8}")
        big = w.insert(ref="big", title="x" * 500_000)

        outcomes = await asyncio.gather(
            *[w.insert(ref=str(i)) for i in range(5)], big, *[w.insert(ref=f"b{i}") for i in range(5)],
            return_exceptions=True,
        )  # fmt: skip

        assert isinstance(outcomes[5], Unavailable)
        assert outcomes[:5] + outcomes[6:] == [1] * 10
        await db.sql("PRAGMA max_page_count = 1000000")
        assert await w.insert(ref="big", title="x" * 500_000) == 1


async def test_another_process_that_holds_the_lock_makes_writes_unavailable(url):
    import sqlite3

    async with declare(AsyncDAL(url, Options(busy_timeout_s=0.05))) as db:
        holder = sqlite3.connect("/" + url.partition(":////")[2], isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")

        with pytest.raises(Unavailable, match="locked"):
            await db.workflow.insert(ref="a")
        holder.execute("ROLLBACK")
        holder.close()

        assert await db.workflow.insert(ref="a") == 1


BROKEN_DISK = """
    import asyncio, resource, sys
    from models.dal import AsyncDAL, Options, Unavailable
    from tests.dal.conftest import declare

    async def outcome(call):
        try:
            return await call
        except Unavailable:
            return "unavailable"

    def limit(path):
        size = max(os.path.getsize(path + suffix) for suffix in ("", "-wal"))
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    async def main(url):
        fatal = []
        async with declare(AsyncDAL(url, on_fatal=fatal.append)) as db:
            w = db.workflow
            said = [await w.insert(ref="before")]
            limit("/" + url.partition(":////")[2])
            said.append(await outcome(w.insert(ref="first", title="x" * 100_000)))
            said.append(bool(fatal))
            if REPAIRED:
                resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            said.append(await outcome(w.insert(ref="second", title="x" * 100_000)))
            said.append(await outcome(w.insert(ref="third")))
            said.append(bool(fatal))
            said.append(await db(w).count())
        print(said)

    asyncio.run(main(sys.argv[1]))
"""


@pytest.mark.parametrize(
    ("repaired", "said"),
    [
        (True, "[1, 'unavailable', False, 1, 1, False, 3]"),
        (False, "[1, 'unavailable', False, 'unavailable', 'unavailable', True, 1]"),
    ],
)
def test_after_an_io_error_the_file_is_reopened_once(url, repaired, said):
    script = "import os\nREPAIRED = " + repr(repaired) + textwrap.dedent(BROKEN_DISK)

    done = subprocess.run([sys.executable, "-c", script, url], cwd=ROOT, capture_output=True, text=True, timeout=60)

    assert done.stdout.strip() == said, done.stderr


async def _outcome(awaitable):
    try:
        return await awaitable
    except Unavailable as error:
        return error
