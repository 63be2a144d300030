"""Executions as OpenTelemetry traces, received over OTLP/HTTP by a real collector."""

import asyncio
import subprocess
import sys
from pathlib import Path
from uuid import UUID

import pytest

from tests.support.exposition import value
from tests.support.otlp_receiver import receiving

ROOT = Path(__file__).parents[2]
CALLER = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
UNSAMPLED = CALLER[:-1] + "0"
FLOW = {
    "tasks": [
        {"name": "greet", "action": "core.echo", "input": {"message": "hello"}, "on_success": "each"},
        {"name": "each", "with_items": "{{ [1, 2, 3] }}", "action": "core.echo", "input": {"message": "{{ item }}"}},
    ]
}
FAILS = {
    "tasks": [
        {
            "name": "try",
            "action": "core.fail",
            "input": {"message": "no luck"},
            "retry": {"count": 1, "delay": 0},
        }
    ]
}
CHILD = {"tasks": [{"name": "inner", "action": "core.echo", "input": {"message": "x"}}]}
PARENT = {"tasks": [{"name": "sub", "action": "core.workflow", "input": {"workflow": "default.child"}}]}
ASKS = {
    "tasks": [{"name": "ask", "action": "core.inquiry", "input": {"prompt": "Go on?", "requester_may_respond": True}}]
}


@pytest.fixture
def collector():
    with receiving() as made:
        yield made


@pytest.fixture
def environ(collector, request):
    return {
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_EXPORTER_OTLP_HEADERS": "x-tenant=a%20b",
        "OTEL_SERVICE_NAME": "mill",
        "HTTP_ALLOW_HOSTS": "127.0.0.1",
        "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment=test",
        **getattr(request, "param", {}),
    }


@pytest.fixture
def register(client, admin):
    async def make(name, definition):
        body = {
            "ref": f"default.{name}",
            "pack_ref": "default",
            "label": name,
            "version": "1",
            "definition": definition,
        }
        answer = await client.post("/api/v1/workflows", json=body, headers=admin)
        assert answer.status_code == 201, await answer.get_data(as_text=True)

    return make


@pytest.fixture
def execute(client, admin):
    async def run(name, wait="20", **headers):
        query = {"wait": wait} if wait else {}
        path = f"/api/v1/workflows/default.{name}/execute"
        answer = await client.post(path, json={}, query_string=query, headers={**admin, **headers})
        assert answer.status_code in (200, 202), await answer.get_data(as_text=True)
        return (await answer.get_json())["data"]["execution_id"]

    return run


@pytest.fixture
def told(here):
    """Everything that waits to be told has been told."""

    async def tell():
        job = next(job for job in here.background._jobs if job.name == "send-traces")
        async with asyncio.timeout(20):
            while here.execution.driving:
                await asyncio.sleep(0.01)
        await job.work()

    return tell


def by_name(spans):
    found = {}
    for span in spans:
        found.setdefault(span.name, []).append(span)
    return found


async def test_an_execution_is_a_trace_and_every_attempt_a_span(register, execute, told, collector):
    await register("flow", FLOW)
    execution_id = await execute("flow")
    await told()

    spans = by_name(collector.of(execution_id))

    assert {name: len(found) for name, found in spans.items()} == {"default.flow": 1, "greet": 1, "each": 4}
    (whole,), (greet,) = spans["default.flow"], spans["greet"]
    assert {span.trace_id for span in collector.of(execution_id)} == {UUID(execution_id).hex}
    assert whole.parent_id == ""
    assert whole.attributes["millrace.execution.status"] == "completed"
    assert whole.attributes["millrace.workflow.ref"] == "default.flow"
    assert greet.parent_id == whole.span_id
    assert greet.attributes["millrace.action"] == "core.echo"
    assert greet.attributes["millrace.effect"] == "none"
    assert (greet.attributes["millrace.attempt"], greet.attributes["millrace.outcome"]) == (1, "completed")
    (whole_list,) = [span for span in spans["each"] if "millrace.items" in span.attributes]
    items = [span for span in spans["each"] if span is not whole_list]
    assert whole_list.parent_id == whole.span_id
    assert {span.parent_id for span in items} == {whole_list.span_id}
    assert sorted(span.attributes["millrace.item"] for span in items) == [0, 1, 2]
    assert all(whole.begun_ns <= span.begun_ns <= span.ended_ns <= whole.ended_ns for span in [greet, *items])
    assert len({span.span_id for span in collector.of(execution_id)}) == 6


async def test_the_collector_is_told_who_speaks(register, execute, told, collector):
    await register("child", CHILD)
    execution_id = await execute("child")
    await told()

    path, headers = collector.requests[0]

    assert path == "/v1/traces"
    assert (headers["content-type"], headers["x-tenant"]) == ("application/x-protobuf", "a b")
    assert (
        collector.whole(execution_id).resource.items()
        >= {
            "service.name": "mill",
            "deployment.environment": "test",
        }.items()
    )


async def test_a_failure_says_its_type_and_every_attempt(register, execute, told, collector):
    await register("fails", FAILS)
    execution_id = await execute("fails")
    await told()

    spans = by_name(collector.of(execution_id))

    first, second = sorted(spans["try"], key=lambda span: span.attributes["millrace.attempt"])
    assert (first.attributes["millrace.attempt"], second.attributes["millrace.attempt"]) == (1, 2)
    assert first.events[0][0] == "retry"
    for span in (first, second, spans["default.fails"][0]):
        assert span.attributes["error.type"] == "execution"
        assert "no luck" in span.error


async def test_a_caller_s_trace_goes_on(register, execute, told, collector):
    await register("child", CHILD)
    execution_id = await execute("child", traceparent=CALLER)
    await told()

    whole = collector.whole(execution_id)

    assert (whole.trace_id, whole.parent_id) == ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7")


async def test_what_an_http_action_calls_becomes_a_part_of_the_trace(register, execute, told, collector):
    hook = {"method": "POST", "url": f"{collector.url}/hook", "json": {}}
    await register("calls", {"tasks": [{"name": "call", "action": "core.http", "input": hook}]})
    execution_id = await execute("calls", traceparent=CALLER)
    await told()

    (sent,) = [headers["traceparent"] for path, headers in collector.requests if path == "/hook"]
    (call,) = by_name(collector.of(execution_id))["call"]

    assert sent == f"00-{call.trace_id}-{call.span_id}-01"
    assert call.trace_id == "4bf92f3577b34da6a3ce929d0e0e4736"
    assert call.kind == 3  # CLIENT


async def test_a_caller_who_does_not_sample_is_heeded(register, execute, told, collector):
    await register("child", CHILD)
    quiet = await execute("child", traceparent=UNSAMPLED)
    heard = await execute("child")
    await told()

    assert collector.of(quiet) == []
    assert collector.whole(heard)


async def test_a_sub_workflow_is_a_child_of_the_attempt_that_waits_for_it(register, execute, told, collector):
    await register("child", CHILD)
    await register("parent", PARENT)
    execution_id = await execute("parent")
    await told()

    spans = by_name(list(collector.spans))

    (call,), (child,), (parent,) = spans["sub"], spans["default.child"], spans["default.parent"]
    assert parent.attributes["millrace.execution.id"] == execution_id
    assert child.attributes["millrace.execution.parent_id"] == execution_id
    assert child.trace_id == call.trace_id == parent.trace_id
    assert (call.parent_id, child.parent_id) == (parent.span_id, call.span_id)
    assert call.links == [(child.trace_id, child.span_id)]
    assert call.attributes["millrace.child.execution.id"] == child.attributes["millrace.execution.id"]
    assert spans["inner"][0].parent_id == child.span_id


async def test_an_approval_is_a_span_that_ends_with_its_answer(client, admin, register, execute, told, collector):
    await register("asks", ASKS)
    execution_id = await execute("asks", wait=None)
    await told()
    before = list(collector.spans)
    found = await (await client.get("/api/v1/inquiries", headers=admin)).get_json()
    inquiry = found["data"][0]["id"]

    answer = await client.post(f"/api/v1/inquiries/{inquiry}/respond", json={"response": {}}, headers=admin)
    await told()

    assert answer.status_code == 200, await answer.get_data(as_text=True)
    assert before == []
    spans = by_name(collector.of(execution_id))
    assert [name for name, _ in spans["ask"][0].events] == ["inquiry answered"]
    assert spans["ask"][0].attributes["millrace.kind"] == "inquiry"
    assert len(spans["default.asks"]) == 1


async def test_what_is_cancelled_while_nobody_drives_it_is_told_as_well(
    client, admin, register, execute, told, collector
):
    await register("asks", ASKS)
    execution_id = await execute("asks", wait=None)
    await told()
    await client.post(f"/api/v1/workflows/executions/{execution_id}/cancel", headers=admin)
    await told()

    whole = collector.whole(execution_id)

    assert whole.attributes["millrace.execution.status"] == "cancelled"
    assert "execution cancel" in [name for name, _ in whole.events]
    assert len(collector.of(execution_id)) == 2


async def test_spans_that_the_collector_refuses_are_counted_and_given_up(client, register, execute, told, collector):
    await register("child", CHILD)
    collector.answers.append(400)
    await execute("child")
    await told()
    heard = await execute("child")
    await told()

    text = await (await client.get("/metrics")).get_data(as_text=True)

    assert value(text, "millrace_trace_drops_total", reason="refused") == 2
    assert value(text, "millrace_trace_spans_sent_total") == 2
    assert collector.whole(heard)


@pytest.mark.parametrize("environ", [{}], indirect=False)
async def test_without_a_collector_nothing_is_traced(app, client, here, register, execute):
    await register("child", CHILD)
    await execute("child", traceparent=CALLER)

    assert here.execution.needs.telemetry._tracer is None
    assert not [job for job in here.background._jobs if job.name == "send-traces"]
    assert (await (await client.get("/health")).get_json())["features"]["tracing"] == "off"


def test_without_a_collector_no_library_of_it_is_imported(tmp_path):
    code = (
        "import sys; from app import create_app; from config import load; create_app(load({}));"
        "print(sorted(name for name in sys.modules if name.startswith(('opentelemetry', 'google.protobuf'))))"
    )

    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)

    assert found.stdout.strip() == "[]"
