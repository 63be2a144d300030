"""What must not be possible by accident: with workflows, their versions, and whom they are shared with."""

import pytest

FLOW = {"tasks": [{"name": "a", "action": "core.noop"}]}
AT = "/api/v1/workflows/default.flow"


@pytest.fixture
async def flow(client, admin):
    """A workflow of two versions, 1 and 2."""
    body = {"ref": "default.flow", "pack_ref": "default", "label": "w", "version": "1", "definition": FLOW}
    assert (await client.post("/api/v1/workflows", json=body, headers=admin)).status_code == 201
    changed = {"version": "2", "definition": {"tasks": [{"name": "b", "action": "core.noop"}]}}
    assert (await client.put(AT, json=changed, headers=admin)).status_code == 200


@pytest.mark.parametrize("name", ["default.flow@1", "flow-1"])
async def test_the_name_of_an_older_version_neither_changes_nor_removes_the_workflow(client, admin, flow, name):
    path = f"/api/v1/workflows/{name}"

    answers = [await client.put(path, json={"label": "z"}, headers=admin), await client.delete(path, headers=admin)]

    assert [answer.status_code for answer in answers] == [400, 400]
    assert "versions never change" in (await answers[1].get_json())["message"]
    shown = (await (await client.get(AT, headers=admin)).get_json())["data"]
    assert (shown["label"], shown["version"]) == ("w", "2")


@pytest.mark.parametrize("name", ["default.flow@2", "flow-2"])
async def test_the_name_of_the_present_version_is_the_workflow(client, admin, flow, name):
    path = f"/api/v1/workflows/{name}"

    assert (await client.put(path, json={"label": "z"}, headers=admin)).status_code == 200
    assert (await client.delete(path, headers=admin)).status_code == 200


async def test_nothing_is_granted_to_a_user_who_does_not_exist(client, admin, flow):
    granted = await client.put(f"{AT}/permissions/user/999", json={"can_view": True}, headers=admin)
    pack = await client.put("/api/v1/packs/default/permissions/user/999", json={"can_edit": True}, headers=admin)
    revoked = await client.delete(f"{AT}/permissions/user/999", headers=admin)

    assert [granted.status_code, pack.status_code, revoked.status_code] == [404] * 3
    assert (await granted.get_json())["message"] == "There is no user 999"


async def test_grants_are_on_record_with_their_workflow(client, admin, alice, flow):
    body = {"ref": "default.of1", "pack_ref": "default", "label": "w", "version": "1", "definition": FLOW}
    made = await client.post("/api/v1/workflows", json={**body, "community_id": 1}, headers=admin)
    workflow = (await made.get_json())["data"]["id"]
    path = f"/api/v1/workflows/default.of1/permissions/user/{alice.user_id}"
    await client.put(path, json={"can_view": True}, headers=admin)
    await client.delete(path, headers=admin)

    rows = (await (await client.get(f"/api/v1/audit?workflow_id={workflow}", headers=admin)).get_json())["data"]

    shared = [row for row in rows if row["action"] in ("grant_permission", "revoke_permission")]
    assert len(shared) == 2
    assert {row["community_id"] for row in shared} == {1}


async def test_a_rotation_is_on_record_with_both_keys(client, admin, alice):
    made = await client.post("/api/v1/api-keys", json={"name": "x"}, headers=alice)
    old = (await made.get_json())["data"]["id"]
    new = (await (await client.post(f"/api/v1/api-keys/{old}/rotate", json={}, headers=alice)).get_json())["data"]

    rows = (await (await client.get("/api/v1/audit?action=rotate_api_key", headers=admin)).get_json())["data"]

    [row] = rows
    assert (row["resource"], row["details"]["new_id"]) == (f"api_key:{old}", new["id"])
    assert row["details"]["new_prefix"] in new["key"]


@pytest.mark.parametrize("method", ["POST", "PUT"])
async def test_wrong_fields_and_a_wrong_definition_are_reported_together(client, admin, flow, method):
    tasks = [{"name": "a", "action": "core.noop", "nxt": 1, "next": [{"do": "zz"}]}]
    body = {"ref": "nodot", "pack_ref": "default", "label": "", "version": "1", "definition": {"tasks": tasks}}

    answer = await client.open(AT if method == "PUT" else "/api/v1/workflows", method=method, json=body, headers=admin)

    errors = (await answer.get_json())["details"]["errors"]
    places = [error["loc"] for error in errors]
    assert answer.status_code == 400
    assert ["label"] in places
    assert ["definition", "tasks", 0, "nxt"] in places
    assert ["definition", "tasks", 0, "next", 0, "do"] in places


async def test_an_unknown_action_is_named_by_its_place(client, admin, flow):
    body = {"definition": {"tasks": [{"name": "a", "action": "core.noop"}, {"name": "b", "action": "no.such"}]}}

    answer = await client.post("/api/v1/workflows/validate", json=body, headers=admin)

    assert (await client.put(AT, json=body, headers=admin)).status_code == 200
    refused = await client.post(f"{AT}/execute", json={}, headers=admin)

    [warning] = (await answer.get_json())["data"]["warnings"]
    [error] = (await refused.get_json())["details"]["errors"]
    for problem in (warning, error):
        assert (problem["loc"], problem["path"]) == (["definition", "tasks", 1, "action"], "tasks[1].action")
        assert (problem["code"], problem["task"], problem["subject"]) == ("unknown_action", "b", "no.such")


async def test_who_may_edit_but_not_view_changes_nothing_and_reads_nothing(client, admin, bob, flow):
    grant = f"{AT}/permissions/user/{bob.user_id}"
    blind = dict.fromkeys(("can_edit", "can_delete", "can_manage_permissions"), True)
    assert (await client.put(grant, json=blind, headers=admin)).status_code == 200

    answers = [
        await client.put(AT, json={}, headers=bob),
        await client.delete(AT, headers=bob),
        await client.get(f"{AT}/permissions", headers=bob),
    ]
    assert [answer.status_code for answer in answers] == [404, 404, 404]

    assert (await client.put(grant, json=blind | {"can_view": True}, headers=admin)).status_code == 200
    assert (await client.put(AT, json={"label": "z"}, headers=bob)).status_code == 200


async def test_a_secret_is_not_for_a_workflow_to_get(client, admin, flow):
    calls = {"tasks": [{"name": "b", "action": "default.flow", "input": {"token": "{{ secrets.token }}"}}]}
    body = {"ref": "default.parent", "pack_ref": "default", "label": "p", "version": "1", "definition": calls}

    refused = await client.post("/api/v1/workflows", json=body, headers=admin)
    body["definition"] = {"tasks": [{**calls["tasks"][0], "action": "{{ parameters.what }}"}]}
    computed = await client.post("/api/v1/workflows", json=body, headers=admin)
    started = "/api/v1/workflows/default.parent/execute?wait=20"
    ended = await client.post(started, json={"variables": {"what": "default.flow"}}, headers=admin)

    [error] = (await refused.get_json())["details"]["errors"]
    assert (error["code"], error["loc"]) == ("secret_for_workflow", ["definition", "tasks", 0, "input"])
    assert computed.status_code == 201
    said = (await ended.get_json())["data"]
    assert said["status"] == "failed"
    assert "a secret cannot be given to a workflow" in said["error_message"]


@pytest.mark.parametrize(
    ("change", "places"),
    [
        *(({"label": "New"}, []), ({"version": "2"}, []), ({"enabled": False}, []), ({"tags": ["a"]}, [])),
        *(({"ref": "default.other"}, [["ref"]]), ({"owner_id": 7}, [["owner_id"]]), ({"id": "zz"}, [["id"]])),
        ({"lable": "x", "definition": {"tasks": []}}, [["lable"], ["definition", "tasks"]]),
    ],
)
async def test_checking_a_change_says_what_changing_would(client, admin, flow, change, places):
    checked = (await (await client.post(f"{AT}/validate", json=change, headers=admin)).get_json())["data"]
    changed = await client.put(AT, json=change, headers=admin)

    assert (checked["is_valid"], [error["loc"] for error in checked["errors"]]) == (not places, places)
    assert changed.status_code == (400 if places else 200)


async def test_what_is_sent_back_as_it_was_read_has_no_effect(client, admin, flow):
    shown = (await (await client.get(AT, headers=admin)).get_json())["data"]

    again = await client.put(AT, json=shown, headers=admin)

    assert again.status_code == 200
    assert (await again.get_json())["data"]["revision"] == shown["revision"]


async def test_a_pack_keeps_its_owner(client, admin, alice):
    pack = {"ref": "p", "label": "P", "version": "1"}
    made = (await (await client.post("/api/v1/packs", json=pack, headers=alice)).get_json())["data"]

    same = await client.put("/api/v1/packs/p", json={"owner_id": made["owner_id"]}, headers=alice)
    other = await client.put("/api/v1/packs/p", json={"owner_id": admin.user_id}, headers=alice)

    assert (same.status_code, other.status_code) == (200, 400)
