"""The OpenAPI document: every route says what it takes and answers with `@describe(Operation(...))`.

Built on quart-schema, whose gaps are closed here: required parameters and bodies, named components, error answers,
response headers, path formats, one build instead of one a request.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import lru_cache
from http import HTTPStatus
from typing import Any, Literal, TypeVar, get_args, get_origin

import orjson
from pydantic import Field, create_model
from quart import Quart
from quart_schema import QuartSchema, document_querystring, document_request, document_response, hide, tag
from quart_schema.conversion import model_schema
from quart_schema.openapi import OpenAPIProvider
from werkzeug.routing import UUIDConverter
from werkzeug.routing.rules import Rule

from controllers.guards import Permission, is_public_read, permission_of
from controllers.shapes import BaseModel

V = TypeVar("V", bound=Callable[..., Awaitable[Any]])
Schema = dict[str, Any]
_MARK = "__millrace_operation__"
ABOUT = (
    "A self-hosted workflow server. Below `/api/v1` a query parameter that an operation with parameters does not name"
    " is refused with 400; bodies are read strictly: no text where a number or a boolean is declared."
)
TAGS = {
    "workflows": "The registry of workflows: definitions, versions, permissions.",
    "packs": "Packs of workflows and actions, and what a task may call.",
    "executions": "Starting, following and steering executions; approvals.",
    "runs": "The history of every run, our own and those of other runners.",
    "insight": "Probes, signals and watches: what is unusual.",
    "access": "Keys, users, roles and the audit record.",
    "system": "Health, readiness and metrics.",
}
_HEADERS = {
    "Idempotency-Key": "Repeating a request with the same key and body gives the first answer again (kept 24 hours).",
    "If-Match": "Change only the state with this `ETag`; 412 when it has changed.",
    "traceparent": "W3C trace context, sent on by HTTP actions.",
    "Last-Event-ID": "Continue the stream behind this event.",
    "Accept": "`application/problem+json` for RFC 9457 errors.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """What a route takes and answers.

    `answers`: status → model of `data` (or of the whole body when `bare`); None = no documented body.
    `errors`: statuses beyond 401, 403, 429, 500 and 503, which every guarded route may answer.
    """

    tag: Literal["workflows", "packs", "executions", "runs", "insight", "access", "system"]
    answers: dict[int, Any] = field(default_factory=dict)
    body: Any = None
    query: type[BaseModel] | None = None
    errors: tuple[int, ...] = ()
    headers: tuple[str, ...] = ()
    bare: bool = False
    body_optional: bool = False
    yaml: bool = False
    media: str | None = None


class Pagination(BaseModel):
    """Where a page stands in its list. A list that is continued by cursor alone has neither pages nor a total."""

    page: int | None = None
    per_page: int
    total: int | None = None
    total_pages: int | None = None
    has_next: bool
    has_prev: bool | None = None
    next_cursor: str | None
    total_capped: bool | None = None


class Meta(BaseModel):
    """What is to be said about an answer."""

    pagination: Pagination | None = None
    warnings: list[Any] | None = None


class ErrorDetail(BaseModel):
    """One problem with its place."""

    loc: list[str | int]
    message: str
    type: str
    code: str | None = None
    task: str | None = None
    path: str | None = None
    hint: str | None = None


class ErrorDetails(BaseModel, extra="allow"):
    """What belongs to the error; `errors` lists every problem at once."""

    errors: list[ErrorDetail] | None = None


class Error(BaseModel):
    """Every error has this shape; `detail` repeats `message`."""

    success: Literal[False]
    message: str
    error_code: str = Field(examples=["WORKFLOW_NOT_FOUND"])
    details: ErrorDetails
    detail: str
    request_id: str


def describe(operation: Operation) -> Callable[[V], V]:
    """Put a route into the document."""

    def decorate(view: V) -> V:
        setattr(view, _MARK, operation)
        return view

    return decorate


def _document(view: Callable[..., Any], operation: Operation) -> None:
    """Tell quart-schema what a route said of itself; only when the document is built, because it builds models."""
    tag([operation.tag])(view)
    if operation.body is not None:
        document_request(operation.body)(view)
    if operation.query is not None:
        document_querystring(operation.query)(view)
    for status, model in operation.answers.items():
        if model is not None:
            document_response(model if operation.bare else enveloped(model), status)(view)


def operation_of(view: Callable[..., Any]) -> Operation | None:
    """What a route says of itself."""
    found: Operation | None = getattr(view, _MARK, None)
    return found


@lru_cache(maxsize=512)
def enveloped(model: Any) -> Any:
    """The success envelope around `model`, with a name of its own."""
    many = get_origin(model) is list
    inner = get_args(model)[0] if many else model
    name = f"{getattr(inner, '__name__', 'Object')}{'List' if many else ''}Answer"
    return create_model(
        name,
        success=(Literal[True], ...),
        message=(str | None, None),
        data=(model, ...),
        meta=(Meta | None, None),
    )


class Provider(OpenAPIProvider):
    """quart-schema's builder, mended."""

    def build_paths(self, rule: Rule) -> tuple[dict[str, Any], dict[str, Any]]:
        """The operations of one rule, complete."""
        view = self._app.view_functions[rule.endpoint]
        operation = operation_of(view)
        if operation is not None:
            _document(view, operation)
        paths, components = super().build_paths(rule)
        for operations in paths.values():
            for document in operations.values():
                self._complete(document, view)
        components["Error"] = _error_schema(components)
        return paths, components

    def build_path_parameter(self, name: str, converter: Any) -> Schema:
        """A path parameter, with the format of a UUID."""
        parameter: Schema = super().build_path_parameter(name, converter)
        if isinstance(converter, UUIDConverter):
            parameter["schema"]["format"] = "uuid"
        return parameter

    def build_querystring_parameters(self, model: Any) -> tuple[list[Schema], Schema]:
        """Query parameters; required ones say so."""
        parameters, definitions = super().build_querystring_parameters(model)
        required = set(model_schema(model, preference="pydantic").get("required", []))
        for parameter in parameters:
            if parameter["name"] in required:
                parameter["required"] = True
        return parameters, definitions

    def build_request_body(self, model: Any, source: Any) -> tuple[Schema, Schema]:
        """A request body, as a named component."""
        body, definitions = super().build_request_body(model, source)
        (kind,) = body["content"]
        schema = _named(body["content"][kind]["schema"], definitions)
        return {"content": {kind: {"schema": schema}}, "required": True}, definitions

    def build_response_object(self, model: Any, headers_model: Any) -> tuple[Schema, Schema]:
        """An answer, as a named component."""
        response, definitions = super().build_response_object(model, headers_model)
        for content in response["content"].values():
            content["schema"] = _named(content["schema"], definitions)
        return response, definitions

    def operation_id(self, method: str, path: str, func: Callable[..., Any]) -> str:
        """Unique: the short twin of a path says so."""
        name = func.__name__
        if path.startswith("/api/v1"):
            return f"{method.lower()}_{name}"
        return f"{method.lower()}_{name}_short"

    def _complete(self, document: Schema, view: Callable[..., Any]) -> None:
        operation = operation_of(view) or Operation(tag="system")
        permission = permission_of(view)
        answers = {str(status): answer for status, answer in document["responses"].items()}
        for status in operation.answers:
            answers.setdefault(
                str(status), {"content": {operation.media or "application/json": {}}} if operation.media else {}
            )
        for status in error_statuses(operation, permission):
            answers[str(status)] = _error_answer()
        for code, answer in answers.items():
            answer["description"] = HTTPStatus(int(code)).phrase
        document["responses"] = dict(sorted(answers.items()))
        document["parameters"] += [_header(name) for name in operation.headers]
        if operation.body is not None:
            _complete_body(document["requestBody"], operation)
        if permission is Permission.PUBLIC:
            document["security"] = []
        elif permission is not None:
            document["x-permission"] = permission.label
            if is_public_read(view):
                document["security"] = [{}, {"ApiKey": []}, {"Bearer": []}]


class Document(QuartSchema):
    """quart-schema without its pages: ours are served by `controllers.system`."""

    openapi_provider_class = Provider

    _built: tuple[bytes, str] | None = None

    async def fetched(self) -> tuple[bytes, str]:
        """The document, built in a thread the first time: it takes longer than a request may hold the others up."""
        if self._built is None:
            return await asyncio.to_thread(self.built)
        return self._built

    def built(self) -> tuple[bytes, str]:
        """The document as JSON, and its tag; made once, because it takes a tenth of a second."""
        if self._built is None:
            body = orjson.dumps(self.openapi_provider.schema(), option=orjson.OPT_NON_STR_KEYS)
            self._built = body, f'"{hashlib.sha256(body).hexdigest()[:32]}"'
        return self._built


def install(app: Quart, *, version: str) -> Document:
    """Prepare the document of `app`; it is built when first asked for."""
    document = Document(
        app,
        openapi_path=None,
        redoc_ui_path=None,
        scalar_ui_path=None,
        swagger_ui_path=None,
        info={"title": "Millrace", "version": version, "description": ABOUT},
        tags=[{"name": name, "description": text} for name, text in TAGS.items()],
        security_schemes={
            "ApiKey": {"type": "apiKey", "in_": "header", "name": "X-API-Key"},
            "Bearer": {"type": "http", "scheme": "bearer"},
        },
        security=[{"ApiKey": []}, {"Bearer": []}],
        conversion_preference="pydantic",
    )
    vars(app).pop("make_response", None)  # its wrapper costs every answer, and ours are ready-made
    return document


def _named(schema: Schema, definitions: Schema) -> Schema:
    if "$ref" in schema or "title" not in schema or schema.get("type") != "object":
        return schema
    definitions[schema["title"]] = schema
    return {"$ref": f"#/components/schemas/{schema['title']}"}


def _error_schema(components: Schema) -> Schema:
    schema = model_schema(Error, preference="pydantic", schema_mode="serialization")
    components.update(schema.pop("$defs", {}))
    return schema


def _error_answer() -> Schema:
    schema = {"schema": {"$ref": "#/components/schemas/Error"}}
    return {"content": {"application/json": schema, "application/problem+json": schema}}


def error_statuses(operation: Operation, permission: Permission | None) -> set[int]:
    """The statuses with which a route may refuse."""
    guarded = set() if permission is Permission.PUBLIC else {400, 401, 403, 429, 503}  # 400: a NUL in the path
    takes = {400} if operation.query is not None else set()
    takes |= {400, 413, 415} if operation.body is not None else set()
    return {*guarded, *takes, *operation.errors, 500}


def _complete_body(body: Schema, operation: Operation) -> None:
    if operation.body_optional:
        body["required"] = False
    if operation.yaml:
        body["content"]["application/yaml"] = dict(body["content"]["application/json"])


def _header(name: str) -> Schema:
    return {
        "name": name,
        "in": "header",
        "required": False,
        "description": _HEADERS[name],
        "schema": {"type": "string"},
    }


__all__ = [
    "TAGS",
    "Document",
    "Error",
    "Meta",
    "Operation",
    "Pagination",
    "describe",
    "error_statuses",
    "hide",
    "install",
    "operation_of",
]
