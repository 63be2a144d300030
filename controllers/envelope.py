"""The shapes of an answer, as orjson bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from http import HTTPStatus
from typing import Any
from uuid import UUID

import msgspec
import orjson
from msgspec import Struct
from pydantic import BaseModel
from quart import Response

JSON = "application/json"
PROBLEM = "application/problem+json"
YAML = "application/yaml"
_OPTIONS = orjson.OPT_UTC_Z | orjson.OPT_NAIVE_UTC


class Answer(Struct):
    """A JSON answer before it belongs to a framework; header names in lower case."""

    status: int
    body: bytes
    headers: dict[str, str] = msgspec.field(default_factory=dict)

    def response(self) -> Response:
        """The same for Quart."""
        return Response(self.body, status=self.status, headers=self.headers or None, content_type=JSON)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """An error as clients see it."""

    status: int
    code: str
    message: str
    details: Mapping[str, Any]
    request_id: str
    instance: str = ""


def dumps(value: Any) -> bytes:
    """JSON bytes; times are RFC 3339 with Z."""
    return orjson.dumps(value, default=_plain, option=_OPTIONS)


def ok(
    data: Any = None,
    *,
    message: str | None = None,
    meta: Mapping[str, Any] | None = None,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """The success envelope of `/api/v1`; `message` and `meta` only where there is something to say."""
    return bare(enveloped(data, message=message, meta=meta), status=status, headers=headers)


def enveloped(data: Any, *, message: str | None = None, meta: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What `ok` answers with."""
    body: dict[str, Any] = {"success": True}
    if message is not None:
        body["message"] = message
    body["data"] = data
    if meta:
        body["meta"] = meta
    return body


def bare(value: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """An object without an envelope, as the short paths answer."""
    return Response(dumps(value), status=status, headers=dict(headers) if headers else None, content_type=JSON)


def refused(refusal: Refusal, *, problem: bool = False, headers: Mapping[str, str] | None = None) -> Response:
    """The error envelope as an answer."""
    return Response(
        dumps(refusal_body(refusal, problem=problem)),
        status=refusal.status,
        headers=dict(headers) if headers else None,
        content_type=PROBLEM if problem else JSON,
    )


def refusal_body(refusal: Refusal, *, problem: bool = False) -> dict[str, Any]:
    """The error envelope; `detail` repeats the message for clients of the short paths. `problem`: RFC 9457 as well."""
    body: dict[str, Any] = {
        "success": False,
        "message": refusal.message,
        "error_code": refusal.code,
        "details": refusal.details,
        "detail": refusal.message,
        "request_id": refusal.request_id,
    }
    if problem:
        title = HTTPStatus(
            refusal.status
        ).phrase  # RFC 9457 section 4.2.1: what a problem of type about:blank is called
        body = {"type": "about:blank", "title": title, "status": refusal.status, "instance": refusal.instance, **body}
    return body


def _plain(value: Any) -> Any:
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, BaseModel):
        return value.model_dump(mode="python")
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, (set, frozenset, tuple)):
        return list(value)
    raise TypeError(f"not a JSON value: {type(value).__name__}")
