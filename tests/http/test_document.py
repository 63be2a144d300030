"""The OpenAPI document and the page that shows it: everything is in it, nothing comes from elsewhere."""

import re
from collections import defaultdict
from typing import get_args

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from pydantic import BaseModel

from controllers.guards import Permission, permission_of
from controllers.openapi import operation_of


@pytest.fixture
def database_engine():
    """What is tested here is the same on every database."""
    return "sqlite"


@pytest.fixture
async def document(client):
    return await (await client.get("/openapi.json")).get_json()


def models_in(kind) -> list[type[BaseModel]]:
    """The models a declared type is made of."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        inner = [field.annotation for field in kind.model_fields.values()]
        return [kind, *(model for part in inner for model in models_in(part) if part is not kind)]
    return [model for part in get_args(kind) for model in models_in(part)]


async def test_every_route_is_in_the_document_or_hides(app, document):
    plain = {re.sub(r"\{[^}]*\}", "{}", path) for path in document["paths"]}
    missing = [
        rule.rule
        for rule in app.url_map.iter_rules()
        if not getattr(app.view_functions[rule.endpoint], "_quart_schema_hidden", False)
        and re.sub(r"<[^>]*>", "{}", rule.rule) not in plain
    ]

    assert missing == []


async def test_no_two_models_share_a_name(app):
    homes = defaultdict(set)
    for view in app.view_functions.values():
        operation = operation_of(view)
        if operation is not None:
            for kind in (operation.body, operation.query, *operation.answers.values()):
                for model in models_in(kind):
                    homes[model.__name__].add(f"{model.__module__}.{model.__qualname__}")

    assert {name: found for name, found in homes.items() if len(found) > 1} == {}


async def test_every_guarded_operation_says_who_may_and_how_it_refuses(document):
    silent = []
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            is_public = operation.get("security") == []
            if not is_public and not ("x-permission" in operation and {"401", "403"} <= operation["responses"].keys()):
                silent.append(f"{method} {path}")

    assert silent == []


async def test_every_path_parameter_is_declared(document):
    undeclared = []
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            named = {item["name"] for item in operation["parameters"] if item["in"] == "path"}
            if named != set(re.findall(r"{([^}]+)}", path)):
                undeclared.append(f"{method} {path}")

    assert undeclared == []


async def test_the_document_is_valid_openapi(document):
    OpenAPIV31SpecValidator(document).validate()
    assert document["openapi"].startswith("3.1")


async def test_the_document_names_each_operation_once(document):
    ids = [operation["operationId"] for path in document["paths"].values() for operation in path.values()]
    assert len(ids) == len(set(ids))


async def test_the_document_is_not_sent_twice(client):
    first = await client.get("/openapi.json")

    second = await client.get("/openapi.json", headers={"If-None-Match": first.headers["ETag"]})

    assert second.status_code == 304


async def test_every_route_names_its_permission(app):
    nameless = [
        rule.rule for rule in app.url_map.iter_rules() if permission_of(app.view_functions[rule.endpoint]) is None
    ]

    assert nameless == []


async def test_every_permission_opens_a_route(app):
    asked = {permission_of(app.view_functions[rule.endpoint]) for rule in app.url_map.iter_rules()}

    assert set(Permission) - asked == set()


async def test_every_route_describes_itself_or_hides(app):
    silent = [
        rule.rule
        for rule in app.url_map.iter_rules()
        if operation_of(view := app.view_functions[rule.endpoint]) is None
        and not getattr(view, "_quart_schema_hidden", False)
    ]

    assert silent == []


@pytest.mark.parametrize("name", ["swagger-ui-bundle.js", "swagger-ui.css", "init.js", "favicon-32x32.png"])
async def test_the_documentation_serves_its_own_assets(client, name):
    page = await (await client.get("/docs")).get_data(as_text=True)
    asset = await client.get(f"/docs/assets/{name}")

    assert f"/docs/assets/{name}" in page
    assert asset.status_code == 200


async def test_the_documentation_names_no_foreign_host(client):
    page = await client.get("/docs")

    assert "//" not in (await page.get_data(as_text=True)).replace("<!doctype", "")
    assert "script-src 'self'" in page.headers["Content-Security-Policy"]


async def test_other_files_are_not_served(client):
    answer = await client.get("/docs/assets/..%2fsystem.py")

    assert answer.status_code == 404
