"""What an inquiry asks: checked when its task starts, because a gate that nobody can open, or anybody, must not be built."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from services.engine.durations import seconds
from services.engine.problems import nearest
from services.engine.turn import BadValue

WHO = ("users", "roles")
TIMES = ("timeout", "timeout_seconds")


def check_question(given: Mapping[str, Any]) -> None:
    """Raise BadValue or ValueError for assignees, a schema or a time that cannot be meant."""
    named = given.get("assignees")
    if named is not None:
        if not isinstance(named, Mapping):
            raise BadValue("assignees are an object with users and roles")
        for key in named:
            if key not in WHO:
                raise BadValue(f"assignees are users and roles, not {key!r}{_meant(str(key))}")
    for holder in (given, named or {}):
        for key in WHO:
            who = holder.get(key)
            if who is not None and not _names(who):
                raise BadValue(f"{key} is a list of names or ids")
    asked_timeout(given)
    _check_schema(response_schema(given))


def asked_timeout(given: Mapping[str, Any]) -> float | None:
    """How long an inquiry waits by its own input; raises ValueError."""
    wanted = next((given[name] for name in TIMES if given.get(name) is not None), None)
    return None if wanted is None else seconds(wanted)


def response_schema(given: Mapping[str, Any]) -> Any:
    """What an answer has to be; `required: true` inside a property, as StackStorm writes it, becomes the list of today."""
    return _modern(given.get("response_schema", given.get("schema")))


def _names(who: Any) -> bool:
    return isinstance(who, list | tuple) and all(
        isinstance(one, str | int) and not isinstance(one, bool) for one in who
    )


def _meant(key: str) -> str:
    hint = nearest(key, WHO)
    return f"; {hint}" if hint else ""


def _modern(schema: Any) -> Any:
    if not isinstance(schema, Mapping) or not isinstance(schema.get("properties"), Mapping):
        return schema
    rules = schema["properties"]
    needed = [name for name, rule in rules.items() if isinstance(rule, Mapping) and rule.get("required") is True]
    listed = schema.get("required")
    required = [*(listed if isinstance(listed, list | tuple) else ()), *needed]
    whole = {key: value for key, value in schema.items() if key != "required" or not isinstance(value, bool)}
    whole["properties"] = {name: _modern(_without_flag(rule)) for name, rule in rules.items()}
    return {**whole, "required": list(dict.fromkeys(required))} if needed else whole


def _without_flag(rule: Any) -> Any:
    if not isinstance(rule, Mapping) or not isinstance(rule.get("required"), bool):
        return rule
    return {key: value for key, value in rule.items() if key != "required"}


def _check_schema(schema: Any) -> None:
    if schema is None:
        return
    from jsonschema import Draft202012Validator, SchemaError

    if not isinstance(schema, Mapping):
        raise BadValue("response_schema is a JSON Schema: an object")
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        raise BadValue(f"response_schema is not a valid JSON Schema: {error.message}") from None
