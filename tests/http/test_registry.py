"""The registry over HTTP, on both databases: forms, tags, pages, checks and grants."""

import pytest

from controllers import registry_views as shapes
from controllers.openapi import enveloped
from models.dal import AsyncDAL

WORKFLOWS = "/api/v1/workflows"
YAML = {"Content-Type": "application/yaml"}
TEXT = """\
# kept as it came
ref: default.greet
pack_ref: default
label: Greet
version: 1.0.0
tags: [hello]
definition:
  vars: {z: 1, a: 2}   # the order has a meaning
  tasks:
    - name: say
      action: core.echo
      input: {message: "on: {{ vars.z }}"}
"""
NATIVE = {"tasks": [{"name": "say", "action": "core.echo", "input": {"message": "hi"}}]}


def body(ref="default.greet", **fields):
    made = {"ref": ref, "pack_ref": ref.partition(".")[0], "label": "Greet", "version": "1.0.0", "definition": NATIVE}
    return made | fields


async def sent(answer, status=200):
    found = await answer.get_json()
    assert answer.status_code == status, found
    return found


async def create(client, headers, ref="default.greet", **fields):
    return (await sent(await client.post(WORKFLOWS, json=body(ref, **fields), headers=headers), 201))["data"]


async def test_yaml_goes_in_and_comes_out_as_it_was(client, alice):
    await sent(await client.post(WORKFLOWS, data=TEXT, headers={**alice, **YAML}), 201)

    answer = await client.get(f"{WORKFLOWS}/default.greet", headers={**alice, "Accept": "application/yaml"})

    assert answer.content_type.startswith("application/yaml")
    assert await answer.get_data(as_text=True) == TEXT


async def test_yaml_that_is_no_longer_true_is_written_anew_without_loss(client, alice):
    await sent(await client.post(WORKFLOWS, data=TEXT, headers={**alice, **YAML}), 201)
    await sent(await client.put(f"{WORKFLOWS}/default.greet", json={"label": "yes"}, headers=alice))
    text = await (
        await client.get(f"{WORKFLOWS}/default.greet", headers={**alice, "Accept": "application/yaml"})
    ).get_data(as_text=True)
    before = (await sent(await client.get(f"{WORKFLOWS}/default.greet", headers=alice)))["data"]

    after = await sent(await client.put(f"{WORKFLOWS}/default.greet", data=text, headers={**alice, **YAML}))

    assert after["data"]["label"] == "yes"
    assert after["data"]["definition"] == before["definition"]
    assert list(after["data"]["definition"]["vars"]) == ["z", "a"]


async def test_a_bare_definition_with_fields_beside_it_is_understood(client, alice):
    flat = (
        "ref: default.flat\npack_ref: default\nlabel: Flat\nversion: '1.0'\ntasks:\n  - {name: a, action: core.noop}\n"
    )

    made = (await sent(await client.post(WORKFLOWS, data=flat, headers={**alice, **YAML}), 201))["data"]

    assert (made["ref"], made["version"]) == ("default.flat", "1.0")
    assert made["definition"] == {"tasks": [{"name": "a", "action": "core.noop"}]}


async def test_yaml_that_is_none_names_line_and_column(client, alice):
    answer = await sent(await client.post(WORKFLOWS, data="a: [\n", headers={**alice, **YAML}), 400)

    assert "line 2" in answer["message"]


async def test_a_tag_protects_against_lost_updates(client, alice):
    await create(client, alice)
    seen = (await client.get(f"{WORKFLOWS}/default.greet", headers=alice)).headers["ETag"]
    first = await client.put(f"{WORKFLOWS}/default.greet", json={"label": "A"}, headers={**alice, "If-Match": seen})
    again = await client.put(f"{WORKFLOWS}/default.greet", json={"label": "B"}, headers={**alice, "If-Match": seen})
    gone = await client.delete(f"{WORKFLOWS}/default.greet", headers={**alice, "If-Match": seen})

    assert (await sent(first))["data"]["label"] == "A"
    assert first.headers["ETag"] != seen
    assert (await sent(again, 412))["error_code"] == "PRECONDITION_FAILED"
    assert gone.status_code == 412
    await sent(await client.delete(f"{WORKFLOWS}/default.greet", headers={**alice, "If-Match": "*"}))


async def test_a_repeated_request_makes_one_workflow(client, alice):
    key = {**alice, "Idempotency-Key": "once"}
    first = await client.post(WORKFLOWS, json=body(), headers=key)
    second = await client.post(WORKFLOWS, json=body(), headers=key)
    other = await client.post(WORKFLOWS, json=body(label="Other"), headers=key)

    assert (await sent(first, 201))["data"]["id"] == (await sent(second, 201))["data"]["id"]
    assert second.headers["Idempotency-Replayed"] == "true"
    assert (await sent(other, 422))["error_code"] == "IDEMPOTENCY_MISMATCH"


async def test_a_cursor_continues_where_a_page_ended(client, alice):
    for number in range(5):
        await create(client, alice, f"default.w{number}")
    first = await sent(await client.get(f"{WORKFLOWS}?per_page=2", headers=alice))
    cursor = first["meta"]["pagination"]["next_cursor"]

    second = await sent(await client.get(f"{WORKFLOWS}?per_page=2&cursor={cursor}", headers=alice))

    assert [row["ref"] for row in second["data"]] == ["default.w2", "default.w1"]
    assert second["meta"]["pagination"]["has_prev"]


@pytest.mark.parametrize(
    "query", ["page=0", "per_page=101", "sort_by=owner", "enabled=perhaps", "cursor=x", "page=501"]
)
async def test_a_list_names_what_it_does_not_understand(client, alice, query):
    answer = await sent(await client.get(f"{WORKFLOWS}?{query}", headers=alice), 400)

    assert answer["details"]["errors"][0]["loc"][1] == query.partition("=")[0]


async def test_a_hidden_workflow_is_404_and_a_visible_one_403(client, alice, bob):
    await create(client, alice)
    hidden = await client.get(f"{WORKFLOWS}/default.greet", headers=bob)
    grant = f"{WORKFLOWS}/default.greet/permissions/user/{bob.user_id}"
    await sent(await client.put(grant, json={"can_view": True}, headers=alice))
    forbidden = await client.put(f"{WORKFLOWS}/default.greet", json={"label": "x"}, headers=bob)

    assert (await sent(hidden, 404))["error_code"] == "WORKFLOW_NOT_FOUND"
    assert (await sent(forbidden, 403))["error_code"] == "PERMISSION_DENIED"


async def test_grants_are_listed_given_and_taken(client, alice, bob):
    await create(client, alice)
    place = f"{WORKFLOWS}/default.greet/permissions"
    await sent(await client.put(f"{place}/user/{bob.user_id}", json={"can_view": True}, headers=alice))
    listed = (await sent(await client.get(place, headers=alice)))["data"]
    await sent(await client.delete(f"{place}/user/{bob.user_id}", headers=alice))

    assert [(row["subject_type"], row["subject_id"], row["can_view"]) for row in listed] == [
        ("user", str(bob.user_id), True)
    ]
    assert (await client.get(f"{WORKFLOWS}/default.greet", headers=bob)).status_code == 404
    assert (await client.delete(f"{place}/user/{bob.user_id}", headers=alice)).status_code == 404
    assert (await client.put(f"{place}/team/7", json={}, headers=alice)).status_code == 400


async def test_a_definition_is_checked_without_being_stored(client, alice):
    good = await sent(await client.post(f"{WORKFLOWS}/validate", json=NATIVE, headers=alice))
    bad = {"tasks": [{"name": "a", "action": "core.noop", "next": [{"do": "b"}]}]}
    wrong = await sent(await client.post(f"{WORKFLOWS}/validate", json=body(definition=bad, label=""), headers=alice))

    assert good["data"] == {"is_valid": True, "errors": [], "warnings": []}
    assert not wrong["data"]["is_valid"]
    assert {error["loc"][0] for error in wrong["data"]["errors"]} == {"label", "definition"}
    assert (await sent(await client.get(WORKFLOWS, headers=alice)))["data"] == []


async def test_a_stored_workflow_is_checked_again(client, alice):
    await create(client, alice, definition={"tasks": [{"name": "a", "action": "none.such"}]})

    stored = await sent(await client.post(f"{WORKFLOWS}/default.greet/validate", headers=alice))

    assert stored["data"]["is_valid"]
    assert [warning["code"] for warning in stored["data"]["warnings"]] == ["unknown_action"]


async def test_versions_and_graph_can_be_looked_at(client, alice):
    await create(client, alice)
    await sent(await client.put(f"{WORKFLOWS}/default.greet", json={"version": "2"}, headers=alice))

    versions = await sent(await client.get(f"{WORKFLOWS}/default.greet/versions?per_page=1", headers=alice))
    graph = await sent(await client.get(f"{WORKFLOWS}/default.greet@1.0.0/graph", headers=alice))

    assert [(row["revision"], row["version"]) for row in versions["data"]] == [(2, "2")]
    assert versions["meta"]["pagination"]["total"] == 2
    assert (graph["data"]["version"], graph["data"]["entry"]) == ("1.0.0", ["say"])
    assert [node["id"] for node in graph["data"]["nodes"]] == ["say"]


async def test_a_warning_comes_with_the_answer(client, alice):
    made = await sent(
        await client.post(
            WORKFLOWS, json=body(definition={"tasks": [{"name": "a", "action": "no.such"}]}), headers=alice
        ),
        201,
    )

    assert made["meta"]["warnings"][0]["code"] == "unknown_action"


async def test_actions_are_listed_and_shown(client, alice):
    listed = await sent(await client.get("/api/v1/actions?search=http", headers=alice))
    shown = await sent(await client.get("/api/v1/actions/core.http", headers=alice))

    assert [action["ref"] for action in listed["data"]] == ["core.http"]
    assert shown["data"]["effect"] == "write"
    assert (await client.get("/api/v1/actions/core.nothing", headers=alice)).status_code == 404


async def test_a_pack_lives_its_life(client, alice, bob):
    made = await client.post("/api/v1/packs", json={"ref": "mine", "label": "Mine", "version": "1"}, headers=alice)
    shown = await client.get("/api/v1/packs/mine", headers=bob)
    foreign = await client.put("/api/v1/packs/mine", json={"label": "x"}, headers=bob)
    await create(client, alice, "mine.greet")
    held = await client.delete("/api/v1/packs/mine", headers=alice)
    gone = await client.delete("/api/v1/packs/mine?cascade=true", headers=alice)

    assert (await sent(made, 201))["data"]["sync"]["loaded_count"] == 0
    assert "config" not in (await sent(shown))["data"]
    assert (await sent(foreign, 403))["error_code"] == "PERMISSION_DENIED"
    assert (await sent(held, 409))["details"]["workflows"] == ["mine.greet"]
    await sent(gone)
    assert (await client.get("/api/v1/packs/mine", headers=alice)).status_code == 404


async def test_a_key_of_a_community_stays_within_it(client, alice, key_for):
    limited = await key_for("carol", roles={(7, "editor")}, community_id=7)
    made = await create(client, limited, "default.inside")
    outside = await client.post(WORKFLOWS, json=body("default.outside", community_id=8), headers=limited)

    assert made["community_id"] == 7
    assert outside.status_code == 403


async def test_a_write_is_in_the_record(client, alice, here):
    made = await create(client, alice)
    db: AsyncDAL = here.db

    rows = await db(db.audit_log.workflow_id == made["id"]).select(db.audit_log.action, db.audit_log.actor_id)

    assert [(row.action, row.actor_id) for row in rows] == [("create_workflow", alice.user_id)]


async def test_a_definition_can_be_had_in_the_native_language(client, alice):
    await create(client, alice, definition={"version": 1.0, "tasks": {"say": {"action": "core.noop"}}})

    native = await sent(await client.get(f"{WORKFLOWS}/default.greet?format=native", headers=alice))
    nodes = await sent(await client.get(f"{WORKFLOWS}/default.greet?format=nodes", headers=alice), 400)
    text = await client.get(f"{WORKFLOWS}/default.greet?format=native", headers={**alice, "Accept": "application/yaml"})

    assert native["data"]["dialect"] == "native"
    assert native["data"]["notes"]
    assert "orquesta" in nodes["message"]
    assert (await text.get_data(as_text=True)).startswith("# ")


ANSWERS = [
    ("", list[shapes.WorkflowSummary]),
    ("/default.greet", shapes.WorkflowView),
    ("/default.greet/versions", list[shapes.VersionView]),
    ("/default.greet/graph", shapes.GraphView),
    ("/default.greet/permissions", list[shapes.GrantView]),
    ("/default.greet?format=native", shapes.ExportedView),
]
OTHERS = [
    ("/packs", list[shapes.PackSummary]),
    ("/packs/default", shapes.PackView),
    ("/packs/default/workflows", list[shapes.WorkflowSummary]),
    ("/packs/default/permissions", list[shapes.PackGrantView]),
    ("/actions", list[shapes.ActionView]),
    ("/actions/core.http", shapes.ActionView),
]


@pytest.mark.parametrize(
    ("path", "shape"),
    [(WORKFLOWS + path, shape) for path, shape in ANSWERS] + [(f"/api/v1{path}", shape) for path, shape in OTHERS],
)
async def test_an_answer_is_what_the_document_says(client, admin, path, shape):
    await create(client, admin)
    place = f"{WORKFLOWS}/default.greet/permissions/role/editor"
    await sent(await client.put(place, json={"can_view": True}, headers=admin))
    await sent(await client.put(f"/api/v1/packs/default/permissions/user/{admin.user_id}", headers=admin))

    answer = await sent(await client.get(path, headers=admin))

    enveloped(shape).model_validate(answer)


async def test_the_settings_of_a_pack_come_with_their_defaults_and_fit_their_schema_however_they_change(client, admin):
    schema = {
        "type": "object",
        "properties": {"region": {"type": "string", "default": "eu"}, "size": {"type": "integer"}},
    }
    pack = {"ref": "shop", "label": "Shop", "version": "1", "config_schema": schema, "config": {"size": 3}}
    await sent(await client.post("/api/v1/packs", json=pack, headers=admin), 201)
    flow = {
        "tasks": [{"name": "a", "action": "core.noop"}],
        "output": {"at": "{{ config.region }}", "size": "{{ config.size }}"},
    }
    body = {"ref": "shop.flow", "pack_ref": "shop", "label": "F", "version": "1", "definition": flow}
    await sent(await client.post(WORKFLOWS, json=body, headers=admin), 201)

    ran = await sent(await client.post(f"{WORKFLOWS}/shop.flow/execute?wait=30", json={}, headers=admin))
    wrong = await sent(await client.put("/api/v1/packs/shop", json={"config": {"size": "big"}}, headers=admin), 400)
    narrowed = {"config_schema": {"type": "object", "required": ["zone"]}}
    unfit = await sent(await client.put("/api/v1/packs/shop", json=narrowed, headers=admin), 400)
    shown = await sent(await client.get("/api/v1/packs/shop", headers=admin))

    assert ran["data"]["final_output"] == {"at": "eu", "size": 3}
    assert wrong["details"]["errors"][0]["loc"] == ["config", "size"]
    assert "zone" in unfit["message"]
    assert shown["data"]["config"] == {"size": 3}
