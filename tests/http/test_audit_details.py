"""What the record says of a change beyond its action: which fields, a move, and that an administrator did it."""

import pytest

FLOW = {"tasks": [{"name": "a", "action": "core.noop"}]}
AT = "/api/v1/workflows/default.flow"


@pytest.fixture
async def flow(client, alice):
    """A workflow of alice's."""
    body = {"ref": "default.flow", "pack_ref": "default", "label": "w", "version": "1", "definition": FLOW}
    assert (await client.post("/api/v1/workflows", json=body, headers=alice)).status_code == 201
    return body


async def details(client, admin, action: str) -> dict:
    """The details of the newest row of an action."""
    answer = await client.get(f"/api/v1/audit?action={action}&per_page=1", headers=admin)
    [row] = (await answer.get_json())["data"]
    return row["details"] or {}


async def test_an_update_names_the_fields_that_are_others_now(client, admin, alice, flow):
    assert (await client.put(AT, json=flow | {"label": "x", "tags": ["t"]}, headers=alice)).status_code == 200
    assert await details(client, admin, "update_workflow") == {"version": "1", "changed": ["label", "tags"]}

    newer = {"version": "2", "definition": {"tasks": [{"name": "b", "action": "core.noop"}]}}
    assert (await client.put(AT, json=newer, headers=alice)).status_code == 200
    assert await details(client, admin, "update_workflow") == {"version": "2", "changed": ["definition", "version"]}


async def test_a_move_to_another_community_names_both(client, admin, flow):
    assert (await client.put(AT, json={"community_id": 7}, headers=admin)).status_code == 200

    said = await details(client, admin, "update_workflow")
    assert (said["changed"], said["community_id"]) == (["community_id"], {"from": None, "to": 7})


async def test_a_pack_names_the_fields_that_are_others_now(client, admin, alice):
    pack = {"ref": "p", "label": "P", "version": "1"}
    assert (await client.post("/api/v1/packs", json=pack, headers=alice)).status_code == 201
    assert (await client.put("/api/v1/packs/p", json=pack | {"label": "Q"}, headers=admin)).status_code == 200

    assert await details(client, admin, "update_pack") == {"changed": ["label"], "as": "admin"}


@pytest.mark.parametrize(
    ("action", "method", "path", "body"),
    [
        ("update_workflow", "PUT", AT, {"label": "z"}),
        ("grant_permission", "PUT", f"{AT}/permissions/role/editor", {"can_view": True}),
        ("execute_workflow", "POST", f"{AT}/execute", {}),
        ("delete_workflow", "DELETE", AT, None),
    ],
)
async def test_an_administrator_is_named_where_it_is_somebody_elses(
    client, admin, alice, flow, action, method, path, body
):
    sent = {} if body is None else {"json": body}
    assert (await client.open(path, method=method, headers=admin, **sent)).status_code < 300

    assert (await details(client, admin, action))["as"] == "admin"


async def test_nobody_is_named_administrator_for_what_is_theirs(client, admin, alice, flow):
    own = flow | {"ref": "default.own"}
    assert (await client.post("/api/v1/workflows", json=own, headers=admin)).status_code == 201
    for headers, ref in ((admin, "default.own"), (alice, "default.flow")):
        assert (await client.post(f"/api/v1/workflows/{ref}/execute", json={}, headers=headers)).status_code == 202
        assert "as" not in await details(client, admin, "execute_workflow")
