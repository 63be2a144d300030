"""What each node type does, apart from where it leads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from services.engine.dialects import nodes_text as write
from services.engine.dialects.nodes_document import DocumentText, NodeText
from services.engine.expressions import ExpressionError, Template, compile_template, literal_template
from services.engine.graph import Assignment, Backoff, Kind, Retry, Wait
from services.engine.problems import Findings

Body = dict[str, Any]
"""Fields of `Node`; `publish` belongs to the transition after it."""

MAX_DELAY_S = 300
DEFAULT_NAMES: Mapping[str, Mapping[str, str]] = {
    "condition_filter": {"output_variable": "filtered_items"},
    "loop_foreach": {"item_variable": "item", "index_variable": "index"},
}
"""Variables that a node sets although it does not name them."""


class Values:
    """Compiles texts of a node graph and collects what is wrong with them."""

    def __init__(self, findings: Findings) -> None:
        self.findings = findings

    def compile(self, value: Any, path: str, *, secrets: bool = False) -> Template:
        """A value whose texts are Jinja already; one with problems is reported and becomes null."""
        try:
            return compile_template(value, text="python", secrets=secrets)
        except ExpressionError as error:
            for problem in error.problems:
                self.findings.error(problem.code, f"{problem.message} in {problem.expression}", path=path)
            return self.literal(None)

    def expression(self, source: str, path: str) -> Template:
        """One expression."""
        return self.compile("{{ " + source + " }}", path)

    def literal(self, value: Any) -> Template:
        """A value of ours, or one that means itself."""
        return literal_template(value)


def index_variable(loop: str) -> str:
    """Where a loop keeps which element is next."""
    return f"{loop}__index"


def count_variable(loop: str) -> str:
    """Where a loop keeps how many elements there are."""
    return f"{loop}__count"


def published_names(text: DocumentText) -> list[str]:
    """The variables that nodes of the document set, in its order."""
    names: list[str] = []
    for node in text.nodes.values():
        config = node.config
        for key in ("variables", "transformations"):
            names += map(str, config.get(key) or ()) if node.type.startswith("data_") else ()
        for key, default in DEFAULT_NAMES.get(node.type, {"output_variable": ""}).items():
            name = config.get(key, default)
            names += [name] if isinstance(name, str) and name else []
        mapping = config.get("output_mapping")
        names += map(str, mapping.values()) if isinstance(mapping, Mapping) else ()
    return names


def _pass(_text: NodeText, _values: Values) -> Body:
    return {"kind": Kind.PASS}


def _filter(text: NodeText, values: Values) -> Body:
    source = write.filtered(text.config["input_array"], text.config["condition"])
    name = str(text.config.get("output_variable") or "filtered_items")
    return _publishing(text, values, {name: source})


def _publishing(text: NodeText, values: Values, sources: Mapping[str, str]) -> Body:
    publish = tuple(
        Assignment(name=name, value=values.expression(source, text.path)) for name, source in sources.items()
    )
    return {"kind": Kind.PASS, "publish": publish}


def _module(text: NodeText, values: Values) -> Body:
    config = text.config
    name = str(config["module_name"]).strip()
    given = {
        str(parameter): write.as_value(str(variable))
        for variable, parameter in (config.get("input_mapping") or {}).items()
    }
    publish = tuple(
        Assignment(
            name=str(variable),
            value=values.expression(f"result().get({write.literal(str(output))}) | default(none)", text.path),
        )
        for output, variable in (config.get("output_mapping") or {}).items()
    )
    action = name if "." in name else f"modules.{name}"
    body = _action(text, values, action, given)
    return {**body, "timeout": values.literal(config.get("timeout_seconds", 30)), "publish": publish}


def _action(text: NodeText, values: Values, action: str, given: Mapping[str, Any]) -> Body:
    return {
        "kind": Kind.ACTION,
        "action": values.literal(action),
        "input": values.compile(dict(given), text.path, secrets=True),
    }


def _webhook(text: NodeText, values: Values) -> Body:
    config = text.config
    given: dict[str, Any] = {"method": config.get("method", "POST"), "url": write.as_text(config["url"])}
    if config.get("headers"):
        given["headers"] = write.as_text(config["headers"])
    if config.get("body_template"):
        given["body"] = write.text(config["body_template"])
    body = _action(text, values, "core.http", given)
    retries = config.get("retry_count", 0)
    if retries:
        body["retry"] = Retry(count=values.literal(int(retries)), delay=values.literal(1), backoff=Backoff.EXPONENTIAL)
    variable = config.get("output_variable")
    publish = (Assignment(name=str(variable), value=values.expression("result().body", text.path)),) if variable else ()
    return {**body, "timeout": values.literal(config.get("timeout_seconds", 10)), "publish": publish}


def _chat(text: NodeText, values: Values) -> Body:
    config = text.config
    given = {
        "message": write.as_text(config["message_template"]),
        "destination": config.get("destination", "current_channel"),
        "channel_id": write.text(config.get("channel_id")),
        "target_user_id": write.text(config.get("user_id")),
        "platform": config.get("platform"),
        "reply_to_message": config.get("reply_to_message", False),
    }
    return _action(text, values, "chat.send_message", {key: item for key, item in given.items() if item is not None})


def _browser(text: NodeText, values: Values) -> Body:
    config = text.config
    given = {
        "source_type": config.get("source_type", "general"),
        "action": config.get("action", "display"),
        "content": write.as_text(config.get("content_template")),
        "duration": config.get("duration", 10),
        "priority": config.get("priority", 0),
    }
    return _action(text, values, "browser_source.update", given)


def _delay(text: NodeText, values: Values) -> Body:
    """At most five minutes, as where these graphs come from."""
    fixed = text.config.get("delay_ms", 0) or 0
    variable = text.config.get("delay_variable")
    if not variable:
        return {"kind": Kind.WAIT, "wait": Wait(seconds=values.literal(min(fixed / 1000, MAX_DELAY_S)))}
    source = f"[({write.lookup(variable)} | default({fixed}) | float) / 1000, {MAX_DELAY_S}] | min"
    return {"kind": Kind.WAIT, "wait": Wait(seconds=values.expression(source, text.path))}


def _transform(text: NodeText, values: Values) -> Body:
    language = str(text.config.get("expression_language", "jq"))
    entries = text.config["transformations"].items()
    return _publishing(text, values, {str(key): write.transform(str(source), language) for key, source in entries})


def _set(text: NodeText, values: Values) -> Body:
    scope = text.config.get("scope", "workflow")
    if scope != "workflow":
        message = f"Variables of scope {scope} are variables of the workflow here."
        values.findings.warning("scope_widened", message, path=text.path, task=text.id)
    publish = tuple(
        Assignment(name=str(name), value=values.compile(write.text(value), text.path))
        for name, value in text.config["variables"].items()
    )
    return {"kind": Kind.PASS, "publish": publish}


def _get(text: NodeText, values: Values) -> Body:
    default = write.literal(text.config.get("default_value"))
    source = f"{write.lookup(text.config['variable_name'])} | default({default})"
    return _publishing(text, values, {str(text.config["output_variable"]): source})


def _parallel(text: NodeText, values: Values) -> Body:
    if "timeout_seconds" in text.config:
        message = "The timeout of a flow_parallel is not applied; give its actions timeouts."
        values.findings.warning("timeout_not_applied", message, path=text.path, task=text.id)
    return {"kind": Kind.PASS}


KINDS: Mapping[str, Callable[[NodeText, Values], Body]] = {
    **dict.fromkeys(("condition_if", "condition_switch", "flow_merge", "flow_end"), _pass),
    **dict.fromkeys(("loop_foreach", "loop_while", "loop_break"), _pass),
    "condition_filter": _filter,
    "action_module": _module,
    "action_webhook": _webhook,
    "action_chat_message": _chat,
    "action_browser_source": _browser,
    "action_delay": _delay,
    "data_transform": _transform,
    "data_variable_set": _set,
    "data_variable_get": _get,
    "flow_parallel": _parallel,
}
