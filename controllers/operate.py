"""What operators do: see workers and executions of everybody, fail and cancel, pause and resume everything."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from quart import Blueprint, Response

from controllers import body, envelope, pages
from controllers import operate_views as views
from controllers.context import actor, services
from controllers.execution_views import SummaryView
from controllers.guards import Permission, requires
from controllers.openapi import Operation, describe
from models.dispatch_pause import PauseRow
from models.executions import ExecutionRow
from models.operator_lists import OperatorFilter, Part, WorkerRow
from services.access.authentication import utc_now
from services.errors import BadRequest
from services.execution import view
from services.execution.operator import CAP, Cancelled
from services.registry import lookup

blueprint = Blueprint("operate", __name__, url_prefix="/api/v1")

MORE = tuple(name for name in views.OperatorSummaryView.model_fields if name not in SummaryView.model_fields)


@blueprint.get("/operator")
@requires(Permission.EXECUTION_OPERATE)
@describe(Operation(tag="system", answers={200: views.PauseView}))
async def get_operator() -> Response:
    """Whether everything is paused, as the database says."""
    here = services().execution.pause_all
    await here.refresh()
    return envelope.ok(_paused(here.row))


@blueprint.post("/operator/pause")
@requires(Permission.EXECUTION_OPERATE)
@describe(
    Operation(tag="system", body=views.PauseWish, body_optional=True, answers={200: views.PauseView}, errors=(400,))
)
async def pause_all() -> Response:
    """Pause everything: within about a second no worker claims or starts anything; running tasks end, the rest waits."""
    wish = await body.read(views.PauseWish, optional=True)
    row = await services().execution.pause_all.order(paused=True, by=actor(), reason=wish.reason)
    return envelope.ok(_paused(row), message="Everything is paused")


@blueprint.post("/operator/resume")
@requires(Permission.EXECUTION_OPERATE)
@describe(Operation(tag="system", answers={200: views.PauseView}))
async def resume_all() -> Response:
    """Resume what was paused as a whole; executions paused one by one stay paused."""
    row = await services().execution.pause_all.order(paused=False, by=actor())
    return envelope.ok(_paused(row), message="Everything is resumed")


def _paused(row: PauseRow) -> dict[str, object]:
    return {name: getattr(row, name) for name in views.PauseView.model_fields}


@blueprint.get("/workers")
@requires(Permission.EXECUTION_OPERATE)
@describe(Operation(tag="system", answers={200: list[views.WorkerView]}))
async def list_workers() -> Response:
    """The processes that drive executions; dead ones are shown for an hour."""
    return envelope.ok([_worker(row) for row in await services().execution.operator.workers()])


def _worker(row: WorkerRow) -> dict[str, Any]:
    shown = {name: getattr(row, name, None) for name in views.WorkerView.model_fields}
    mine = row.id == services().execution.worker.id
    return {**shown, "heartbeat_age_seconds": round(row.heartbeat_age_s, 3), "alive": row.is_alive, "this": mine}


@blueprint.get("/executions")
@requires(Permission.EXECUTION_OPERATE)
@describe(
    Operation(
        tag="executions", query=views.WantedQuery, answers={200: list[views.OperatorSummaryView]}, errors=(400, 404)
    )
)
async def list_all_executions() -> Response:
    """Executions of every workflow, newest first: stuck, quarantined, waiting for something, by status, key or time."""
    asked = body.query(views.WantedQuery)
    window = pages.window(asked, *pages.TIME_AND_ID)
    after = None if window.after is None else (window.after[0], window.after[1])
    part = Part(window.limit + 1, window.offset, after)
    rows, total = await services().execution.operator.page(await _filter(asked), part)
    shown = rows[: window.limit]
    more = (shown[-1].start_time, shown[-1].execution_id) if len(rows) > window.limit else None
    meta = pages.pagination(window, total=min(total, CAP), shown=shown, next_key=more, capped=total > CAP)
    return envelope.ok([_summary(row) for row in shown], meta={"pagination": meta})


def _summary(row: ExecutionRow) -> dict[str, Any]:
    return {**view.summary(row), **{name: getattr(row, name) for name in MORE}}


async def _filter(asked: views.Wanted) -> OperatorFilter:
    workflow = None if asked.workflow is None else await lookup.require(services().db, asked.workflow)
    return OperatorFilter(
        status=asked.status,
        unfinished=asked.unfinished,
        idle_since=utc_now() - timedelta(seconds=asked.idle_seconds) if asked.stuck else None,
        quarantined=asked.quarantined,
        waiting_for=asked.waiting_for,
        workflow_id=None if workflow is None else workflow.workflow.id,
        key_id=asked.key_id,
        started_after=asked.started_after,
        started_before=asked.started_before,
    )


@blueprint.post("/executions/cancel")
@requires(Permission.EXECUTION_OPERATE)
@describe(Operation(tag="executions", body=views.CancelMany, answers={200: views.CancelledManyView}, errors=(400, 404)))
async def cancel_many() -> Response:
    """Cancel every execution that matches and has not ended; with `plan_only` count them. Asking again is harmless."""
    asked = await body.read(views.CancelMany)
    wanted = await _filter(asked.filter or views.Wanted.model_validate({}))
    if wanted == OperatorFilter() and not asked.everything:
        raise BadRequest('Say what to cancel in `filter`, or `"everything": true`')
    operator = services().execution.operator
    if asked.plan_only:
        done = await operator.plan(wanted)
    else:
        done = await operator.cancel(wanted, most=asked.limit, reason=asked.reason, by=actor())
    return envelope.ok(_done(done, asked), message=None if asked.plan_only else f"{done.cancelled} cancelled")


def _done(done: Cancelled, asked: views.CancelMany) -> dict[str, Any]:
    return {
        "plan_only": asked.plan_only,
        "matched": min(done.matched, CAP),
        "matched_capped": done.matched > CAP,
        "cancelled": done.cancelled,
        "refused": done.refusals,
        "remaining": max(0, min(done.matched, CAP) - done.cancelled - done.refusals),
        "refusals": [{"execution_id": execution, "reason": reason} for execution, reason in done.refused],
    }


@blueprint.post("/workflows/executions/<execution_id>/fail")
@requires(Permission.EXECUTION_OPERATE)
@describe(
    Operation(
        tag="executions", body=views.FailWish, body_optional=True, answers={200: views.FailedView}, errors=(400, 404)
    )
)
async def fail(execution_id: str) -> Response:
    """Fail an execution by force, also when its driver is dead or its log cannot be read; its children are cancelled."""
    wish = await body.read(views.FailWish, optional=True)
    done = await services().execution.operator.fail(execution_id, reason=wish.reason, by=actor())
    data = {"execution_id": done.execution_id, "status": done.status, "failed_at": done.failed_at}
    return envelope.ok(data, message=f"Execution {done.status}")
