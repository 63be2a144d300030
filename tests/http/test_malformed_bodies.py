"""Five hundred bodies nobody should send, to every route that reads one: a clear 4xx each, and nothing is stored."""

import json
import random

import pytest

from controllers.openapi import operation_of
from tests.support.doors import DOORS, doors_of

BODIES = 500
CLEAR = {400, 413, 415}
TEN_MB = 10 * 1024 * 1024
ELSEWHERE = {"audit_log", "audit_anchor", "outbox", "run_document"}
"""Refusals are recorded and sealed; a run of the world is being indexed."""
ANY_TYPE = {"response", "wpk_id"}  # fields that take any value somewhere, or are ignored there
SCALARS = (b"7", b'"text"', b"true", b"null", b"-0.0", b'"\xf0\x9f\x92\xa5"')
HOSTILE = (
    b'{"a": "\\u0000"}',
    b'{"\\u0000": 1}',
    b'{"a": "\\ud800"}',
    b'{"a": ["\\udfff\\ud800"]}',
    b'{"a": 1e999}',
    b'{"a": -1e999}',
    b'{"a": NaN}',
    b'{"a": 9007199254740993}',
    b'{"a": ' + b"9" * 400 + b"}",
    b'{"a": ' + b"9" * 100_000 + b"}",
    b'{"a": 1, "a": 2}',
    b'{"b": [{"a": 1, "\\u0061": 2}]}',
    b'{"a": "\xff"}',
    b"\x00\x01\x02",
    b"\xef\xbb\xbf{",
    b"{'a': 1}",
    b'{"a": 1,}',
    b'{"a": 1} {}',
    b"\xc0\x80",
)


def truncated(chance: random.Random, valid: bytes) -> bytes:
    """The beginning of something valid."""
    return valid[: chance.randrange(1, len(valid))] if len(valid) > 2 else b"{"


def bomb(chance: random.Random, _: bytes) -> bytes:
    """Deeper than anything we read, closed or not."""
    depth = chance.choice((65, 1_000, 100_000))
    left, right = chance.choice(((b"[", b"]"), (b'{"a":', b"}")))
    return left * depth + b"1" + right * chance.choice((depth, 0))


def wrong_type(chance: random.Random, valid: bytes) -> bytes:
    """One field is a list of lists, or the whole is no object."""
    fields = json.loads(valid)
    names = [name for name in fields if name not in ANY_TYPE and name != "tasks"]
    if not names or chance.random() < 0.3:
        return chance.choice(SCALARS)
    return json.dumps({**fields, chance.choice(names): [[]]}).encode()


def huge(_: random.Random, __: bytes) -> bytes:
    """Ten megabytes."""
    return b'{"a": "' + b"x" * TEN_MB + b'"}'


def hostile(chance: random.Random, _: bytes) -> bytes:
    """What readers could understand differently, or not at all."""
    return chance.choice(HOSTILE)


KINDS = (truncated, bomb, wrong_type, hostile)


@pytest.fixture
def environ() -> dict[str, str]:
    """As many requests a minute as it takes."""
    return {"RATE_LIMIT_PER_MINUTE": "0"}


@pytest.fixture
def rows(here):
    """How many rows each table has."""

    async def count() -> dict[str, int]:
        tables = [name for name in here.db.tables if name not in ELSEWHERE]
        return {name: (await here.db.sql(f"SELECT COUNT(*) AS n FROM {name}"))[0]["n"] for name in tables}

    return count


async def test_a_malformed_body_is_refused_clearly_and_nothing_is_stored(app, client, world, rows):
    chance = random.Random(20261120)
    views = doors_of(app)
    doors = sorted(name for name in DOORS if (told := operation_of(views[name])) is not None and told.body is not None)
    await world.ask("DELETE", f"/api/v1/watches/{world.things['watch_id']}")  # it would write by itself
    before = await rows()
    unclear = []

    for number in range(BODIES):
        name = doors[number % len(doors)]
        kind = huge if number % 50 == 49 else chance.choice(KINDS)
        body = kind(chance, json.dumps(DOORS[name].body or {}).encode())
        status, found = await world.send(name, body, "admin")
        if status not in CLEAR or found.keys() < {"success", "message", "error_code", "details", "request_id"}:
            unclear.append((name, kind.__name__, body[:80], status, found))

    assert unclear == []
    assert await rows() == before
    assert (await client.get("/ready")).status_code == 200
