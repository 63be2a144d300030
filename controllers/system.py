"""Health, readiness, metrics, and the documentation served by ourselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field
from quart import Blueprint, Response, abort, current_app, request, send_from_directory

from controllers import envelope
from controllers.context import services
from controllers.guards import public
from controllers.openapi import Document, Operation, describe, hide
from controllers.preconditions import is_fresh
from controllers.shapes import BaseModel
from services.access.authentication import utc_now

blueprint = Blueprint("system", __name__)
STATIC = Path(__file__).parent / "static"
ASSETS = {"swagger-ui-bundle.js", "swagger-ui.css", "init.js", "favicon-32x32.png", "LICENSE", "NOTICE"}
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Millrace API</title>
<link rel="icon" type="image/png" href="/docs/assets/favicon-32x32.png">
<link rel="stylesheet" href="/docs/assets/swagger-ui.css">
</head>
<body>
<div id="swagger-ui" data-url="/openapi.json"></div>
<noscript>This page needs JavaScript; the document itself is at <a href="/openapi.json">/openapi.json</a>.</noscript>
<script src="/docs/assets/swagger-ui-bundle.js"></script>
<script src="/docs/assets/init.js"></script>
</body>
</html>
"""


class Health(BaseModel):
    """That the server lives, and what it can do."""

    status: str
    timestamp: str
    version: str
    database: str
    prometheus_url: str | None = None
    features: dict[str, Any]
    paused: bool = Field(description="Whether an operator has paused all: accepted executions wait, none is driven")


class CheckView(BaseModel):
    """One thing the server needs."""

    ok: bool
    detail: str


class ReadinessView(BaseModel):
    """Whether the server can take work now, and what hinders it."""

    ready: bool
    checks: dict[str, CheckView]


@blueprint.get("/health")
@public
@describe(Operation(tag="system", answers={200: Health}, bare=True))
async def health() -> Response:
    """Say that the process lives; never fails because of a dependency."""
    rules = services().rules
    found = {
        "status": "healthy",
        "timestamp": utc_now(),
        "version": rules.version,
        "database": rules.database,
        "features": services().features,
        "paused": services().execution.pause_all.is_on,
    }
    if rules.prometheus_url:
        found["prometheus_url"] = rules.prometheus_url
    return envelope.bare(found)


@blueprint.get("/ready")
@public
@describe(Operation(tag="system", answers={200: ReadinessView, 503: ReadinessView}, bare=True))
async def ready() -> Response:
    """Say whether the server can take work now, with each check."""
    checks = await services().readiness.check()
    is_ready = all(check.ok for check in checks.values())
    body = {
        "ready": is_ready,
        "checks": {name: {"ok": check.ok, "detail": check.detail} for name, check in checks.items()},
    }
    return envelope.bare(body, status=200 if is_ready else 503, headers=None if is_ready else {"Retry-After": "1"})


@blueprint.get("/metrics")
@public
@describe(Operation(tag="system", answers={200: None}, media="text/plain"))
async def metrics() -> Response:
    """Everything counted and timed, in the Prometheus text format."""
    return Response(services().metrics.text(), content_type="text/plain; version=0.0.4; charset=utf-8")


@blueprint.get("/openapi.json")
@public
@describe(Operation(tag="system", answers={200: None}, media="application/json"))
async def openapi_document() -> Response:
    """Answer this document."""
    document: Document = current_app.extensions["QUART_SCHEMA"]
    body, tag = await document.fetched()
    headers = {"ETag": tag, "Cache-Control": "no-cache"}
    if is_fresh(tag):
        return Response(b"", status=304, headers=headers)
    return Response(body, content_type="application/json", headers=headers)


@blueprint.get("/docs")
@public
@hide
async def docs() -> Response:
    """Swagger UI; works without the internet."""
    return Response(PAGE, content_type="text/html; charset=utf-8", headers={"Content-Security-Policy": CSP})


@blueprint.get("/docs/assets/<name>")
@public
@hide
async def docs_asset(name: str) -> Response:
    """The files of Swagger UI."""
    if name not in ASSETS:
        abort(404)
    response = await send_from_directory(STATIC, name)
    response.headers["Cache-Control"] = "public, max-age=3600"
    return response


@blueprint.get("/")
@public
@hide
async def index() -> Response:
    """The front door leads to the documentation."""
    return Response(b"", status=302, headers={"Location": f"{request.root_path}/docs"})
