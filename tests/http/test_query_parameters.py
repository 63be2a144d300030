"""A misspelt parameter is refused, so that no list is longer and no deed larger than was meant; short paths ignore it."""

import pytest

from controllers.guards import permission_of
from controllers.openapi import error_statuses, operation_of
from tests.support.doors import DOORS, doors_of

FLOW = {"tasks": [{"name": "a", "action": "core.noop"}]}
MISSPELT = [
    ("GET", "/api/v1/workflows?tag=t1", "tag", "tags"),
    ("GET", "/api/v1/packs?tags=x", "tags", "tag"),
    ("GET", "/api/v1/actions?pack=core", "pack", "pack_ref"),
    ("POST", "/api/v1/packs/guarded/workflows/sync?froce=true", "froce", "force"),
    ("DELETE", "/api/v1/packs/guarded?cascde=true", "cascde", "cascade"),
    ("GET", "/api/v1/executions?workflow_ref=x", "workflow_ref", "workflow"),
]


@pytest.fixture
def environ():
    return {"RATE_LIMIT_PER_MINUTE": "0"}


def asking_routes(app) -> list[str]:
    """The routes below /api/v1 that declare parameters."""
    views = doors_of(app)
    return [name for name in DOORS if "/api/v1/" in name and operation_of(views[name]).query is not None]


@pytest.mark.parametrize(("method", "path", "name", "meant"), MISSPELT)
async def test_a_misspelt_parameter_is_refused_with_what_was_meant(client, world, method, path, name, meant):
    answer = await client.open(path, method=method, headers=world.people["admin"])

    found = await answer.get_json()
    assert (answer.status_code, found["error_code"]) == (400, "VALIDATION_ERROR")
    assert found["message"] == f"query.{name}: unknown parameter"
    assert found["details"]["errors"] == [
        {
            "loc": ["query", name],
            "message": "unknown parameter",
            "type": "unknown_parameter",
            "hint": f"Did you mean {meant!r}?",
        }
    ]


async def test_every_route_that_declares_parameters_refuses_others(app, client, world):
    accepting = []
    for number, name in enumerate(names := asking_routes(app)):
        door = DOORS[name]
        path = await world.path_of(name.partition(" ")[2], door, number)
        mark = f"{door.query}&" if door.query else "?"
        body = {} if door.body is None else {"json": door.body}
        for method in (name.partition(" ")[0], *(["HEAD"] if name.startswith("GET") else [])):
            asked = client.open(f"{path}{mark}qqq=1", method=method, headers=world.people["admin"], **body)
            answer = await asked
            if answer.status_code != 400 or (method != "HEAD" and b'"query","qqq"' not in await answer.get_data()):
                accepting.append(f"{method} {path}")

    assert len(names) > 30
    assert accepting == []


async def test_every_route_that_refuses_parameters_documents_it(app):
    views = doors_of(app)

    silent = [
        name
        for name in asking_routes(app)
        if 400 not in error_statuses(operation_of(views[name]), permission_of(views[name]))
    ]

    assert silent == []


async def test_all_that_is_wrong_with_a_query_is_said_at_once(client, alice):
    answer = await client.get("/api/v1/workflows?per_page=many&sort=x&tags=a", headers=alice)

    places = [error["loc"] for error in (await answer.get_json())["details"]["errors"]]
    assert places == [["query", "per_page"], ["query", "sort"]]


@pytest.mark.parametrize("path", ["/signals?kind=x", "/workflows/flow-1/runs?per_page=5"])
async def test_a_short_path_ignores_what_it_does_not_know(client, world, path):
    answer = await client.get(path, headers=world.people["admin"])

    assert answer.status_code == 200


async def test_notifying_by_the_short_path_ignores_what_it_does_not_know(client, world):
    run = {"run_id": "r-1", "status": "completed"}

    short, long = [
        await client.post(f"{base}/workflows/guarded.flow/runs/notify?x=1", json=run, headers=world.people["admin"])
        for base in ("", "/api/v1")
    ]

    assert (short.status_code, long.status_code) == (200, 400)


async def test_the_community_counts_wherever_one_thing_of_a_workflow_is_read(client, world):
    execution, run = world.things["execution_id"], world.things["run_id"]
    paths = (
        f"/api/v1/workflows/executions/{execution}",
        f"/api/v1/workflows/executions/{execution}/events",
        f"/api/v1/runs/{run}",
        f"/api/v1/runs/{run}/similar",
    )

    async def asked(community: int) -> set[int]:
        query = {"community_id": community}
        return {
            (await client.get(path, query_string=query, headers=world.people["owner"])).status_code for path in paths
        }

    assert (await asked(1), await asked(2)) == ({200}, {404})
