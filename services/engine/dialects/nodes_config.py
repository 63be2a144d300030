"""What each of the 21 node types has to say about itself."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from services.engine.dialects.nodes_text import condition, forbidden, transform

Problem = Callable[[str, str], None]
"""Reports a problem: the key of the configuration and a sentence."""
Check = Callable[[Mapping[str, Any], Problem], None]

MAX_ROUNDS = 10_000

_CRON_FIELD = re.compile(
    r"(?:\*|\d+(?:-\d+)?)(?:/\d+)?(?:,(?:\*|\d+(?:-\d+)?)(?:/\d+)?)*|\?|[A-Za-z]{3}(?:-[A-Za-z]{3})?"
)
_URL = re.compile(r"(?:https?://|\{\{)\S+")


def _filled(config: Mapping[str, Any], problem: Problem, *keys: str) -> None:
    for key in keys:
        value = config.get(key)
        if not isinstance(value, str) or not value.strip():
            problem(key, f"{key} is missing.")


def _number(config: Mapping[str, Any], problem: Problem, key: str, low: float = 0.0) -> None:
    value = config.get(key)
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float) or value < low:
        problem(key, f"{key} is a number of at least {low:g}.")


def _choice(config: Mapping[str, Any], problem: Problem, key: str, choices: tuple[str, ...]) -> None:
    if config.get(key, choices[0]) not in choices:
        problem(key, f"{key} is one of {', '.join(choices)}.")


def _rules(config: Mapping[str, Any], problem: Problem, key: str = "condition", *, needed: bool = True) -> None:
    rules = config.get(key)
    if not rules:
        if needed:
            problem(key, "At least one rule is needed.")
        return
    if not isinstance(rules, list | Mapping):
        problem(key, "The rules are a list.")
        return
    try:
        condition(rules)
    except (TypeError, ValueError) as error:
        problem(key, f"{str(error).capitalize()}.")
    for rule in rules if isinstance(rules, list) else [rules]:
        found = forbidden(rule.get("value")) if isinstance(rule, Mapping) else None
        if found:
            problem(key, f"{found!r} is not allowed in a condition.")


def _command(config: Mapping[str, Any], problem: Problem) -> None:
    _filled(config, problem, "command_pattern")
    _platforms(config, problem)
    _number(config, problem, "cooldown_seconds")
    _number(config, problem, "user_cooldown_seconds")


def _platforms(config: Mapping[str, Any], problem: Problem) -> None:
    if not isinstance(config.get("platforms"), list) or not config["platforms"]:
        problem("platforms", "At least one platform is needed.")


def _event(config: Mapping[str, Any], problem: Problem) -> None:
    _filled(config, problem, "event_type")
    _platforms(config, problem)


def _webhook_trigger(config: Mapping[str, Any], problem: Problem) -> None:
    path = config.get("webhook_path")
    if not isinstance(path, str) or not path.startswith("/"):
        problem("webhook_path", "A webhook path begins with /.")


def _schedule(config: Mapping[str, Any], problem: Problem) -> None:
    fields = str(config.get("cron_expression") or "").split()
    if len(fields) not in {5, 6} or not all(_CRON_FIELD.fullmatch(part) for part in fields):
        problem("cron_expression", "A schedule is a cron expression of five or six fields.")


def _if(config: Mapping[str, Any], problem: Problem) -> None:
    _rules(config, problem)


def _switch(config: Mapping[str, Any], problem: Problem) -> None:
    _filled(config, problem, "variable")
    if not isinstance(config.get("cases"), Mapping) or not config["cases"]:
        problem("cases", "At least one case is needed.")


def _filter(config: Mapping[str, Any], problem: Problem) -> None:
    _filled(config, problem, "input_array")
    _rules(config, problem)


def _module(config: Mapping[str, Any], problem: Problem) -> None:
    _filled(config, problem, "module_name")
    _number(config, problem, "timeout_seconds", 0.001)
    for key in ("input_mapping", "output_mapping"):
        _mapping(config, problem, key)


def _mapping(config: Mapping[str, Any], problem: Problem, key: str) -> None:
    value = config.get(key)
    if value is not None and not isinstance(value, Mapping):
        problem(key, f"{key} is a map.")


def _webhook(config: Mapping[str, Any], problem: Problem) -> None:
    if not isinstance(config.get("url"), str) or not _URL.match(config["url"]):
        problem("url", "The URL begins with http:// or https://.")
    _choice(config, problem, "method", ("POST", "GET", "PUT", "PATCH", "DELETE"))
    _number(config, problem, "timeout_seconds", 0.001)
    _number(config, problem, "retry_count")
    _mapping(config, problem, "headers")
    found = forbidden(config.get("body_template"))
    if found:
        problem("body_template", f"{found!r} is not allowed in a body.")


def _chat(config: Mapping[str, Any], problem: Problem) -> None:
    _filled(config, problem, "message_template")
    _choice(config, problem, "destination", ("current_channel", "user_pm", "specified_channel"))
    if config.get("destination") == "specified_channel":
        _filled(config, problem, "channel_id")
    if config.get("destination") == "user_pm":
        _filled(config, problem, "user_id")


def _browser(config: Mapping[str, Any], problem: Problem) -> None:
    _choice(config, problem, "source_type", ("general", "ticker", "media"))
    _choice(config, problem, "action", ("display", "update", "clear"))
    _number(config, problem, "duration", 0.001)


def _delay(config: Mapping[str, Any], problem: Problem) -> None:
    _number(config, problem, "delay_ms")


def _transform(config: Mapping[str, Any], problem: Problem) -> None:
    language = config.get("expression_language", "jq")
    _choice(config, problem, "expression_language", ("jq", "python", "js"))
    transformations = config.get("transformations")
    if not isinstance(transformations, Mapping) or not transformations:
        problem("transformations", "At least one transformation is needed.")
        return
    for name, expression in transformations.items():
        found = forbidden(expression)
        if found:
            problem(f"transformations.{name}", f"{found!r} is not allowed in a transformation.")
        try:
            transform(str(expression), str(language))
        except ValueError as error:
            problem(f"transformations.{name}", f"{str(error).capitalize()}.")


def _set(config: Mapping[str, Any], problem: Problem) -> None:
    if not isinstance(config.get("variables"), Mapping) or not config["variables"]:
        problem("variables", "At least one variable is needed.")
    _choice(config, problem, "scope", ("workflow", "local", "global"))


def _get(config: Mapping[str, Any], problem: Problem) -> None:
    _filled(config, problem, "variable_name", "output_variable")


def _foreach(config: Mapping[str, Any], problem: Problem) -> None:
    _filled(config, problem, "array_variable")
    _rounds(config, problem)


def _rounds(config: Mapping[str, Any], problem: Problem) -> None:
    rounds = config.get("max_iterations", MAX_ROUNDS)
    if isinstance(rounds, bool) or not isinstance(rounds, int) or not 1 <= rounds <= MAX_ROUNDS:
        problem("max_iterations", f"max_iterations is a number between 1 and {MAX_ROUNDS:,}.")


def _while(config: Mapping[str, Any], problem: Problem) -> None:
    _rules(config, problem)
    _rounds(config, problem)


def _break(config: Mapping[str, Any], problem: Problem) -> None:
    _rules(config, problem, "break_condition", needed=False)


def _merge(config: Mapping[str, Any], problem: Problem) -> None:
    required = config.get("input_ports_required", -1)
    if isinstance(required, bool) or not isinstance(required, int) or required < -1 or required == 0:
        problem("input_ports_required", "input_ports_required is -1 (all) or a number of at least 1.")


def _parallel(config: Mapping[str, Any], problem: Problem) -> None:
    _choice(config, problem, "execution_type", ("parallel", "any_first", "all_fastest"))
    _number(config, problem, "timeout_seconds", 0.001)


def _nothing(_config: Mapping[str, Any], _problem: Problem) -> None:
    return


CHECKS: Mapping[str, Check] = {
    "trigger_command": _command,
    "trigger_event": _event,
    "trigger_webhook": _webhook_trigger,
    "trigger_schedule": _schedule,
    "condition_if": _if,
    "condition_switch": _switch,
    "condition_filter": _filter,
    "action_module": _module,
    "action_webhook": _webhook,
    "action_chat_message": _chat,
    "action_browser_source": _browser,
    "action_delay": _delay,
    "data_transform": _transform,
    "data_variable_set": _set,
    "data_variable_get": _get,
    "loop_foreach": _foreach,
    "loop_while": _while,
    "loop_break": _break,
    "flow_merge": _merge,
    "flow_parallel": _parallel,
    "flow_end": _nothing,
}
TYPES = tuple(CHECKS)
