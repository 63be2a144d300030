"""Inline parameters: `core.local cmd="date" timeout=5` and `publish: a=1 b=<% result() %>`.

A text is searched for `word=value` pairs; what stands between them is ignored. Values that are not in quotes are read
as JSON, so that numbers, booleans and null get their types; what is in quotes stays text unless it is a JSON object.
"""

from __future__ import annotations

import json
import re
from typing import Any

VALUES = (
    r"\[.*\]\s*",  # greedy, as in StackStorm: up to the last bracket of the line
    r'"[^"]*"\s*',
    r"'[^']*'\s*",
    r"-?\d*\.\d+",
    r"-?\d+",
    r"(?i:true)",
    r"(?i:false)",
    r"null",
    r"\{\{.*?\}\}",
    r"<%.*?%>",
)
PAIR = re.compile(rf"(\w+)=({'|'.join(VALUES)})")
QUOTED = re.compile(r"\"[^\"]*\"|'[^']*'")


def inline_parameters(text: str) -> list[tuple[str, Any]]:
    """The `name=value` pairs of a text in their order, values typed; empty when there are none."""
    return [(name, typed_value(value.strip())) for name, value in PAIR.findall(text)]


def typed_value(text: str) -> Any:
    """The value that an inline parameter stands for."""
    quoted = QUOTED.search(text) is not None
    for quote in "\"'":
        text = text.removeprefix(quote).removesuffix(quote)
    if quoted and not (text.startswith("{") and text.endswith("}")):
        return text
    if text.lower() in {"true", "false"}:
        return text.lower() == "true"
    try:
        return json.loads(text)
    except ValueError:
        return text


def split_action(text: str) -> tuple[str, dict[str, Any] | None]:
    """The action and its inline parameters; None when the text has none and is the action as a whole."""
    parameters = inline_parameters(text)
    if not parameters or " " not in text:
        return text, None
    return text[: text.index(" ")], dict(parameters)
