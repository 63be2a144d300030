"""Probes, signals and watches over HTTP: the short paths earlier services had, and their twins below `/api/v1`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from quart import Blueprint, Response, request

from controllers import body, envelope, idempotency, pages
from controllers import signal_views as views
from controllers.accepts import asks_for
from controllers.context import actor, services
from controllers.guards import Permission, requires
from controllers.openapi import Operation, describe
from models.dal import Call
from models.signals import Position, SignalFilter
from services.access.actor import Actor
from services.access.authentication import utc_now
from services.idempotency import Also
from services.insight.probes import Answer, Question
from services.insight.signals import Judgement, Signals
from services.insight.watches import WatchWish

blueprint = Blueprint("signals", __name__)
API = "/api/v1"
NDJSON = "application/x-ndjson"
EXPORT_PAGE = 500


# ---- probing -----------------------------------------------------------------------------------------------------------


@blueprint.post("/probe")
@requires(Permission.SIGNAL_PROBE, public_read=True)
@describe(
    Operation(
        tag="insight",
        body=views.ProbeBody,
        answers={200: views.ProbeView},
        errors=(400, 422),
        headers=("Idempotency-Key",),
        bare=True,
    )
)
async def probe() -> Response:
    """Judge the newest value of every series of a query; those over the threshold become signals."""
    return await _probe(envelope.bare)


@blueprint.post(f"{API}/probe")
@requires(Permission.SIGNAL_PROBE, public_read=True)
@describe(
    Operation(
        tag="insight",
        body=views.ProbeBody,
        answers={200: views.ProbeView},
        errors=(400, 422),
        headers=("Idempotency-Key",),
    )
)
async def create_probe() -> Response:
    """Judge the newest value of every series of a query; those over the threshold become signals."""
    return await _probe(envelope.ok)


async def _probe(shape: Callable[..., Response]) -> Response:
    question = Question(**(await body.read(views.ProbeBody)).model_dump())

    async def make(also: Also) -> Response:
        def remembered(answer: Answer) -> Sequence[Call[Any]]:
            return also(envelope.dumps(views.probe(answer)).decode())

        probes = services().insight.probes
        return shape(views.probe(await probes.probe(actor(), question, now=utc_now(), also=remembered)))

    async def again(answer: str) -> Response:
        return shape(orjson.loads(answer))

    return await idempotency.once(make, again)


# ---- signals -----------------------------------------------------------------------------------------------------------


@blueprint.get("/signals")
@requires(Permission.SIGNAL_VIEW, public_read=True)
@describe(
    Operation(tag="insight", query=views.SignalsQuery, answers={200: views.SignalsView}, errors=(400,), bare=True)
)
async def signals() -> Response:
    """Signals, newest first."""
    return envelope.bare(await _signals())


@blueprint.get(f"{API}/signals")
@requires(Permission.SIGNAL_VIEW, public_read=True)
@describe(Operation(tag="insight", query=views.SignalsQuery, answers={200: views.SignalsView}, errors=(400,)))
async def list_signals() -> Response:
    """Signals, newest first; with `Accept: application/x-ndjson` every match, one a line."""
    if asks_for(NDJSON, request.headers.get("Accept", "")):
        wanted = await _filter(body.query(views.SignalsQuery))
        return Response(_export(services().insight.signals, actor(), wanted), content_type=NDJSON)
    return envelope.ok(await _signals())


async def _export(kept: Signals, caller: Actor, wanted: SignalFilter) -> AsyncIterator[bytes]:
    after: Position | None = None
    while True:
        rows, _, after = await kept.page(caller, wanted, after=after, count=EXPORT_PAGE)
        for row in rows:
            yield envelope.dumps(views.signal(row)) + b"\n"
        if after is None:
            return


async def _signals() -> dict[str, Any]:
    asked = body.query(views.SignalsQuery)
    after = pages.read_cursor(asked.cursor, datetime, UUID) if asked.cursor else None
    position = (after[0], after[1]) if after else None
    rows, total, more = await services().insight.signals.page(
        actor(), await _filter(asked), after=position, count=asked.limit
    )
    return views.page(rows, total, more)


async def _filter(asked: views.SignalsQuery) -> SignalFilter:
    return SignalFilter(
        metric=asked.metric,
        since=asked.since,
        until=asked.until,
        min_score=asked.min_score,
        workflow_id=await services().insight.signals.workflow(asked.workflow_id) if asked.workflow_id else None,
    )


@blueprint.get(f"{API}/signals/<uuid:signal_id>")
@requires(Permission.SIGNAL_VIEW)
@describe(Operation(tag="insight", answers={200: views.SignalDetailView}, errors=(404,)))
async def get_signal(signal_id: UUID) -> Response:
    """One signal with the data it was judged on and the runs that overlap it."""
    return envelope.ok(views.detail(await services().insight.signals.detail(actor(), signal_id)))


@blueprint.post(f"{API}/signals/<uuid:signal_id>/feedback")
@requires(Permission.SIGNAL_JUDGE)
@describe(
    Operation(
        tag="insight",
        body=views.FeedbackBody,
        answers={200: views.FeedbackView},
        errors=(400, 404, 422),
        headers=("Idempotency-Key",),
    )
)
async def judge_signal(signal_id: UUID) -> Response:
    """Say what you think of a signal: `noise` raises the bar of its series, `useful` restores it."""
    told = await body.read(views.FeedbackBody)
    judgement = Judgement(verdict=told.verdict, note=told.note)

    async def make(also: Also) -> Response:
        judge = services().insight.signals.judge
        return _judged(signal_id, told.verdict, await judge(actor(), signal_id, judgement, now=utc_now(), also=also))

    async def again(bar: str) -> Response:
        return _judged(signal_id, told.verdict, float(bar))

    return await idempotency.once(make, again)


def _judged(signal_id: UUID, verdict: str, bar: float) -> Response:
    return envelope.ok({"id": signal_id, "verdict": verdict, "bar": bar})


# ---- watches -----------------------------------------------------------------------------------------------------------


@blueprint.get(f"{API}/watches")
@requires(Permission.WATCH_VIEW)
@describe(Operation(tag="insight", query=pages.PageQuery, answers={200: list[views.WatchView]}, errors=(400,)))
async def list_watches() -> Response:
    """Your watches; an administrator's: all."""
    at = pages.window(body.query(pages.PageQuery), UUID)
    rows, total = await services().insight.watches.list(
        actor(), after=at.after[0] if at.after else None, count=at.limit + 1, skip=at.offset
    )
    shown = rows[: at.limit]
    more = (shown[-1].id,) if len(rows) > at.limit else None
    meta = pages.pagination(at, total=total, shown=shown, next_key=more)
    return envelope.ok([views.watch(row) for row in shown], meta={"pagination": meta})


@blueprint.post(f"{API}/watches")
@requires(Permission.WATCH_WRITE)
@describe(
    Operation(
        tag="insight",
        body=views.WatchBody,
        answers={201: views.WatchView},
        errors=(400, 404, 422),
        headers=("Idempotency-Key",),
    )
)
async def create_watch() -> Response:
    """Let a probe run by itself; one signal per incident, which may start a workflow."""
    wish = WatchWish(**(await body.read(views.WatchBody)).model_dump())
    watches = services().insight.watches

    async def make(also: Also) -> Response:
        return _watch(await watches.create(actor(), wish, now=utc_now(), also=also))

    async def again(watch_id: str) -> Response:
        return _watch(await watches.get(actor(), UUID(watch_id)))

    return await idempotency.once(make, again)


def _watch(row: Any) -> Response:
    return envelope.ok(views.watch(row), status=201, headers={"Location": f"{API}/watches/{row.id}"})


@blueprint.get(f"{API}/watches/<uuid:watch_id>")
@requires(Permission.WATCH_VIEW)
@describe(Operation(tag="insight", answers={200: views.WatchView}, errors=(404,)))
async def get_watch(watch_id: UUID) -> Response:
    """One of your watches, with when it ran last and what went wrong then."""
    return envelope.ok(views.watch(await services().insight.watches.get(actor(), watch_id)))


@blueprint.delete(f"{API}/watches/<uuid:watch_id>")
@requires(Permission.WATCH_WRITE)
@describe(Operation(tag="insight", answers={200: None}, errors=(404,)))
async def remove_watch(watch_id: UUID) -> Response:
    """End a watch; its signals stay."""
    await services().insight.watches.remove(actor(), watch_id)
    return envelope.ok({"id": watch_id}, message="Watch deleted")


# ---- our own runs ------------------------------------------------------------------------------------------------------


@blueprint.get(f"{API}/workflows/<workflow_id>/insights")
@requires(Permission.SIGNAL_VIEW)
@describe(Operation(tag="insight", answers={200: views.InsightsView}, errors=(404,)))
async def workflow_insights(workflow_id: str) -> Response:
    """What is unusual about this workflow's own runs now, and since which version."""
    now = utc_now()
    found = await services().insight.own_runs.of(actor(), workflow_id, now=now)
    return envelope.ok({"workflow_id": workflow_id, "as_of": now, "insights": [views.insight(one) for one in found]})
