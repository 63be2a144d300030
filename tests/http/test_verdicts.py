"""Who is let in where, and that whoever is not leaves a trace: `tests/support/doors.py` is the table."""

import logging
from dataclasses import replace

import pytest

from services.access.audit import LOGGER
from tests.support.doors import ABROAD, DOORS, EDIT, EXECUTE, OWN, PEOPLE, RESPOND, VIEW, doors_of


@pytest.fixture
def environ() -> dict[str, str]:
    """Thousands of requests a minute, and the public may read."""
    return {"RATE_LIMIT_PER_MINUTE": "0", "PUBLIC_READS": "on"}


def test_every_door_is_in_the_table(built):
    assert set(doors_of(built)) == set(DOORS)


async def test_a_key_limited_to_a_community_opens_nothing_of_another_not_even_its_owner_s(app, here, world, key_for):
    views = doors_of(app)
    world.people["owner"] |= await key_for("owner", roles={(ABROAD, "viewer")}, community_id=ABROAD)
    world.people["admin"] |= await key_for("root", community_id=ABROAD)
    guarded = {name: door for name, door in DOORS.items() if door.who in (VIEW, EXECUTE, EDIT, OWN, RESPOND)}
    closed = {name: replace(door, who="4" * len(PEOPLE), before=None) for name, door in guarded.items()}

    wrong = [await world.knock(name, closed[name], who, views[name]) for name in closed for who in ("owner", "admin")]

    assert len(closed) > 20
    assert [line for line in wrong if line] == []


async def test_everybody_gets_the_verdict_of_the_table_and_every_denial_leaves_a_trace(app, here, world, caplog):
    views = doors_of(app)
    caplog.set_level(logging.INFO, LOGGER)

    wrong = [await world.knock(name, door, person, views[name]) for name, door in DOORS.items() for person in PEOPLE]

    assert [line for line in wrong if line] == []
    rows = await here.db(here.db.audit_log.result.belongs(["DENIED", "FAILURE"])).select()
    recorded = {(row["request_id"], row["actor_id"]) for row in rows}
    told = {record.entry.request_id for record in caplog.records if hasattr(record, "entry")}
    refused = [
        (f"{p}: {name}", p) for name, door in DOORS.items() for p, v in zip(PEOPLE, door.who, strict=True) if v != "."
    ]
    known = [(request, world.ids[person]) for request, person in refused if person in world.ids]
    assert [denial for denial in known if denial not in recorded] == []
    assert [request for request, _ in refused if request not in told] == []
    samples = [sample for metric in here.metrics.verdicts.collect() for sample in metric.samples]
    counted = [s.value for s in samples if s.name.endswith("_total") and s.labels["result"] != "passed"]
    assert sum(counted) == len(refused)
