"""Errors become answers here and nowhere else: one table, one handler."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

from quart import Quart, Response, current_app, request
from werkzeug.exceptions import HTTPException

from controllers import denials, envelope
from controllers.accepts import asks_for
from controllers.context import request_id
from services import errors

log = logging.getLogger("millrace.http")
V = TypeVar("V", bound=Callable[..., Any])
_UNAVAILABLE = "__millrace_unavailable__"
DriverError = tuple[type[Exception], str, float]
"""A kind of driver error, what the caller is told, and when to come back, in seconds."""

STATUS: dict[type[errors.MillraceError], int] = {
    errors.Invalid: 400,
    errors.Unauthenticated: 401,
    errors.Denied: 403,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.PreconditionFailed: 412,
    errors.TooLarge: 413,
    errors.UnsupportedMediaType: 415,
    errors.IdempotencyMismatch: 422,
    errors.RateLimited: 429,
    errors.MillraceError: 500,
    errors.FeatureNotInstalled: 501,
    errors.Unavailable: 503,
    errors.ExecutionTimedOut: 504,
}
_FRAMEWORK = {
    400: "BAD_REQUEST",
    401: "UNAUTHORIZED",
    404: "NOT_FOUND",
    405: "BAD_REQUEST",
    408: "BAD_REQUEST",
    413: "PAYLOAD_TOO_LARGE",
    415: "UNSUPPORTED_MEDIA_TYPE",
}
GENERIC = "Something went wrong on our side; the log has the details under this request id"


def register(app: Quart, *, drivers: Sequence[DriverError] = ()) -> None:
    """Answer every error with the envelope; `drivers` are driver errors that mean 503."""
    app.register_error_handler(errors.MillraceError, answer)
    app.register_error_handler(HTTPException, answer_framework)
    app.register_error_handler(Exception, answer_unknown)
    for kind, message, retry_after_s in drivers:
        app.register_error_handler(kind, unavailable(message, retry_after_s=retry_after_s))


def when_unavailable(message: str) -> Callable[[V], V]:
    """What a route says while the database is down."""

    def decorate(view: V) -> V:
        setattr(view, _UNAVAILABLE, message)
        return view

    return decorate


def status_of(error: errors.MillraceError) -> int:
    """The HTTP status of one of our errors: that of its nearest ancestor in the table."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


async def answer(error: errors.MillraceError) -> Response:
    """One of ours, with its own code, message and details."""
    await denials.note(error)
    status = status_of(error)
    headers = {}
    if isinstance(error, (errors.RateLimited, errors.Unavailable)):
        headers["Retry-After"] = str(max(1, round(error.retry_after_s)))
    if status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="millrace"'
    if status == 500:
        log.error("http.error method=%s path=%s", request.method, request.path, exc_info=error)
        return _refuse(status, error.code, GENERIC)
    return _refuse(status, error.code, error.message, details=error.details, headers=headers)


def unavailable(message: str, *, retry_after_s: float) -> Callable[[Exception], Awaitable[Response]]:
    """How a driver error is answered: nothing of it but that the database cannot do this now."""

    async def answer_unavailable(error: Exception) -> Response:
        log.warning("http.unavailable path=%s error=%s", request.path, error)
        view = current_app.view_functions.get(request.endpoint or "")
        said = getattr(view, _UNAVAILABLE, message)
        return await answer(errors.Unavailable(said, retry_after_s=retry_after_s))

    return answer_unavailable


async def answer_framework(error: HTTPException) -> Response:
    """An error of the framework: unknown path, wrong method, body too large."""
    status = error.code or 500
    if status >= 500:
        return await answer_unknown(error)
    headers = {"Allow": ", ".join(sorted(error.valid_methods or ()))} if hasattr(error, "valid_methods") else {}
    message = {404: "No such path", 405: f"{request.method} is not allowed here"}.get(
        status, error.description or error.name
    )
    return _refuse(status, _FRAMEWORK.get(status, "BAD_REQUEST"), message, headers=headers)


async def answer_unknown(error: Exception) -> Response:
    """A defect: the details go to the log, the client gets the request id."""
    log.error("http.defect method=%s path=%s", request.method, request.path, exc_info=error)
    return _refuse(500, "INTERNAL_ERROR", GENERIC)


def _refuse(
    status: int,
    code: str,
    message: str,
    *,
    details: Mapping[str, object] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    refusal = envelope.Refusal(
        status=status,
        code=code,
        message=message,
        details=details or {},
        request_id=request_id(),
        instance=request.path,
    )
    problem = asks_for(envelope.PROBLEM, request.headers.get("Accept", ""))
    return envelope.refused(refusal, problem=problem, headers=headers)
