"""Health, readiness and metrics."""

import re

import pytest


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
    assert "millrace_database_connections_in_use" in text


@pytest.mark.parametrize("environ", [{"OPENAI_KEY": "k", "PROM_URL": "http://127.0.0.1:1"}])
async def test_health_shows_what_is_switched_on(client):
    found = await (await client.get("/health")).get_json()

    assert found["prometheus_url"] == "http://127.0.0.1:1"
    features = {"embeddings": "on", "milvus": "off", "prometheus": "on", "tracing": "off", "code_actions": "off"}
    assert found["features"] == features
