"""Health, readiness, metrics and the documentation."""

import re

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from controllers.guards import permission_of
from controllers.openapi import operation_of


async def test_health_says_what_the_server_is(client, database_engine):
    answer = await client.get("/health")

    found = await answer.get_json()
    assert answer.status_code == 200
    assert found["status"] == "healthy"
    assert found["database"] == database_engine
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", found["timestamp"])


async def test_a_server_with_its_database_is_ready(client):
    answer = await client.get("/ready")

    found = await answer.get_json()
    assert answer.status_code == 200, found
    assert {"database", "migrations", "disk"} <= found["checks"].keys()


async def test_metrics_count_requests_by_route(client):
    await client.get("/health")

    text = await (await client.get("/metrics")).get_data(as_text=True)

    assert 'millrace_http_requests_total{method="GET",route="/health",status="200"} 1.0' in text


async def test_metrics_time_the_database(client, alice):
    await client.get("/api/v1/me", headers=alice)

    text = await (await client.get("/metrics")).get_data(as_text=True)

    assert 'millrace_database_query_seconds_count{lane="read"}' in text
    assert "millrace_database_connections_in_use 0.0" in text


@pytest.mark.parametrize("environ", [{"OPENAI_KEY": "k", "PROM_URL": "http://127.0.0.1:1"}])
async def test_health_shows_what_is_switched_on(client):
    found = await (await client.get("/health")).get_json()

    assert found["prometheus_url"] == "http://127.0.0.1:1"
    assert found["features"] == {"embeddings": "on", "milvus": "off", "prometheus": "on", "code_actions": "off"}


async def test_the_document_is_valid_openapi(client):
    document = await (await client.get("/openapi.json")).get_json()

    OpenAPIV31SpecValidator(document).validate()
    assert document["openapi"].startswith("3.1")


async def test_the_document_names_each_operation_once(client):
    document = await (await client.get("/openapi.json")).get_json()

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
