"""Two communities share a server, and neither learns or touches what is the other's."""

import pytest

from services.access.authentication import utc_now

FLOW = {"tasks": [{"name": "a", "action": "core.noop"}]}
RUN = {"wpk_id": "ext.flow", "run_id": "r-1", "status": "completed"}


@pytest.fixture
async def ann(key_for):
    """Of community 1."""
    return await key_for("ann", roles={(1, "editor")})


@pytest.fixture
async def bob(key_for):
    """Of community 2."""
    return await key_for("bob", roles={(2, "editor")})


@pytest.fixture
async def hers(client, here, ann):
    """A pack of community 1, and an action of it."""
    pack = {"ref": "hers", "label": "Hers", "version": "1", "community_id": 1}
    assert (await client.post("/api/v1/packs", json=pack, headers=ann)).status_code == 201
    spec = {
        "ref": "hers.look",
        "runner": "http",
        "effect": "read",
        "request": {"method": "GET", "url": "http://x.test"},
    }
    await here.db.action.insert(ref="hers.look", pack_ref="hers", spec=spec, updated=utc_now())
    await here.registry.actions.refresh()


async def made(client, key, ref="default.hers", **more):
    pack = ref.partition(".")[0]
    body = {"ref": ref, "pack_ref": pack, "label": "w", "version": "1", "definition": FLOW, **more}
    answer = await client.post("/api/v1/workflows", json=body, headers=key)
    assert answer.status_code == 201, await answer.get_json()
    return (await answer.get_json())["data"]


async def told(answer) -> tuple[int, dict]:
    """What an answer says, without what is another for each request."""
    said = await answer.get_json()
    return answer.status_code, {key: value for key, value in said.items() if key != "request_id"}


async def test_a_key_for_a_community_is_for_its_members(client, admin, ann, bob):
    wish = {"name": "x", "community_id": 2}

    by_ann = await client.post("/api/v1/api-keys", json=wish, headers=ann)
    for_ann = await client.post("/api/v1/api-keys", json={**wish, "user_id": ann.user_id}, headers=admin)
    by_bob = await client.post("/api/v1/api-keys", json=wish, headers=bob)

    assert [answer.status_code for answer in (by_ann, for_ann, by_bob)] == [403, 403, 201]


async def test_who_left_a_community_writes_nothing_into_it_with_an_old_key(client, here, key_for):
    key = await key_for("carl", roles={(2, "editor")}, community_id=2)
    await here.db(here.db.user_role.user_id == key.user_id).delete()
    here.authentication.forget()

    logged = await client.post("/api/v1/runs", json=RUN, headers=key)
    flow = {"ref": "default.x", "pack_ref": "default", "label": "w", "version": "1", "definition": FLOW}
    workflow = await client.post("/api/v1/workflows", json=flow, headers=key)
    pack = await client.post("/api/v1/packs", json={"ref": "x", "label": "x", "version": "1"}, headers=key)

    assert [answer.status_code for answer in (logged, workflow, pack)] == [403, 403, 403]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ""),
        ("PUT", ""),
        ("DELETE", ""),
        ("GET", "/versions"),
        ("GET", "/graph"),
        ("GET", "/permissions"),
        ("GET", "/executions"),
        ("GET", "/runs"),
        ("GET", "/stats"),
        ("POST", "/execute"),
        ("POST", "/test"),
        ("POST", "/validate"),
    ],
)
async def test_what_may_not_be_seen_is_answered_like_what_does_not_exist(client, ann, bob, method, path):
    await made(client, ann, community_id=1)

    async def knock(name: str) -> tuple[int, dict]:
        body = {"PUT": {"label": "z"}, "POST": {}}.get(method)
        answer = await client.open(f"/api/v1/workflows/{name}{path}", method=method, json=body, headers=bob)
        status, said = await told(answer)
        return status, {key: str(value).replace(name, "NAME") for key, value in said.items()}

    hidden, absent = await knock("default.hers"), await knock("default.none")

    assert hidden == absent
    assert hidden[0] == 404


async def test_calling_a_workflow_that_may_not_be_seen_is_calling_one_that_does_not_exist(client, ann, bob):
    await made(client, ann, community_id=1)

    async def tried(action: str) -> list[str]:
        definition = {"tasks": [{"name": "a", "action": action}]}
        checked = await client.post("/api/v1/workflows/validate", json={"definition": definition}, headers=bob)
        ref = f"default.calls-{action[-4:]}"
        await made(client, bob, ref, definition=definition)
        run = await client.post(f"/api/v1/workflows/{ref}/execute?wait=5", json={}, headers=bob)
        rehearsal = await client.post(f"/api/v1/workflows/{ref}/test", json={}, headers=bob)
        return [
            str(shown).replace(action, "ACTION").replace(ref, "REF")
            for shown in (
                (await checked.get_json())["data"]["warnings"],
                (await told(run))[1],
                (await told(rehearsal))[1],
            )
        ]

    hidden, absent = await tried("default.hers"), await tried("default.none")

    assert hidden == absent
    assert "unknown_action" in hidden[0]
    assert "Unknown action" in hidden[1]


async def test_a_pack_of_another_community_and_its_actions_are_not_there(client, ann, bob, hers):
    async def seen(key) -> list:
        listed = (await (await client.get("/api/v1/packs", headers=key)).get_json())["data"]
        actions = (await (await client.get("/api/v1/actions?pack_ref=hers", headers=key)).get_json())["data"]
        answers = [
            await client.get("/api/v1/packs/hers", headers=key),
            await client.get("/api/v1/packs/hers/workflows", headers=key),
            await client.get("/api/v1/actions/hers.look", headers=key),
        ]
        return ["hers" in {one["ref"] for one in listed}, len(actions), *[one.status_code for one in answers]]

    assert await seen(ann) == [True, 1, 200, 200, 200]
    assert await seen(bob) == [False, 0, 404, 404, 404]
    assert (await client.put("/api/v1/packs/hers", json={"label": "z"}, headers=bob)).status_code == 404
    assert (await client.delete("/api/v1/packs/hers", headers=bob)).status_code == 404
    grant = {"can_edit": True}
    await client.put(f"/api/v1/packs/hers/permissions/user/{bob.user_id}", json=grant, headers=ann)
    assert await seen(bob) == [True, 1, 200, 200, 200]


@pytest.mark.parametrize("action", ["hers.look", "{{ parameters.which }}"], ids=["named", "computed"])
async def test_an_action_of_another_community_s_pack_cannot_be_called(client, bob, hers, action):
    await made(client, bob, "default.his", definition={"tasks": [{"name": "a", "action": action}]})

    ended = await client.post(
        "/api/v1/workflows/default.his/execute?wait=10", json={"variables": {"which": "hers.look"}}, headers=bob
    )

    status, said = await told(ended)
    assert (status, "hers.look" in str(said)) == ((400, True) if action == "hers.look" else (200, True))
    assert "x.test" not in str(said)
    assert status == 400 or said["data"]["status"] == "failed"


async def test_the_runs_of_a_removed_workflow_stay_readable_for_those_who_could_read_them(client, ann, bob, key_for):
    neighbour = await key_for("nora", roles={(1, "viewer")})
    shown = await made(client, ann, community_id=1)
    await client.post("/api/v1/workflows/default.hers/execute?wait=5", json={}, headers=ann)
    await client.delete("/api/v1/workflows/default.hers", headers=ann)

    async def read(key) -> set[int]:
        names = (shown["package_id"], shown["id"])
        paths = [f"/api/v1/workflows/{name}/{what}" for name in names for what in ("runs", "stats", "executions")]
        return {(await client.get(path, headers=key)).status_code for path in paths}

    assert await read(ann) == {200}
    assert await read(neighbour) == {404}
    assert await read(bob) == {404}


async def test_who_may_edit_a_workflow_may_not_take_it_elsewhere(client, ann, key_for):
    editor = await key_for("ed", roles={(1, "editor"), (2, "editor")})
    await made(client, ann, community_id=1)
    grants = f"/api/v1/workflows/default.hers/permissions/user/{editor.user_id}"
    await client.put(grants, json={"can_view": True, "can_edit": True}, headers=ann)

    async def put(**changes) -> int:
        return (await client.put("/api/v1/workflows/default.hers", json=changes, headers=editor)).status_code

    assert [await put(label="z"), await put(community_id=1)] == [200, 200]
    assert [await put(community_id=None), await put(community_id=2)] == [403, 403]
    await client.put(grants, json={"can_view": True, "can_edit": True, "can_manage_permissions": True}, headers=ann)
    assert await put(community_id=2) == 200


@pytest.mark.parametrize("community", [None, 1])
async def test_a_key_for_one_community_is_told_so_when_it_writes_elsewhere(client, key_for, community):
    limited = await key_for("bob", roles={(1, "editor"), (2, "editor")}, community_id=2)
    body = {"ref": "default.w", "pack_ref": "default", "label": "w", "version": "1", "definition": FLOW}

    answer = await client.post("/api/v1/workflows", json={**body, "community_id": community}, headers=limited)

    said = "Your key is limited to community 2: community_id has to be 2, or left out"
    assert (answer.status_code, (await answer.get_json())["message"]) == (403, said)


async def test_a_community_that_is_not_the_workflow_s_is_not_found_wherever_it_is_named(client, ann):
    await made(client, ann, community_id=1)
    run = {"run_id": "r-1", "status": "completed"}
    at = "/api/v1/workflows/default.hers"

    async def asked(community: int) -> list[int]:
        query = f"?community_id={community}"
        answers = [
            await client.post(f"{at}/execute{query}", json={}, headers=ann),
            await client.post(f"{at}/execute", json={"community_id": community}, headers=ann),
            await client.post(f"{at}/test{query}", json={}, headers=ann),
            await client.post(f"{at}/runs/notify{query}", json=run, headers=ann),
            await client.post(f"{at}/runs/notify", json={**run, "community_id": community}, headers=ann),
            await client.get(f"{at}/runs{query}", headers=ann),
            await client.get(f"{at}/stats{query}", headers=ann),
        ]
        return [answer.status_code for answer in answers]

    assert await asked(2) == [404] * 7
    assert [status // 100 for status in await asked(1)] == [2] * 7


async def test_an_administrator_s_key_for_one_community_does_not_run_the_server(client, ann, key_for):
    limited = await key_for("root", is_admin=True, community_id=2)
    await made(client, ann, community_id=1)

    answers = [
        await client.get("/api/v1/audit", headers=limited),
        await client.get("/api/v1/users", headers=limited),
        await client.put(f"/api/v1/users/{ann.user_id}/roles/2/admin", headers=limited),
        await client.post("/api/v1/api-keys", json={"name": "x", "community_id": 2, "user_id": 1}, headers=limited),
        await client.post("/api/v1/packs/sync", headers=limited),
    ]

    assert [answer.status_code for answer in answers] == [403] * 5
    own = await made(client, limited, "default.own")
    assert own["community_id"] == 2


async def test_a_refusal_is_on_record_with_what_was_asked_for(client, here, admin, ann, bob):
    await made(client, ann)
    started = await client.post("/api/v1/workflows/default.hers/execute", json={}, headers=ann)
    execution = (await started.get_json())["data"]["execution_id"]

    for path in (f"executions/{execution}/cancel", "default.hers/execute"):
        assert (await client.post(f"/api/v1/workflows/{path}", json={}, headers=bob)).status_code == 404

    rows = (await (await client.get("/api/v1/audit?result=DENIED", headers=admin)).get_json())["data"]
    assert {(row["actor_id"], row["resource"]) for row in rows} == {
        (bob.user_id, execution),
        (bob.user_id, "default.hers"),
    }


async def test_a_pack_counts_the_workflows_that_one_may_view(client, admin, ann, bob):
    for number in range(3):
        await made(client, ann, f"default.hers{number}", community_id=1)
    await made(client, bob, "default.his", community_id=2)

    for key, expected in ((ann, 3), (bob, 1), (admin, 4)):
        [listed] = (await (await client.get("/api/v1/packs?search=default", headers=key)).get_json())["data"]
        shown = (await (await client.get("/api/v1/packs/default", headers=key)).get_json())["data"]
        assert (listed["workflow_count"], shown["workflow_count"]) == (expected, expected)
