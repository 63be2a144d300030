"""The audit record from the command line: listed, exported as a stream, followed to where it breaks."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import pytest

from app import build_services
from config import load
from models.records import uuid7
from services.access.record import PAGE

pytestmark = pytest.mark.db
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


def inside(millrace, work: Callable[..., Awaitable[object]]) -> object:
    """Do something with the database of these commands."""

    async def session() -> object:
        async with build_services(load(millrace.environ)).db as db:
            return await work(db)

    return asyncio.run(session())


@pytest.fixture
def record(millrace) -> Callable[[int], None]:
    """Adds so many entries, a second apart."""
    millrace("migrate")

    def add(count: int) -> None:
        rows = [
            {
                "id": uuid7(),
                "at": BEGAN + timedelta(seconds=number),
                "category": "AUDIT",
                "action": f"act{number % 2}",
                "result": "SUCCESS",
                "actor_id": number % 3,
                "details": {"n": number},
            }
            for number in range(count)
        ]
        inside(millrace, lambda db: db.batch(*[db.audit_log.insert(**row) for row in rows]))

    return add


def test_every_entry_is_exported_once_oldest_first_over_many_pages(millrace, record):
    record(PAGE + 1)

    lines = [json.loads(line) for line in millrace("audit", "export").stdout.splitlines()]

    assert [line["details"]["n"] for line in lines] == list(range(PAGE + 1))
    assert {"id", "at", "key_id", "request_id", "reason", "chain_no", "hash"} <= lines[0].keys()


def test_an_export_is_chosen_by_time_actor_and_action(millrace, record):
    record(12)
    since, until = BEGAN + timedelta(seconds=3), "2026-01-01T00:00:09"

    chosen = millrace("audit", "export", "--since", since.isoformat(), "--until", until, "--actor", 1)
    acted = millrace("audit", "export", "--action", "act1", "--category", "audit")
    nothing = millrace("audit", "export", "--result", "DENIED")

    assert [json.loads(line)["details"]["n"] for line in chosen.stdout.splitlines()] == [4, 7]
    assert len(acted.stdout.splitlines()) == 6
    assert nothing.output == ""


def test_an_export_becomes_a_file_when_it_is_complete_and_replaces_none(millrace, record, tmp_path):
    record(3)
    file = tmp_path / "audit.ndjson"

    made = millrace("audit", "export", file, "-o", "json")
    again = millrace("audit", "export", file)
    forced = millrace("audit", "export", file, "--force")
    nowhere = millrace("audit", "export", tmp_path / "no" / "where")

    assert json.loads(made.stdout) == {"file": str(file), "entries": 3}
    assert [found.exit_code for found in (again, forced, nowhere)] == [2, 0, 1]
    assert len(file.read_text().splitlines()) == 3
    assert file.stat().st_mode & 0o777 == 0o600
    assert "cannot be written" in nowhere.stderr
    assert not list(tmp_path.glob("*.part"))


def test_a_wrong_time_is_wrong_usage(millrace):
    found = millrace("audit", "list", "--since", "yesterday")

    assert found.exit_code == 2
    assert "2026-01-17" in found.stderr


def test_an_intact_chain_is_said_to_be_with_its_unsealed_tail(millrace, record):
    record(5)
    inside(millrace, seal)
    inside(millrace, lambda db: db.audit_log.insert(**tail()))

    found = millrace("audit", "verify", "-o", "json")

    assert (found.exit_code, json.loads(found.stdout)) == (
        0,
        {"intact": True, "sealed": 5, "unsealed": 1, "broken_at": None, "broken_id": None, "reason": None},
    )


def test_the_first_broken_row_is_named_and_the_exit_code_is_one(millrace, record):
    record(5)
    inside(millrace, seal)
    inside(millrace, lambda db: db(db.audit_log.chain_no >= 3).update(action="forged"))

    found = millrace("audit", "verify", "-o", "json")
    told = millrace("audit", "verify")

    assert (found.exit_code, told.exit_code) == (1, 1)
    assert json.loads(found.stdout)["broken_at"] == 3
    assert "the row was changed after it was sealed" in told.output


async def seal(db) -> None:
    from services.access.sealer import Sealer

    await Sealer(db, now=lambda: datetime(2026, 6, 1, tzinfo=UTC)).seal()


def tail() -> dict[str, object]:
    """An entry that is still too new to be sealed."""
    at = datetime(2999, 1, 1, tzinfo=UTC)
    return {"id": uuid7(), "at": at, "category": "SYSTEM", "action": "late", "result": "SUCCESS"}
