"""Starting, following and steering executions."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl

from quart import Blueprint, Response, request

from controllers import body, envelope, idempotency, pages
from controllers import execution_views as views
from controllers.accepts import asks_for
from controllers.context import actor, services
from controllers.direct import DirectRoute, Whole
from controllers.gate import Gate
from controllers.guards import Permission, admit, header, requires
from controllers.openapi import Operation, describe
from controllers.shapes import CommunityQuery
from models.execution_lists import CAP, ExecutionPage, key_of
from models.executions import ExecutionRow
from services.execution import rerun as reruns
from services.execution import view
from services.execution.book import Book
from services.execution.dry_run import TestRequest
from services.execution.lifecycle import Accepted, StartRequest, Wanting
from services.execution.rerun import RerunRequest
from services.execution.view import Show
from services.formats import strict_json
from services.idempotency import Wanted

blueprint = Blueprint("execution", __name__, url_prefix="/api/v1/workflows")
ONE = "/executions/<execution_id>"
TRACEPARENT = re.compile(r"^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$")
HEARTBEAT = b": still here\n\n"
HEARTBEATS_S = 15
STARTED = "Workflow execution started"


# ---- starting ------------------------------------------------------------------------------------------------------


@blueprint.post("/<workflow_id>/execute")
@requires(Permission.EXECUTION_START)
@describe(
    Operation(
        tag="executions",
        body=views.Execute,
        body_optional=True,
        query=views.ExecuteQuery,
        answers={202: views.StartedView, 200: views.EndedView},
        errors=(400, 404, 409, 413, 422),
        headers=("Idempotency-Key", "traceparent"),
    )
)
async def execute(workflow_id: str) -> Response:
    """Start a workflow. 202 is sent after the execution is durable; with `wait`, 200 with the result if it ends in time."""
    once = idempotency.wanted(await body.raw())
    wanted = await body.read(views.Execute, optional=True)
    query = body.query(views.ExecuteQuery)
    return (await _start(_request(request, workflow_id, wanted, query, once), query.wait)).response()


async def execute_directly(asked: Whole, workflow_id: str) -> envelope.Answer:
    """The same as `execute`, for a request in its usual form."""
    await admit(asked, Permission.EXECUTION_START)
    once = idempotency.wanted(asked.body, asked)
    wanted = body.validate(views.Execute, strict_json.loads(asked.body))
    query = _query(asked.scope["query_string"])
    return await _start(_request(asked, workflow_id, wanted, query, once), query.wait)


def direct_routes(max_body_bytes: int) -> tuple[DirectRoute, ...]:
    """The routes of this module that are worth a shorter way."""
    before, after = f"{blueprint.url_prefix}/", "/execute"
    rule = f"{before}<workflow_id>{after}"
    return (
        DirectRoute(
            method="POST", before=before, after=after, rule=rule, view=execute_directly, max_body_bytes=max_body_bytes
        ),
    )


@lru_cache(maxsize=256)
def _query(text: bytes) -> views.ExecuteQuery:
    given = parse_qsl(text.decode("latin-1"), keep_blank_values=True)
    return body.parameters(views.ExecuteQuery, dict(reversed(given)), path=body.API)  # of several the first counts


def _request(
    asked: Any, workflow_id: str, wanted: views.Execute, query: views.ExecuteQuery, once: Wanted | None
) -> StartRequest:
    return StartRequest(
        identifier=workflow_id,
        variables=wanted.variables,
        metadata=wanted.metadata,
        community_id=query.community_id if wanted.community_id is None else wanted.community_id,
        traceparent=_traceparent(asked),
        once=once,
    )


async def _start(request_: StartRequest, wait: float | None) -> envelope.Answer:
    here = services()
    if wait is not None:
        here.gate.check_waiting()
        with here.gate.wait():
            return await _start_and_wait(request_, wait)
    accepted = await here.execution.lifecycle.start(request_, by=actor())
    return _accepted(accepted, STARTED)


async def _start_and_wait(request_: StartRequest, wait: float) -> envelope.Answer:
    lifecycle = services().execution.lifecycle
    accepted = await lifecycle.start(request_, by=actor(), wait=True)
    ending = await lifecycle.awaited(accepted, seconds=wait)
    return await _ended(accepted, ending) if ending is not None else _accepted(accepted, STARTED)


@blueprint.post("/<workflow_id>/test")
@requires(Permission.EXECUTION_TEST)
@describe(
    Operation(
        tag="executions",
        body=views.Test,
        body_optional=True,
        query=CommunityQuery,
        answers={200: views.TestView},
        errors=(400, 404, 409, 413, 504),
    )
)
async def test(workflow_id: str) -> Response:
    """Try a workflow without side effects; nothing of it reaches the history or the counters."""
    wanted = await body.read(views.Test, optional=True)
    asked_in = body.query(CommunityQuery).community_id
    request_ = TestRequest(
        identifier=workflow_id,
        variables=wanted.variables,
        metadata=wanted.metadata,
        community_id=asked_in if wanted.community_id is None else wanted.community_id,
        mocks=wanted.mocks,
        execute_reads=wanted.execute_reads,
        timeout_s=wanted.timeout_seconds,
    )
    return envelope.ok(await services().execution.dry_run.run(request_, by=actor()))


def _traceparent(asked: Any) -> str | None:
    given = header(asked, b"traceparent")
    return given if given is not None and TRACEPARENT.match(given) else None


def _accepted(accepted: Accepted, message: str) -> envelope.Answer:
    facts = accepted.facts
    status = facts.status if isinstance(facts, ExecutionRow) else "running"
    return _answer(202, accepted, message, views.started(facts, status=status))


async def _ended(accepted: Accepted, ending: Book | ExecutionRow) -> envelope.Answer:
    book = ending
    if isinstance(book, ExecutionRow):
        book = await services().execution.library.folded_row(book)
    data = views.ended(accepted.facts, book.state)
    return _answer(200, accepted, f"Workflow execution {data['status']}", data)


def _answer(status: int, accepted: Accepted, message: str, data: dict[str, Any]) -> envelope.Answer:
    headers = {"location": f"/api/v1/workflows/executions/{accepted.facts.execution_id}"}
    if accepted.replayed:
        headers["idempotency-replayed"] = "true"
    return envelope.Answer(status, envelope.dumps(envelope.enveloped(data, message=message)), headers)


# ---- reading -------------------------------------------------------------------------------------------------------


@blueprint.get(ONE)
@requires(Permission.EXECUTION_VIEW)
@describe(Operation(tag="executions", query=views.ShowQuery, answers={200: views.ExecutionView}, errors=(400, 404)))
async def get_execution(execution_id: str) -> Response:
    """Everything about an execution: where it stands, what each node did, what it waits for."""
    wanted = body.query(views.ShowQuery)
    show = Show(logs=wanted.include_logs, io=wanted.include_io, metrics=wanted.include_metrics)
    here = services().execution.lifecycle
    return envelope.ok(await here.show(execution_id, show, by=actor(), community_id=wanted.community_id))


@blueprint.get("/<workflow_id>/executions")
@requires(Permission.EXECUTION_VIEW)
@describe(
    Operation(tag="executions", query=views.ListQuery, answers={200: list[views.SummaryView]}, errors=(400, 403, 404))
)
async def list_executions(workflow_id: str) -> Response:
    """The executions of a workflow."""
    wanted = body.query(views.ListQuery)
    kinds = {"start_time": pages.TIME_AND_ID[0], "status": str, "execution_time": float}
    window = pages.window(wanted, kinds[wanted.sort_by], pages.TIME_AND_ID[1])
    at = ExecutionPage(
        limit=window.limit + 1,
        offset=window.offset,
        sort_by=wanted.sort_by,
        descending=wanted.sort_order == "desc",
        after=window.after,
    )
    chosen = Wanting(
        status=wanted.status,
        started_after=wanted.started_after,
        started_before=wanted.started_before,
        community_id=wanted.community_id,
    )
    rows, total = await services().execution.lifecycle.page(workflow_id, chosen, at, by=actor())
    page = rows[: window.limit]
    last = page[-1] if len(rows) > window.limit else None
    meta = pages.pagination(
        window,
        total=min(total, CAP),
        shown=page,
        next_key=None if last is None else (key_of(last, wanted.sort_by), last.execution_id),
        capped=total > CAP,
    )
    return envelope.ok([view.summary(row) for row in page], meta={"pagination": meta})


@blueprint.get(f"{ONE}/explain")
@requires(Permission.EXECUTION_VIEW)
@describe(Operation(tag="executions", answers={200: views.ExplanationView}, errors=(404,)))
async def explain(execution_id: str) -> Response:
    """Why an execution is where it is, in words."""
    return envelope.ok(await services().execution.lifecycle.explain(execution_id, by=actor()))


@blueprint.get(f"{ONE}/events")
@requires(Permission.EXECUTION_VIEW)
@describe(
    Operation(
        tag="executions",
        query=views.EventsQuery,
        answers={200: views.EventsView},
        errors=(400, 404),
        headers=("Last-Event-ID",),
    )
)
async def events(execution_id: str) -> Response:
    """The event log; live with `Accept: text/event-stream`, where `Last-Event-ID` continues it."""
    here = services()
    wanted = body.query(views.EventsQuery)
    row = await here.execution.lifecycle.row(execution_id, by=actor(), community_id=wanted.community_id)
    after = wanted.after
    if not asks_for("text/event-stream", request.headers.get("Accept", "")):
        found = await here.execution.streams.rows(str(row.execution_id), after=after)
        return envelope.ok({"execution_id": row.execution_id, "events": found})
    here.gate.check_waiting()
    seen = request.headers.get("Last-Event-ID", "")
    after = int(seen) if seen.isdecimal() and len(seen) < 10 else after
    rows = here.execution.streams.follow(str(row.execution_id), after=after, stopping=here.stopping)
    answer = Response(_sse(rows, here.gate), content_type="text/event-stream", headers={"Cache-Control": "no-store"})
    answer.timeout = None
    return answer


async def _sse(rows: AsyncIterator[dict[str, Any] | None], gate: Gate) -> AsyncIterator[bytes]:
    quiet = 0
    with gate.wait():
        async for row in rows:
            if row is not None:
                quiet = 0
                yield b"id: %d\nevent: append\ndata: %s\n\n" % (row["seq"], envelope.dumps(row))
            else:
                quiet += 1
                if quiet % HEARTBEATS_S == 0:
                    yield HEARTBEAT
        yield b"event: end\ndata: {}\n\n"


# ---- steering ------------------------------------------------------------------------------------------------------


@blueprint.post(f"{ONE}/cancel")
@requires(Permission.EXECUTION_CONTROL)
@describe(Operation(tag="executions", answers={200: views.CancelledView}, errors=(400, 404)))
async def cancel(execution_id: str) -> Response:
    """Cancel an execution: nothing starts any more, running work is interrupted, children too."""
    book = await services().execution.lifecycle.control(execution_id, "cancel", by=actor())
    data = {"execution_id": book.id, "status": "cancelled", "cancelled_at": book.last_at}
    return envelope.ok(data, message="Workflow execution cancelled")


@blueprint.post(f"{ONE}/pause")
@requires(Permission.EXECUTION_CONTROL)
@describe(Operation(tag="executions", answers={200: views.ControlledView}, errors=(400, 404)))
async def pause(execution_id: str) -> Response:
    """Pause an execution: no new task starts, running ones finish."""
    book = await services().execution.lifecycle.control(execution_id, "pause", by=actor())
    return envelope.ok({"execution_id": book.id, "status": "paused"})


@blueprint.post(f"{ONE}/resume")
@requires(Permission.EXECUTION_CONTROL)
@describe(Operation(tag="executions", answers={200: views.ControlledView}, errors=(400, 404)))
async def resume(execution_id: str) -> Response:
    """Resume a paused execution."""
    book = await services().execution.lifecycle.control(execution_id, "resume", by=actor())
    return envelope.ok({"execution_id": book.id, "status": "running"})


@blueprint.post(f"{ONE}/rerun")
@requires(Permission.EXECUTION_START)
@describe(
    Operation(
        tag="executions",
        body=views.Rerun,
        body_optional=True,
        answers={202: views.StartedView, 200: views.PlanView},
        errors=(400, 404, 422),
        headers=("Idempotency-Key",),
    )
)
async def rerun(execution_id: str) -> Response:
    """Run an ended execution again as a new one that reuses the results of tasks not re-run."""
    once = idempotency.wanted(await body.raw())
    wanted = await body.read(views.Rerun, optional=True)
    given = RerunRequest(
        execution_id=execution_id, start=wanted.start, variables=wanted.variables, version=wanted.version, once=once
    )
    again = services().execution.rerun
    if wanted.plan_only:
        return envelope.ok(reruns.shown(await again.plan(given, by=actor())))
    accepted = await again.start(given, by=actor())
    return _accepted(accepted, "Workflow execution started again").response()
