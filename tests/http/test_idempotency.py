"""`Idempotency-Key` on every POST that starts or creates something; the others say here why they need none."""

import asyncio
import json

import pytest

from controllers.openapi import operation_of
from tests.support.doors import DOORS, OTHER_EXECUTION, doors_of

NOTHING_MADE = "it only checks or tries; nothing is stored"
ONCE_BY_NATURE = "it brings a thing into a state; the same again changes nothing or is a 400 or 409"
NEEDS_NONE = {
    "POST /api/v1/workflows/validate": NOTHING_MADE,
    "POST /api/v1/workflows/<identifier>/validate": NOTHING_MADE,
    "POST /api/v1/packs/<ref>/workflows/validate": NOTHING_MADE,
    "POST /api/v1/workflows/<workflow_id>/test": NOTHING_MADE,
    "POST /api/v1/packs/<ref>/workflows/sync": ONCE_BY_NATURE,
    "POST /api/v1/packs/sync": ONCE_BY_NATURE,
    "POST /api/v1/workflows/executions/<execution_id>/pause": ONCE_BY_NATURE,
    "POST /api/v1/workflows/executions/<execution_id>/resume": ONCE_BY_NATURE,
    "POST /api/v1/workflows/executions/<execution_id>/cancel": ONCE_BY_NATURE,
    "POST /api/v1/inquiries/<uuid:inquiry_id>/respond": ONCE_BY_NATURE,
    "POST /api/v1/retention/run": ONCE_BY_NATURE,
    "POST /api/v1/outbox/retry": ONCE_BY_NATURE,
    "POST /api/v1/workflows/executions/<execution_id>/fail": ONCE_BY_NATURE,
    "POST /api/v1/executions/cancel": ONCE_BY_NATURE,
    "POST /api/v1/operator/pause": ONCE_BY_NATURE,
    "POST /api/v1/operator/resume": ONCE_BY_NATURE,
}
PROBE = {"query": "cpu_usage"}
BODIES = {
    "POST /probe": PROBE,
    "POST /api/v1/probe": PROBE,
    "POST /api/v1/signals/<uuid:signal_id>/feedback": {"verdict": "noise"},
}
MADE = sorted(name for name in DOORS if name.startswith("POST ") and name not in NEEDS_NONE)
TOGETHER = 6


@pytest.fixture
def environ() -> dict[str, str]:
    """Many requests a minute."""
    return {"RATE_LIMIT_PER_MINUTE": "0"}


def test_every_post_takes_the_key_or_says_why_not(built):
    posts = {name: operation_of(view) for name, view in doors_of(built).items() if name.startswith("POST ")}

    takes = {name for name, operation in posts.items() if "Idempotency-Key" in operation.headers}

    assert takes == set(MADE)
    assert {name for name in takes if 422 not in posts[name].errors} == set()


async def asked_for(world, name: str) -> tuple[str, dict]:
    """Path and body of a POST that makes something."""
    door = DOORS[name]
    number = next(world.number)
    path = await world.path_of(name.partition(" ")[2], door, number)
    body = json.loads(json.dumps(BODIES.get(name, door.body)).replace("$n", str(number)))
    if door.things == OTHER_EXECUTION:
        await world.client.post(path.replace("/rerun", "/cancel"), headers=world.people["owner"])
        for _ in range(2000):
            if (await world.ask("GET", path.removesuffix("/rerun")))["end_time"]:
                break
    return path, body


def plain(answer: dict) -> dict:
    """An answer without what only the first one may show, and without what moves on by itself."""
    data = answer.get("data", answer)
    moving = {"key", "status", "next_at", "last_at", "last_error"}
    return {key: value for key, value in data.items() if key not in moving}


async def test_the_same_request_makes_one_thing_also_when_it_comes_many_times_at_once(world, client):
    wrong = [found for name in MADE if (found := await repeated(world, client, name))]

    assert wrong == []


async def repeated(world, client, name: str) -> str:
    """Send it many times at once and then again, and with another body; what is wrong, "" when nothing is."""
    path, body = await asked_for(world, name)
    person = "admin" if "/users" in path else "owner"
    headers = {**world.people[person], "Idempotency-Key": name, "Content-Type": "application/json"}
    text = json.dumps(body)

    answers = await asyncio.gather(*(client.post(path, data=text, headers=headers) for _ in range(TOGETHER)))
    answers.append(await client.post(path, data=text, headers=headers))
    other = await client.post(path, data=text + " ", headers=headers)

    shown = [await answer.get_json() for answer in answers]
    same = all(plain(one) == plain(shown[0]) for one in shown)
    statuses = {answer.status_code for answer in answers}
    first = [answer for answer in answers if answer.headers.get("Idempotency-Replayed") != "true"]
    good = same and len(statuses) == 1 and max(statuses) < 300 and len(first) == 1 and answers[-1] not in first
    refused = (other.status_code, (await other.get_json())["error_code"]) == (422, "IDEMPOTENCY_MISMATCH")
    return "" if good and refused else f"{name}: {statuses}, {len(first)} first, {refused=}: {shown}"


async def test_a_refusal_is_not_remembered(client, alice):
    headers = {**alice, "Idempotency-Key": "later"}
    early = await client.post("/api/v1/packs", json={"ref": "x"}, headers=headers)

    later = await client.post("/api/v1/packs", json={"ref": "x", "label": "X", "version": "1"}, headers=headers)

    assert (early.status_code, later.status_code) == (400, 201)


async def test_a_repeated_judgement_raises_the_bar_once(world, client):
    path = f"/api/v1/signals/{world.things['signal_id']}/feedback"
    headers = {**world.people["owner"], "Idempotency-Key": "once"}

    bars = [
        (await (await client.post(path, json={"verdict": "noise"}, headers=headers)).get_json())["data"]["bar"]
        for _ in range(3)
    ]

    assert bars == [0.5, 0.5, 0.5]


async def test_the_public_has_no_keys_to_share(client):
    headers = {"Idempotency-Key": "everybodys"}

    answers = [
        await client.post("/probe", json={"query": query}, headers=headers) for query in ("cpu_usage", "memory_usage")
    ]

    assert [answer.status_code for answer in answers] == [200, 200]


@pytest.mark.parametrize("key", ["", "x" * 256, "caf\u00e9"])
async def test_a_key_that_cannot_be_one_is_named(client, alice, key):
    answer = await client.post("/api/v1/api-keys", json={"name": "x"}, headers={**alice, "Idempotency-Key": key})

    assert answer.status_code == 400
    assert (await answer.get_json())["details"]["errors"][0]["loc"] == ["header", "Idempotency-Key"]
