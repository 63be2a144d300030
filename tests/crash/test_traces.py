"""A trace goes on where another worker takes over, and nothing of it is missing or told twice."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import httpx
import pytest

from tests.crash.callee import Callee
from tests.crash.fleet import HEADERS, fleet
from tests.support.otlp_receiver import Receiver, receiving

pytestmark = [pytest.mark.crash, pytest.mark.timeout(240)]


@pytest.fixture
def callee() -> Iterator[Callee]:
    made = Callee()
    yield made
    made.close()


@pytest.fixture
def collector() -> Iterator[Receiver]:
    with receiving() as made:
        yield made


def steps(url: str) -> dict[str, object]:
    def step(name: str, ms: int, after: str | None) -> dict[str, object]:
        call = {"method": "POST", "url": f"{url}/{name}", "json": {"ms": ms}}
        task = {"name": name, "action": "core.http", "input": call}
        return task if after is None else {**task, "on_success": after}

    return {"tasks": [step("first", 0, "second"), step("second", 3000, "third"), step("third", 0, None)]}


async def test_a_trace_goes_on_in_the_worker_that_takes_over(
    tmp_path: Path, databases, callee: Callee, collector: Receiver
) -> None:
    url = databases.create("postgres")
    environ = {"POSTGRES_DSN": url, "HTTP_ALLOW_HOSTS": "127.0.0.1", "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
    with fleet(tmp_path, environ) as processes:
        server, doomed = processes.serve("--no-worker"), processes.worker()
        server.wait_until_up()
        doomed.wait_until_up()
        async with httpx.AsyncClient(base_url=server.url, headers=HEADERS, timeout=30) as client:
            body = {"ref": "default.steps", "pack_ref": "default", "label": "s", "version": "1"}
            made = await client.post("/api/v1/workflows", json={**body, "definition": steps(callee.url)})
            assert made.status_code == 201, made.text
            started = await client.post("/api/v1/workflows/default.steps/execute", json={})
            execution_id = started.json()["data"]["execution_id"]
            async with asyncio.timeout(30):
                while not callee.keys("/second"):
                    await asyncio.sleep(0.02)
            doomed.kill()
            processes.worker().wait_until_up()
            whole = await asyncio.to_thread(collector.wait_for, lambda: collector.whole(execution_id), 60)
    databases.drop(url)

    spans = collector.of(execution_id)
    attempts = {span.name: span for span in spans if span is not whole}
    assert whole.attributes["millrace.execution.status"] == "completed"
    assert sorted(span.name for span in spans) == ["default.steps", "first", "second", "third"]
    assert {span.trace_id for span in spans} == {UUID(execution_id).hex}
    assert {span.parent_id for span in attempts.values()} == {whole.span_id}
    assert attempts["first"].attributes["millrace.worker"] != attempts["third"].attributes["millrace.worker"]
    assert [name for name, _ in attempts["second"].events] == ["taken over"]
    assert "taken over" in [name for name, _ in whole.events]
