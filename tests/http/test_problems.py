"""A problem looks the same whichever route tells it: unknown names with what was meant, places of definitions."""

import pytest

NATIVE = {"tasks": [{"name": "a", "action": "core.noop"}]}
NODES = {"nodes": {"a": {"type": "action", "config": {"action": "core.noop"}}}, "connections": []}
ORQUESTA = {"version": 1.0, "tasks": {"a": {"action": "core.noop"}}}
UNKNOWN = [
    ({**NATIVE, "lable": 1}, ["lable"], "lable"),
    ({"tasks": [{**NATIVE["tasks"][0], "acton": 1}]}, ["tasks", 0, "acton"], "tasks[0].acton"),
    ({"tasks": [{**NATIVE["tasks"][0], "retry.count": 1}]}, ["tasks", 0, "retry.count"], "tasks[0].retry.count"),
    ({**NATIVE, "limits": {"MAX": 5}}, ["limits", "MAX"], "limits.MAX"),
    ({**ORQUESTA, "lable": 1}, ["lable"], "lable"),
    ({**ORQUESTA, "tasks": {"a": {"acton": "core.noop"}}}, ["tasks", "a", "acton"], "tasks.a.acton"),
    ({**NODES, "lable": 1}, ["lable"], "lable"),
]


@pytest.fixture
def database_engine():
    """What is tested here is the same on every database."""
    return "sqlite"


async def errors_of(answer) -> list[dict]:
    found = await answer.get_json()
    return found["details"]["errors"] if answer.status_code == 400 else found["data"]["errors"]


@pytest.mark.parametrize(
    ("method", "path", "body", "loc", "hint"),
    [
        ("POST", "/users", {"name": "z", "is_admn": True}, ["is_admn"], "Did you mean 'is_admin'?"),
        ("PUT", "/users/2", {"is_activ": False}, ["is_activ"], "Did you mean 'is_active'?"),
        ("POST", "/api-keys", {"name": "k", "scope": ["read"]}, ["scope"], "Did you mean 'scopes'?"),
        (
            "PUT",
            "/workflows/guarded.flow/permissions/role/guest",
            {"can_exeute": True},
            ["can_exeute"],
            "Did you mean 'can_execute'?",
        ),
        ("PUT", "/packs/guarded/permissions/role/guest", {"canedit": True}, ["canedit"], "Did you mean 'can_edit'?"),
        (
            "POST",
            "/executions/cancel",
            {"filter": {"workflow_ref": "x"}},
            ["filter", "workflow_ref"],
            "Did you mean 'workflow'?",
        ),
        (
            "POST",
            "/watches",
            {"query": "local:cpu_usage", "notify": {"workflow": "a.b", "variable": {}}},
            ["notify", "variable"],
            "Did you mean 'variables'?",
        ),
        ("POST", "/workflows/executions/x/rerun", {"form": ["a"]}, ["form"], "Did you mean 'from'?"),
    ],
)
async def test_an_unknown_field_is_told_with_what_was_meant(client, world, method, path, body, loc, hint):
    answer = await client.open(f"/api/v1{path}", method=method, json=body, headers=world.people["admin"])

    assert answer.status_code == 400
    assert await errors_of(answer) == [{"loc": loc, "message": "unknown field", "type": "unknown_field", "hint": hint}]


@pytest.mark.parametrize(("definition", "loc", "path"), UNKNOWN)
async def test_an_unknown_key_of_a_definition_is_named_by_its_place(client, alice, definition, loc, path):
    body = {"ref": "default.w", "pack_ref": "default", "label": "w", "version": "1", "definition": definition}

    bare = await errors_of(await client.post("/api/v1/workflows/validate", json=definition, headers=alice))
    whole = await errors_of(await client.post("/api/v1/workflows/validate", json=body, headers=alice))
    created = await errors_of(await client.post("/api/v1/workflows", json=body, headers=alice))

    unknown = [[error for error in errors if error["code"] == "unknown_key"] for errors in (bare, whole, created)]
    assert [(error["loc"], error["path"]) for errors in unknown for error in errors] == [
        (loc, path),
        (["definition", *loc], path),
        (["definition", *loc], path),
    ]


async def test_each_problem_of_a_workflow_has_a_code_and_a_path(client, alice):
    wrong = {"ref": "nodot", "lable": "x", "param_schema": {"type": "objekt"}, "tags": ["a", "b,c"]}
    body = {"pack_ref": "default", "label": "w", "version": "1", "definition": NATIVE, **wrong}

    checked = await errors_of(await client.post("/api/v1/workflows/validate", json=body, headers=alice))
    refused = await errors_of(await client.post("/api/v1/workflows", json=body, headers=alice))

    assert checked == refused
    assert [(error["code"], error["path"]) for error in refused] == [
        ("unknown_field", "lable"),
        ("ref_invalid", "ref"),
        ("tag_invalid", "tags[1]"),
        ("schema_invalid", "param_schema.type"),
    ]
