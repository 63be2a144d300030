"""The run history over HTTP: the short paths earlier services had, and their twins below `/api/v1`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

from quart import Blueprint, Response, request

from controllers import body, envelope, idempotency, pages
from controllers import run_views as views
from controllers.accepts import asks_for
from controllers.context import actor, services
from controllers.errors import when_unavailable
from controllers.guards import Permission, requires
from controllers.openapi import Operation, describe
from controllers.shapes import CommunityQuery
from models.run_facts import RunFilter
from services.access.actor import Actor
from services.access.authentication import utc_now
from services.errors import BadRequest, MillraceError
from services.history.history import History, LoggedRun, Window
from services.history.record import Run, parse_run

blueprint = Blueprint("runs", __name__)
BATCH = 1_000
KEYS = 2_000_000  # of a whole batch; its bytes are limited
NDJSON = "application/x-ndjson"
NO_RUNS = "Failed to get workflow runs: database unavailable"
EXPORT_PAGE = 500


# ---- logging -------------------------------------------------------------------------------------------------------


@blueprint.post("/langgraph/hooks/log_run")
@requires(Permission.RUN_LOG)
@describe(
    Operation(
        tag="runs",
        body=views.LogRuns,
        answers={200: views.UpdatedOrBatch, 201: views.LoggedView},
        errors=(422,),
        headers=("Idempotency-Key",),
        bare=True,
    )
)
async def log_run() -> Response:
    """Log a run, or an array of up to 1,000 runs; the same run again updates it and is never counted twice."""
    return await idempotency.harmless(partial(_log, envelope.bare))


@blueprint.post("/api/v1/runs")
@requires(Permission.RUN_LOG)
@describe(
    Operation(
        tag="runs",
        body=views.LogRuns,
        answers={200: views.UpdatedOrBatch, 201: views.LoggedView},
        errors=(422,),
        headers=("Idempotency-Key",),
    )
)
async def create_run() -> Response:
    """Log a run, or an array of up to 1,000 runs; the same run again updates it and is never counted twice."""
    return await idempotency.harmless(partial(_log, envelope.ok))


async def _log(shape: Callable[..., Response]) -> Response:
    sent = await body.read_any(limit=services().rules.max_log_body_bytes, max_keys=KEYS)
    if isinstance(sent, list):
        return shape({"results": await _log_batch(sent)})
    [logged] = await services().history.log(actor(), [parse_run(sent)])
    if logged.error is not None:
        raise logged.error
    shown = {"run_id": logged.run_id, "id": logged.id, "status": logged.status}
    return shape(shown, status=201 if logged.status == "logged" else 200)


async def _log_batch(sent: list[Any]) -> list[dict[str, Any]]:
    if len(sent) > BATCH:
        raise BadRequest(f"A batch has at most {BATCH} runs, this one {len(sent)}")
    results: list[dict[str, Any]] = [{} for _ in sent]
    good: list[tuple[int, Run]] = []
    for place, item in enumerate(sent):
        try:
            good.append((place, parse_run(item, where=(place,))))
        except MillraceError as error:
            name = item.get("run_id") if isinstance(item, dict) else None
            results[place] = {
                "run_id": name if isinstance(name, str) else None,
                "status": "rejected",
                "error": error.message,
            }
    logged = await services().history.log(actor(), [run for _, run in good])
    for (place, _), outcome in zip(good, logged, strict=True):
        results[place] = _item(outcome)
    return results


def _item(logged: LoggedRun) -> dict[str, Any]:
    found = {"run_id": logged.run_id, "status": logged.status, "id": logged.id}
    return {**found, "error": logged.error.message} if logged.error else found


# ---- the runs of a workflow ------------------------------------------------------------------------------------------


@blueprint.get("/workflows/<workflow_id>/runs")
@when_unavailable(NO_RUNS)
@requires(Permission.RUN_VIEW, public_read=True)
@describe(
    Operation(
        tag="runs", query=views.WorkflowRunsQuery, answers={200: views.WorkflowRunsView}, errors=(400, 404), bare=True
    )
)
async def workflow_runs(workflow_id: str) -> Response:
    """The runs of a workflow, our own and those of other runners, newest first."""
    return envelope.bare(await _workflow_runs(workflow_id))


@blueprint.get("/api/v1/workflows/<workflow_id>/runs")
@when_unavailable(NO_RUNS)
@requires(Permission.RUN_VIEW, public_read=True)
@describe(
    Operation(tag="runs", query=views.WorkflowRunsQuery, answers={200: views.WorkflowRunsView}, errors=(400, 404))
)
async def list_workflow_runs(workflow_id: str) -> Response:
    """The runs of a workflow, our own and those of other runners, newest first."""
    return envelope.ok(await _workflow_runs(workflow_id))


async def _workflow_runs(identifier: str) -> dict[str, Any]:
    asked = body.query(views.WorkflowRunsQuery)
    at = pages.window(pages.PageQuery(page=asked.page, per_page=asked.limit, cursor=asked.cursor), datetime, UUID)
    wanted = RunFilter(status=asked.status, since=asked.since, until=asked.until)
    community = asked.community_id
    found = await services().history.of_workflow(actor(), identifier, wanted, _window(at), community_id=community)
    answer = {
        "workflow_id": identifier,
        "runs": [views.line(run) for run in found.rows],
        "page": asked.page,
        "limit": asked.limit,
        "total": found.total,
        "next_cursor": pages.cursor(*found.next) if found.next else None,
    }
    return {**answer, "total_capped": True} if found.capped else answer


@blueprint.post("/workflows/<workflow_id>/runs/notify")
@requires(Permission.RUN_LOG)
@describe(
    Operation(
        tag="runs",
        body=views.NotifyRun,
        query=CommunityQuery,
        answers={200: views.NotifiedView},
        errors=(400, 404, 422),
        headers=("Idempotency-Key",),
        bare=True,
    )
)
async def notify(workflow_id: str) -> Response:
    """Tell the registry of a run: its summary follows, each run counted once."""
    return await idempotency.harmless(partial(_notify, workflow_id, envelope.bare))


@blueprint.post("/api/v1/workflows/<workflow_id>/runs/notify")
@requires(Permission.RUN_LOG)
@describe(
    Operation(
        tag="runs",
        body=views.NotifyRun,
        query=CommunityQuery,
        answers={200: views.NotifiedView},
        errors=(400, 404, 422),
        headers=("Idempotency-Key",),
    )
)
async def notify_run(workflow_id: str) -> Response:
    """Tell the registry of a run: its summary follows, each run counted once."""
    return await idempotency.harmless(partial(_notify, workflow_id, envelope.ok))


async def _notify(identifier: str, shape: Callable[..., Response]) -> Response:
    told = await body.read(views.NotifyRun)
    asked_in = body.query(CommunityQuery).community_id
    run = Run(
        wpk_id=identifier,
        run_id=told.run_id,
        status=told.status,
        duration_ms=told.duration_ms,
        created_at=told.created_at,
        community_id=asked_in if told.community_id is None else told.community_id,
    )
    await services().history.notify(actor(), identifier, run)
    message = "Workflow run notification processed"
    return shape({"message": message, "workflow_id": identifier, "run_id": told.run_id, "status": "updated"})


@blueprint.get("/api/v1/workflows/<workflow_id>/stats")
@requires(Permission.RUN_VIEW)
@describe(Operation(tag="runs", query=views.StatsQuery, answers={200: views.StatsView}, errors=(400, 404)))
async def workflow_stats(workflow_id: str) -> Response:
    """Counts, success rate and percentiles of a workflow's runs, day by day."""
    query = body.query(views.StatsQuery)
    since = utc_now() - timedelta(days=query.days - 1)
    figures = await services().history.stats(actor(), workflow_id, since=since, community_id=query.community_id)
    return envelope.ok({"workflow_id": workflow_id, **figures})


# ---- all runs --------------------------------------------------------------------------------------------------------


@blueprint.get("/api/v1/runs")
@requires(Permission.RUN_VIEW)
@describe(Operation(tag="runs", query=views.RunsQuery, answers={200: list[views.RunView]}, errors=(400,)))
async def list_runs() -> Response:
    """All runs you may see, newest first; with `Accept: application/x-ndjson` every match, complete, one a line."""
    asked = body.query(views.RunsQuery)
    wanted = _filter(asked)
    if asks_for(NDJSON, request.headers.get("Accept", "")):
        return Response(_export(services().history, actor(), wanted), content_type=NDJSON)
    at = pages.window(asked, datetime, UUID)
    found = await services().history.all(actor(), wanted, _window(at))
    meta = pages.pagination(at, total=found.total, shown=found.rows, next_key=found.next, capped=found.capped)
    meta["next_cursor"] = pages.cursor(*found.next) if found.next else None
    return envelope.ok([views.view(run) for run in found.rows], meta={"pagination": meta})


async def _export(history: History, caller: Actor, wanted: RunFilter) -> AsyncIterator[bytes]:
    after = None
    while True:
        found = await history.all(caller, wanted, Window(count=EXPORT_PAGE, after=after))
        for run in found.rows:
            yield envelope.dumps(views.detail(run, await history.payloads(run))) + b"\n"
        after = found.next
        if after is None:
            return


@blueprint.get("/api/v1/runs/search")
@requires(Permission.RUN_VIEW)
@describe(Operation(tag="runs", query=views.SearchQuery, answers={200: views.SearchView}, errors=(400,)))
async def search_runs() -> Response:
    """Runs that say something like `q`: by meaning where embeddings are configured, else by their words."""
    asked = body.query(views.SearchQuery)
    found = await services().history.search(actor(), asked.q, _filter(asked), k=asked.k)
    results = [{**views.view(hit.run), "score": hit.score, "snippet": hit.snippet} for hit in found.found]
    return envelope.ok(_answer(found.mode, results, found.degraded))


@blueprint.get("/api/v1/runs/<run_id>")
@requires(Permission.RUN_VIEW)
@describe(Operation(tag="runs", query=views.OneRunQuery, answers={200: views.RunDetail}, errors=(400, 404, 409)))
async def get_run(run_id: str) -> Response:
    """One run, by its id here or the id its client gave it."""
    history, asked = services().history, body.query(views.OneRunQuery)
    run = await history.get(actor(), run_id, asked.wpk_id, community_id=asked.community_id)
    return envelope.ok(views.detail(run, await history.payloads(run)))


@blueprint.get("/api/v1/runs/<run_id>/similar")
@requires(Permission.RUN_VIEW)
@describe(Operation(tag="runs", query=views.SimilarQuery, answers={200: views.SimilarView}, errors=(400, 404, 409)))
async def similar_runs(run_id: str) -> Response:
    """The runs nearest to one; for each failed one, the success that came after it and what was different."""
    history, asked = services().history, body.query(views.SimilarQuery)
    run = await history.get(actor(), run_id, asked.wpk_id, community_id=asked.community_id)
    found, after = await history.similar(actor(), run, k=asked.k)
    results = []
    for hit in found.found:
        later = after.get(hit.run.id)
        changed = await history.differences(hit.run, later) if later else []
        told = (
            {"id": later.id, "run_id": later.run_id, "created_at": later.created_at, "changed": changed}
            if later
            else None
        )
        results.append({**views.view(hit.run), "score": hit.score, "snippet": hit.snippet, "succeeded_after": told})
    return envelope.ok(_answer(found.mode, results, found.degraded))


def _answer(mode: str, results: list[dict[str, Any]], degraded: str | None) -> dict[str, Any]:
    return {"mode": mode, "results": results} | ({"degraded": degraded} if degraded else {})


def _filter(asked: views.FilterQuery) -> RunFilter:
    return RunFilter(
        wpk_id=asked.wpk_id,
        status=asked.status,
        source=asked.source,
        since=asked.since,
        until=asked.until,
        min_duration_ms=asked.min_duration_ms,
    )


def _window(at: pages.Window) -> Window:
    after = (at.after[0], at.after[1]) if at.after else None
    return Window(count=at.limit, skip=at.offset, after=after)
