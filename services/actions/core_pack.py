"""The declarations of the `core` pack: what its actions take, give and do to the world."""

from __future__ import annotations

from typing import Any

from models.records import Effect
from services.actions.catalogue import ActionSpec, Runner

ANY: dict[str, Any] = {}
TEXT = {"type": "string"}
NUMBER = {"type": "number"}
SECONDS = {"type": "number", "minimum": 0}


def _object(required: str = "", *, extra: bool = False, **properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": required.split(),
        "additionalProperties": extra,
    }


def _builtin(name: str, description: str, parameters: dict[str, Any], **more: Any) -> ActionSpec:
    effect = more.pop("effect", Effect.NONE)
    return ActionSpec(
        ref=f"core.{name}",
        description=description,
        parameters=parameters,
        effect=effect,
        runner=Runner.BUILTIN,
        entry=name,
        **more,
    )


HTTP_PARAMETERS = _object(
    "url",
    url={"type": "string", "minLength": 1},
    method={"type": "string", "enum": ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"], "default": "GET"},
    headers={"type": "object", "additionalProperties": TEXT},
    params={"type": "object"},
    json=ANY,
    body=TEXT,
    form={"type": "object"},
    follow_redirects={"type": "boolean", "default": True},
    expected_status={"type": "array", "items": {"type": "integer"}},
    timeout_seconds=SECONDS,
    max_response_bytes={"type": "integer", "minimum": 1},
)
HTTP_OUTPUT = _object("status headers body", status={"type": "integer"}, headers={"type": "object"}, body=ANY, url=TEXT)
NAMES = {"type": "array", "items": {"type": ["string", "integer"]}}
INQUIRY_PARAMETERS = _object(
    prompt=TEXT,
    message=TEXT,
    assignees=_object(users=NAMES, roles=NAMES),
    users=NAMES,
    roles=NAMES,
    response_schema={"type": "object"},
    schema={"type": "object"},
    timeout=ANY,
    ttl=ANY,
    default=ANY,
    default_outcome=ANY,
    requester_may_respond={"type": "boolean", "default": False},
)

CORE_ACTIONS: tuple[ActionSpec, ...] = (
    _builtin("noop", "Does nothing.", _object(extra=True)),
    _builtin(
        "echo",
        "Gives the message back.",
        _object(message=ANY, extra=True),
        output=_object(message=ANY, stdout=ANY),
    ),
    _builtin(
        "log",
        "Writes a line into the node's log.",
        _object("message", message=ANY, level={"enum": ["debug", "info", "warning", "error"], "default": "info"}),
    ),
    _builtin("set", "Gives its input back as the result.", _object(extra=True)),
    _builtin("fail", "Fails with the given message.", _object(message=TEXT, details=ANY)),
    _builtin(
        "transform",
        "Passes `value` on, or picks and renames `fields` of it (dotted paths).",
        _object("value", value=ANY, fields={"type": "object", "additionalProperties": TEXT}),
    ),
    _builtin(
        "filter",
        "Keeps the items for which the rules {field, operator, value} hold. Operators: equals (default), not_equals,"
        " greater_than, less_than, greater_equal, less_equal, contains, not_contains, matches_regex, in_list, not_in_list,"
        " is_empty, is_not_empty.",
        _object("items", items={"type": "array"}, where={"type": "array"}, match={"enum": ["all", "any"]}),
        output={"type": "array"},
    ),
    _builtin("sleep", "Waits durably; a waiting execution costs no worker.", _object(seconds=SECONDS, until=ANY)),
    _builtin("wait", "The same as core.sleep.", _object(seconds=SECONDS, until=ANY)),
    _builtin("inquiry", "Asks people and holds its own task until they answer.", INQUIRY_PARAMETERS),
    _builtin(
        "workflow",
        "Runs another workflow as a child and gives its output.",
        _object("ref", ref=TEXT, input={"type": "object"}, inputs={"type": "object"}, variables={"type": "object"}),
        effect=Effect.WRITE,
    ),
    _builtin(
        "wait_for_run",
        "Waits until a run in the history has ended, and gives its status and outputs.",
        _object("run_id", run_id=TEXT, wpk_id=TEXT, poll_seconds=SECONDS),
        effect=Effect.READ,
    ),
    _builtin(
        "http",
        "Calls an HTTP endpoint.",
        HTTP_PARAMETERS,
        output=HTTP_OUTPUT,
        effect=Effect.WRITE,
        timeout_s=30.0,
    ),
)
