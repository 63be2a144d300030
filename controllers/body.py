"""Reading a request: its body and its query, checked against a model.

A route reads its body with `await read(Model)` and its query with `query(Model)`. Models are validated by cached
`TypeAdapter`s; every problem is reported at once, with its place.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal, TypeVar, cast, get_args

from pydantic import BaseModel, TypeAdapter, ValidationError
from quart import Request
from quart.globals import request_ctx
from werkzeug.exceptions import RequestEntityTooLarge

from controllers.context import services
from services.engine.problems import nearest
from services.errors import BadRequest, Invalid, TooLarge, UnsupportedMediaType
from services.formats import strict_json, strict_yaml

M = TypeVar("M")
MAX_PROBLEMS = strict_json.MAX_PROBLEMS
DEFINITION_KEYS = strict_yaml.MAX_KEYS
LONG_YAML = 32 * 1024
"""A longer text, in bytes, is read in a thread."""
API = "/api/v1/"
"""Paths below it take what they declare; the short ones ignore what they do not know, as those before them did."""
JSON_TYPE = "application/json"
YAML_TYPES = ("application/yaml", "application/x-yaml", "text/yaml", "text/x-yaml")


@lru_cache(maxsize=512)
def adapter(model: Any) -> TypeAdapter[Any]:
    """The validator of a model, built once."""
    return TypeAdapter(model)


async def raw(*, limit: int | None = None) -> bytes:
    """The bytes of the body.

    Raises `TooLarge` beyond `limit` bytes (default: `MAX_BODY_BYTES`).
    """
    asked = request_ctx.request
    allowed = services().rules.max_body_bytes if limit is None else limit
    if getattr(asked, "arrived_whole", False):
        data: bytes = await asked.body
    else:
        announced = asked.content_length
        if announced is not None and announced > allowed:
            raise _too_large(allowed)
        try:
            data = await asked.get_data(cache=True, as_text=False, parse_form_data=False)
        except RequestEntityTooLarge:  # in pieces, and too many of them
            raise _too_large(asked.max_content_length or allowed) from None
    if len(data) > allowed:
        raise _too_large(allowed)
    return data


async def read(model: type[M], *, optional: bool = False, limit: int | None = None, max_keys: int | None = None) -> M:
    """The JSON body as a `model`, strictly; an absent body counts as `{}` when it is optional.

    Raises `BadRequest` (not JSON as we accept it), `Invalid` (does not fit), `TooLarge`, `UnsupportedMediaType`.
    """
    data = await raw(limit=limit)
    if not data and optional:
        return validate(model, {})
    return validate(model, _json(data, request_ctx.request, max_keys or strict_json.MAX_KEYS))


async def document(*, limit: int | None = None) -> tuple[Any, str | None]:
    """A definition sent as JSON or YAML: its value, and the YAML text as it came (None for JSON)."""
    data = await raw(limit=limit)
    if request_ctx.request.mimetype in YAML_TYPES:
        return await asyncio.to_thread(strict_yaml.loads, data) if len(data) > LONG_YAML else strict_yaml.loads(data)
    _check_type(request_ctx.request, taken=f"{JSON_TYPE} or {YAML_TYPES[0]}")
    return _json(data, request_ctx.request, DEFINITION_KEYS), None


async def read_any(*, limit: int | None = None, max_keys: int | None = None) -> Any:
    """The JSON body as it is, for routes whose shape decides what it means."""
    return _json(await raw(limit=limit), request_ctx.request, max_keys or strict_json.MAX_KEYS)


def query(model: type[M]) -> M:
    """The query string as a `model`; a repeated parameter counts once, an unknown one is ignored on the short paths.

    Raises `Invalid` naming every parameter that does not fit.
    """
    asked = request_ctx.request
    return parameters(model, dict(asked.args.items()) if asked.args else {}, path=asked.path)


def parameters(model: type[M], given: Mapping[str, str], *, path: str) -> M:
    """The parameters of a query to `path`, all of them texts, as a `model`.

    Raises `Invalid` naming every one that does not fit.
    """
    try:
        extra: Literal["forbid"] | None = "forbid" if path.startswith(API) else None
        found: M = adapter(cast("Hashable", model)).validate_python(given, extra=extra)
    except ValidationError as error:
        raise invalid(error, model, place="query") from None
    return found


def validate(model: type[M], value: Any, *, place: str = "") -> M:
    """A JSON value as a `model`: a number, a boolean or a text where one is declared, and nothing made into one.

    Raises `Invalid` with all problems; `place` begins each location.
    """
    try:
        found: M = adapter(cast("Hashable", model)).validate_python(value, strict=True)
    except ValidationError as error:
        raise invalid(error, model, place=place) from None
    return found


def invalid(error: ValidationError, model: Any, *, place: str = "") -> Invalid:
    """A pydantic error in our words: every problem with its place, and what an unknown name may have meant."""
    problems = [
        {"loc": [*([place] if place else []), *item["loc"]], **_said(item, model, place)}
        for item in error.errors(include_url=False, include_context=False, include_input=False)[:MAX_PROBLEMS]
    ]
    first = problems[0]
    where = ".".join(str(part) for part in first["loc"]) or "the body"
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return Invalid(f"{where}: {first['message']}{more}", errors=problems)


def _said(item: Mapping[str, Any], model: Any, place: str) -> dict[str, Any]:
    if item["type"] != "extra_forbidden":
        return {"message": item["msg"].removeprefix("Value error, "), "type": item["type"]}
    what = "parameter" if place == "query" else "field"
    *parents, name = item["loc"]
    hint = nearest(str(name), names_in(model, parents))
    return {"message": f"unknown {what}", "type": f"unknown_{what}", **({"hint": hint} if hint else {})}


def names_in(model: Any, place: Sequence[str | int]) -> list[str]:
    """The names that a model takes at a place within it; none where there is no model."""
    for step in place:
        fields = model.model_fields if _is_model(model) else {}
        inner = next((field.annotation for name, field in fields.items() if step in (name, field.alias)), None)
        model = next((part for part in (inner, *get_args(inner)) if _is_model(part)), None)
    return [field.alias or name for name, field in model.model_fields.items()] if _is_model(model) else []


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _json(data: bytes, from_request: Request, max_keys: int) -> Any:
    if (b"content-type", b"application/json") not in from_request.scope["headers"]:
        _check_type(from_request)
    if not data.strip():
        message = "the body is empty; send a JSON value"
        raise BadRequest(message, errors=[{"loc": ["body"], "message": message, "type": "missing"}])
    return strict_json.loads(data, max_keys=max_keys)


def _check_type(from_request: Request, *, taken: str = JSON_TYPE) -> None:
    kind = from_request.mimetype
    if kind and kind != JSON_TYPE and not kind.endswith("+json"):
        raise UnsupportedMediaType(f"Send {taken}, not {kind}")
    charset = from_request.mimetype_params.get("charset", "utf-8")
    if charset.lower().replace("-", "") != "utf8":
        raise UnsupportedMediaType("JSON is UTF-8")


def _too_large(allowed: int) -> TooLarge:
    return TooLarge(f"The body is larger than {allowed} bytes", max_bytes=allowed)
