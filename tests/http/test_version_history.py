"""The history of one version of a workflow, on both databases: an identifier that names a version means that one."""

import pytest

from tests.http.test_registry import WORKFLOWS, create, sent


@pytest.fixture
async def versions(client, alice):
    """A workflow with two runs of 1.0.0 and one of 2.0.0; the ids of the versions."""
    first = await create(client, alice)
    start = {"path": f"{WORKFLOWS}/default.greet/execute?wait=20", "json": {}, "headers": alice}
    for _ in range(2):
        await sent(await client.post(**start))
    second = (await sent(await client.put(f"{WORKFLOWS}/default.greet", json={"version": "2.0.0"}, headers=alice)))[
        "data"
    ]
    await sent(await client.post(**start))
    return {"first": first["version_id"], "second": second["version_id"], "id": first["id"]}


@pytest.mark.parametrize(
    ("named", "runs"),
    [
        *(("default.greet@1.0.0", 2), ("greet-1.0.0", 2), ("first", 2)),
        *(("default.greet@2.0.0", 1), ("greet-2.0.0", 1), ("second", 1)),
        *(("default.greet", 3), ("id", 3)),
    ],
)
async def test_a_version_has_its_own_history_and_the_workflow_has_all(client, alice, versions, named, runs):
    place = f"{WORKFLOWS}/{versions.get(named, named)}"

    listed = await sent(await client.get(f"{place}/executions", headers=alice))
    history = (await sent(await client.get(f"{place}/runs", headers=alice)))["data"]
    stats = (await sent(await client.get(f"{place}/stats", headers=alice)))["data"]

    assert (len(listed["data"]), listed["meta"]["pagination"]["total"]) == (runs, runs)
    assert (len(history["runs"]), history["total"]) == (runs, runs)
    assert sum(stats["by_status"].values()) == runs
