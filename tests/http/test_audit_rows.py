"""Every change is in the record, and without its row there is no change: asked of every route that changes something."""

import json
from pathlib import Path

import pytest

from tests.support.doors import DOORS

NOTHING_CHANGED = "it only checks or tries"
MEASURES = "it measures; the signals it stores are in the record, see test_signals"
UNRECORDED = {
    "POST /api/v1/workflows/validate": NOTHING_CHANGED,
    "POST /api/v1/workflows/<identifier>/validate": NOTHING_CHANGED,
    "POST /api/v1/packs/<ref>/workflows/validate": NOTHING_CHANGED,
    "POST /api/v1/workflows/<workflow_id>/test": NOTHING_CHANGED,
    "POST /probe": MEASURES,
    "POST /api/v1/probe": MEASURES,
}
STEER = "POST /api/v1/workflows/executions/<execution_id>/"
LAST = ["DELETE /api/v1/workflows/<identifier>", "DELETE /api/v1/packs/<ref>"]
"""What comes behind the others, which need it."""
CHANGING = [*sorted(name for name in DOORS if not name.startswith("GET ") and name not in (*UNRECORDED, *LAST)), *LAST]


@pytest.fixture
def environ() -> dict[str, str]:
    """Many requests a minute."""
    return {"RATE_LIMIT_PER_MINUTE": "0"}


@pytest.fixture
async def world(world, settings):
    """The pack of the world has files, which an administrator has loaded, and another can be put beside it."""
    world.packs_dir = settings.packs_dir
    put_files(world, "guarded")
    loaded = await world.client.post("/api/v1/packs/guarded/workflows/sync", headers=world.people["admin"])
    assert (await loaded.get_json())["data"]["registered_count"] == 1
    return world


def put_files(world, pack: str) -> None:
    """Give a pack a workflow in a file."""
    folder = world.packs_dir / pack / "workflows"
    folder.mkdir(parents=True)
    (folder / "filed.yaml").write_text(
        "label: F\nversion: 1.0.0\ndefinition: {tasks: [{name: a, action: core.noop}]}\n"
    )


async def request(world, name: str):
    """What sends a request, of somebody who may, for a change that would succeed: everything it needs is there."""
    method, _, rule = name.partition(" ")
    door, number = DOORS[name], next(world.number)
    path = await prepared(world, name, await world.path_of(rule, door, number))
    people = world.people["admin" if door.who[9] != "." or "/respond" in name else "owner"]
    body = {} if door.body is None else {"json": json.loads(json.dumps(door.body).replace("$n", str(number)))}
    headers = {**people, "X-Request-ID": name}
    return lambda: world.client.open(path + door.query, method=method, headers=headers, **body)


async def prepared(world, name: str, path: str) -> str:
    """The path, when what it is about is in a state to be changed."""
    if before := DOORS[name].before:
        await world.ask(before, path, {})
    if name.startswith("DELETE /api/v1/users"):
        await world.client.put(path, headers=world.people["admin"])
    if name == "POST /api/v1/packs/sync":
        put_files(world, "found")
        (world.packs_dir / "found" / "pack.yaml").write_text("ref: found\nlabel: Found\nversion: 1.0.0\n")
    if name == LAST[-1]:
        await world.ask("POST", "/api/v1/packs", {"ref": "gone", "label": "g", "version": "1"})
        return "/api/v1/packs/gone"
    return await steered(world, name.removeprefix(STEER)) if name.startswith(STEER) else path


async def steered(world, verb: str) -> str:
    """The path to steer an execution that can be steered so."""
    flow = world.things["workflow_id"]
    execution = (await world.ask("POST", f"/api/v1/workflows/{flow}/execute", {}))["execution_id"]
    path = f"/api/v1/workflows/executions/{execution}"
    if verb == "resume":
        await world.ask("POST", f"{path}/pause")
    if verb == "rerun":
        await world.ask("POST", f"{path}/cancel")
    for _ in range(2000):
        shown = await world.ask("GET", path)
        if shown["end_time"] or (verb != "rerun" and shown["waiting_for"]):
            return f"{path}/{verb}"
    raise AssertionError(f"never ready for {verb}")


async def test_every_change_is_a_row_of_the_record_and_its_action_is_documented(world, here):
    silent, actions = [], set()
    for name in CHANGING:
        answer = await (await request(world, name))()
        rows = await here.db((here.db.audit_log.request_id == name) & (here.db.audit_log.category == "AUDIT")).select()
        actions |= {row["action"] for row in rows}
        if not rows or answer.status_code >= 300:
            silent.append(f"{name} {answer.status_code}")

    page = (Path(__file__).parents[2] / "docs" / "reference" / "audit.md").read_text(encoding="utf-8")
    assert "\n".join(silent) == ""
    assert {action for action in actions if f"`{action}`" not in page} == set()


FAILING = {
    "sqlite": [
        "CREATE TRIGGER no_record BEFORE INSERT ON audit_log WHEN NEW.category = 'AUDIT'"
        " BEGIN SELECT RAISE(ABORT, 'the record is full'); END"
    ],
    "postgres": [
        "CREATE FUNCTION no_record() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'the record is full'; END $$",
        "CREATE TRIGGER no_record BEFORE INSERT ON audit_log FOR EACH ROW WHEN (NEW.category = 'AUDIT')"
        " EXECUTE FUNCTION no_record()",
    ],
}
MOVING = {"audit_log", "audit_anchor", "worker", "outbox", "run_document", "workflow_daily", "series_state"}
"""Tables that change without a request: sealing, heartbeats, indexing."""
COUNTED = {"api_key", "watch"}
"""Tables whose rows note their use; none comes or goes without a request."""


NEEDS_A_CHANGE = {"POST /api/v1/operator/resume"}
"""Resumes what another request, that fails here, would have paused."""


async def test_without_its_row_there_is_no_change(world, here):
    requests = {name: await request(world, name) for name in CHANGING if name not in NEEDS_A_CHANGE}
    for statement in FAILING[here.db.engine]:
        await here.db.sql(statement)
    before, changed = await dump(here.db), []

    for name, send in requests.items():
        answer = await send()
        after = await dump(here.db)
        if answer.status_code < 500 or after != before:
            different = [table for table in after if after[table] != before[table]]
            changed.append(f"{name} {answer.status_code} {different}")
            before = after

    assert "\n".join(changed) == ""


async def dump(db) -> dict[str, object]:
    """What is in every table that only requests change."""
    rows = {name: await db.sql(f"SELECT * FROM {name}") for name in db.tables if name not in MOVING}
    return {name: len(found) if name in COUNTED else sorted(map(repr, found)) for name, found in rows.items()}
