"""Bodies say what they mean: no text is taken for a number or a boolean, no number for a time, in any route."""

import itertools
from typing import get_args

import pytest
from pydantic import BaseModel, RootModel, TypeAdapter

from controllers import body
from controllers.openapi import operation_of
from controllers.operate_views import CancelMany
from services.errors import Invalid

WRONG = {
    "boolean": ["true", "yes", 1],
    "integer": ["5", 5.5, True],
    "number": ["5", True],
    "string": [5, True, []],
    "date-time": [4102444800, "4102444800", "tomorrow"],
    "uuid": [5, "five"],
}
ROUNDED = [("duration_ms", 5.5)]
"""Runners report durations in fractions."""


@pytest.fixture
def database_engine():
    """What is tested here is the same on every database."""
    return "sqlite"


def models_in(kind) -> list[type[BaseModel]]:
    """The models of objects that a declared body is made of."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        inner = [model for field in kind.model_fields.values() for model in models_in(field.annotation)]
        return inner if issubclass(kind, RootModel) else [kind, *inner]
    return [model for part in get_args(kind) for model in models_in(part)]


def wrong_values(schema) -> list:
    """Values that look like what a field takes and are something else."""
    options = schema.get("anyOf", [schema])
    kinds = {option.get("format", option.get("type")) for option in options} - {"null"}
    if not kinds or any("$ref" in option for option in options) or len(kinds) > 1:
        return []
    return WRONG.get(kinds.pop(), [])


def refused_at(model, name, value) -> bool:
    try:
        body.validate(model, {name: value})
    except Invalid as error:
        return any(problem["loc"] == [name] for problem in error.details["errors"])
    return False


async def test_no_field_of_any_body_takes_another_type_for_its_own(app):
    bodies = [operation.body for view in app.view_functions.values() if (operation := operation_of(view))]
    models = set(itertools.chain.from_iterable(models_in(kind) for kind in bodies))
    tried, lax = 0, []
    for model in models:
        for name, schema in TypeAdapter(model).json_schema()["properties"].items():
            for value in wrong_values(schema):
                tried += 1
                if (name, value) not in ROUNDED and not refused_at(model, name, value):
                    lax.append(f"{model.__name__}.{name} takes {value!r}")

    assert tried > 150
    assert lax == []


async def test_a_word_makes_nobody_an_administrator(client, admin):
    answer = await client.post("/api/v1/users", json={"name": "z", "is_admin": "yes"}, headers=admin)

    assert answer.status_code == 400
    assert (await answer.get_json())["details"]["errors"][0]["loc"] == ["is_admin"]


async def test_a_word_grants_nothing(client, world):
    path = f"/api/v1/workflows/guarded.flow/permissions/user/{world.ids['viewer']}"

    answer = await client.put(path, json={"can_edit": "true"}, headers=world.people["owner"])

    assert answer.status_code == 400


async def test_a_number_is_no_time(client, alice):
    answer = await client.post("/api/v1/api-keys", json={"name": "k", "expires_at": 4102444800}, headers=alice)

    assert answer.status_code == 400


async def test_what_json_has_no_type_for_is_text(client, alice):
    wish = {"name": "k", "expires_at": "2100-01-01T00:00:00+02:00", "scopes": ["read"]}

    made = await client.post("/api/v1/api-keys", json=wish, headers=alice)
    refused = await client.post("/api/v1/api-keys", json={**wish, "scopes": ["reed"]}, headers=alice)

    assert (await made.get_json())["data"]["expires_at"] == "2099-12-31T22:00:00Z"
    [problem] = (await refused.get_json())["details"]["errors"]
    assert (problem["loc"], problem["message"][:20]) == (["scopes", 0], "must be one of read,")


def test_a_filter_in_a_body_names_a_key_by_text():
    wish = {"filter": {"key_id": "01a21e8d-a9e3-7d57-a6b4-8954161cf25d", "started_after": "2026-01-01T00:00:00Z"}}

    read = body.validate(CancelMany, wish)

    assert str(read.filter.key_id) == wish["filter"]["key_id"]
    assert read.filter.started_after.year == 2026


async def test_a_query_is_text_and_stays_so(client, admin):
    query = (
        "unfinished=true&idle_seconds=5&started_after=2026-01-01T00:00:00Z&key_id=01a21e8d-a9e3-7d57-a6b4-8954161cf25d"
    )

    answer = await client.get(f"/api/v1/executions?{query}", headers=admin)

    assert answer.status_code == 200
