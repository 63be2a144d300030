"""Real servers under load whose disk fills up, whose database goes away or takes no writes, and that are told to stop."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from tests.crash.callee import Callee
from tests.crash.fleet import fleet
from tests.crash.load import Load, until
from tests.crash.shapes import write_pack
from tests.support.postgres_cluster import PostgresCluster
from tests.support.small_disk import SmallDisk, small_disk

pytestmark = [pytest.mark.crash, pytest.mark.timeout(580)]

FULL = "The database has no room left"
AWAY = "The database is unavailable"
READ_ONLY = "The database takes no writes now"
WAL_LIMIT = 68 * 1024 * 1024
"""journal_size_limit, and a little: see models/dal/sqlite_connection.py."""


@pytest.fixture
def callee() -> Iterator[Callee]:
    made = Callee()
    yield made
    made.close()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk") as mounted:
        if mounted is None:
            pytest.skip("only root may mount a small disk; tests/http/test_outages.py limits the file instead")
        yield mounted


@pytest.fixture
def cluster() -> Iterator[PostgresCluster]:
    made = PostgresCluster()
    yield made
    made.stop()


async def test_a_full_disk_loses_nothing_even_with_a_kill_in_the_middle_of_it(
    tmp_path: Path, disk: SmallDisk, callee: Callee
) -> None:
    with fleet(tmp_path, {"DATA_DIR": str(disk.folder), "PACKS_DIR": str(tmp_path / "packs")}) as processes:
        load = Load(processes.serve().wait_until_up(), callee)
        await load.begin()
        await load.more(20)

        disk.fill()
        await load.refused(3, FULL)
        status, checks = await load.ready()
        first = next(iter(load.accepted.values()))
        read = await load.client.get(f"{load.server.url}/api/v1/workflows/executions/{first}")
        load.server.kill()
        load.server = processes.serve().wait_until_up()
        started_full = await load.ready()
        disk.free()
        await load.until_ready()
        await load.more(20)
        await load.stop()
        statuses = await load.until_all_ended()
        exit_code = load.server.stop()

        assert (status, checks["database"]["ok"], checks["dispatcher"]["ok"]) == (503, False, True)
        assert "full" in checks["database"]["detail"]
        assert read.status_code == 200
        assert started_full[0] == 503
        assert set(statuses.values()) == {"completed"}
        assert load.problems() == []
        assert len(kept(disk.folder)) == len(statuses) + sum(n % 5 == 4 for n in load.accepted)  # parents have a child
        assert exit_code == 0
        await load.client.aclose()


def kept(folder: Path) -> list[str]:
    connection = sqlite3.connect(folder / "millrace.db")
    try:
        return [row[0] for row in connection.execute("SELECT execution_id FROM workflow_executions")]
    finally:
        connection.close()


async def test_a_database_that_goes_away_and_takes_no_writes_loses_nothing(
    tmp_path: Path, cluster: PostgresCluster, callee: Callee
) -> None:
    write_pack(tmp_path / "packs")
    await command(cluster, "CREATE DATABASE mill")
    with fleet(tmp_path, {"POSTGRES_DSN": cluster.dsn("mill")}) as processes:
        server, worker = processes.serve("--no-worker"), processes.worker()
        load = Load(server.wait_until_up(), callee)
        worker.wait_until_up()
        await load.begin()
        await load.more(20)

        await asyncio.to_thread(cluster.halt)
        await load.refused(3, AWAY)
        stopped = await load.ready()
        await asyncio.to_thread(cluster.start_again)
        await load.until_ready()
        await load.more(10)
        await command(cluster, "ALTER DATABASE mill SET default_transaction_read_only = on", cut=True)
        await load.refused(3, READ_ONLY)
        read_only = await load.ready()
        await command(cluster, "ALTER DATABASE mill RESET default_transaction_read_only")
        await load.until_ready()
        await load.more(10)
        await command(cluster, "ALTER DATABASE mill ALLOW_CONNECTIONS false", cut=True)
        await until(lambda: "not currently accepting connections" in server.printed)
        await command(cluster, "ALTER DATABASE mill ALLOW_CONNECTIONS true")
        await load.until_ready()
        await load.more(10)
        await load.stop()
        statuses = await load.until_all_ended()
        exit_codes = worker.stop(), server.stop()

        assert (stopped[0], stopped[1]["database"]["ok"]) == (503, False)
        assert (read_only[0], read_only[1]["database"]["ok"]) == (503, False)
        assert "read-only" in read_only[1]["database"]["detail"]
        assert set(statuses.values()) == {"completed"}
        assert load.problems() == []
        assert exit_codes == (0, 0)
        await load.client.aclose()


async def command(cluster: PostgresCluster, sql: str, *, cut: bool = False) -> None:
    connection = await asyncpg.connect(cluster.dsn())
    try:
        await connection.execute(sql)
        if cut:
            await connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'mill'")
    finally:
        await connection.close()


async def test_a_server_told_to_stop_under_load_answers_who_waits_and_loses_nothing(
    tmp_path: Path, callee: Callee
) -> None:
    write_pack(tmp_path / "packs")
    with fleet(tmp_path, {"SHUTDOWN_SECONDS": "20"}) as processes:
        load = Load(processes.serve().wait_until_up(), callee)
        await load.begin()
        await load.more(10)
        path = f"{load.server.url}/api/v1/workflows/default.ask/execute?wait=60"
        waiting = asyncio.ensure_future(load.client.post(path, json={"variables": {"n": 999}}))
        await until(lambda: any(b'"n":999' in seen[0].body for seen in callee.calls.values()))
        first = load.server

        first.terminate()
        answer = await waiting
        exit_code = await asyncio.to_thread(first.process.wait, 60)
        load.server = processes.serve().wait_until_up()
        await load.more(10)
        await load.stop()
        statuses = await load.until_all_ended()

        assert answer.status_code == 202
        assert answer.headers["Location"]
        assert exit_code == 0
        assert set(statuses.values()) == {"completed"}
        assert load.problems() == []
        await load.client.aclose()


async def test_a_client_that_goes_away_while_it_waits_takes_nothing_with_it(tmp_path: Path, callee: Callee) -> None:
    write_pack(tmp_path / "packs")
    with fleet(tmp_path, {}) as processes:
        load = Load(processes.serve().wait_until_up(), callee)
        await load.register()
        path = f"{load.server.url}/api/v1/workflows/default.timer/execute?wait=60"
        waiting = asyncio.ensure_future(load.client.post(path, json={"variables": {"n": 1}}))
        await until(lambda: callee.total > 0)

        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await until(lambda: callee.total == 2)
        await until(lambda: unended(tmp_path) == 0)

        assert len(kept(tmp_path)) == 1
        await load.client.aclose()


def unended(folder: Path) -> int:
    connection = sqlite3.connect(folder / "millrace.db")
    try:
        query = "SELECT count(*) FROM workflow_executions WHERE status <> 'completed'"
        return int(connection.execute(query).fetchone()[0])
    finally:
        connection.close()


async def test_a_second_server_on_the_same_file_says_so_and_touches_nothing(tmp_path: Path) -> None:
    with fleet(tmp_path, {}) as processes:
        first = processes.serve().wait_until_up()

        second = processes.serve()
        exit_code = await asyncio.to_thread(second.process.wait, 60)

        assert exit_code == 1
        assert "another server uses" in second.printed
        assert "Traceback" not in second.printed
        assert first.process.poll() is None
