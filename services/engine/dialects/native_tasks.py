"""One task of the native language."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from services.engine.dialects.native_flow import COMMANDS, FLOW_KEYS, transitions
from services.engine.dialects.native_values import Place
from services.engine.expressions import Template
from services.engine.graph import Backoff, ItemPolicy, Items, Kind, Need, Node, Retry, Wait
from services.engine.statuses import FAILURE

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
RESERVED = frozenset({*COMMANDS, "retry"})
KINDS: Mapping[str, Kind] = {
    "core.inquiry": Kind.INQUIRY,
    "core.ask": Kind.INQUIRY,
    "core.sleep": Kind.WAIT,
    "core.wait": Kind.WAIT,
    "core.workflow": Kind.WORKFLOW,
}
"""Actions that the engine performs itself."""
IGNORED = frozenset(
    {"permission_set_refs", "worker_selector", "tolerations", "affinity", "iterate_cache", "batch_size"}
)
"""Attune's keys without a meaning here; they are accepted with a warning."""
LABELS = ("label", "description", "position", "metadata")
TASK_KEYS = (
    frozenset(
        [
            "name",
            "action",
            "input",
            "publish",
            "merge",
            "delay",
            "timeout",
            "retry",
            "with_items",
            "concurrency",
            "on_item_failure",
            "when",
            "wait",
            "type",
            "tasks",
            "compensate",
            "compensate_on",
            "workflow",
            "max_iterations",
        ]
    )
    | FLOW_KEYS
    | IGNORED
    | frozenset(LABELS)
)
RETRY_KEYS = frozenset({"count", "delay", "backoff", "max_delay", "jitter", "when", "on_error"})


def compile_task(name: str, task: Mapping[str, Any], place: Place) -> Node:
    """The node of a task that is not `type: parallel`."""
    place.known_keys(task, TASK_KEYS)
    for key in IGNORED & task.keys():
        place.at(key).warning("ignored_key", f"{key!r} has no meaning here.", subject=key)
    call = _Call(task, place)
    kind = call.kind()
    return Node(
        id=name,
        kind=kind,
        action=call.action(kind),
        input=call.input(kind),
        wait=call.wait(kind),
        next=transitions(task, place),
        join=join_of(task, place),
        guard=guard_of(task, place),
        items=_items(task, place, kind),
        retry=_retry(task.get("retry"), place.at("retry")),
        delay=place.at("delay").duration(task["delay"]) if task.get("delay") is not None else None,
        timeout=place.at("timeout").duration(task["timeout"]) if task.get("timeout") is not None else None,
        max_runs=_max_runs(task, place),
        labels={key: task[key] for key in LABELS if key in task},
    )


class _Call:
    """What a task does: the part that depends on its kind."""

    def __init__(self, task: Mapping[str, Any], place: Place) -> None:
        self._task = task
        self._place = place
        given = task.get("input")
        self._input: Mapping[str, Any] = given if isinstance(given, Mapping) else {}

    def kind(self) -> Kind:
        task, place = self._task, self._place
        if task.get("type", "action") not in ("action", "workflow"):
            place.at("type").error("wrong_type", "`type` is action, workflow or parallel.")
        ref = task.get("action", task.get("workflow"))
        if "wait" in task:
            if ref is not None:
                place.at("wait").error("wrong_type", "A task waits or performs an action, not both.")
            return Kind.WAIT
        if ref is None:
            if task.get("type") == "workflow":
                place.error("missing_key", "A sub-workflow needs `action` (or `workflow`) with its ref.")
            return Kind.PASS
        if not isinstance(ref, str) or not ref.strip():
            place.at("action").error("wrong_type", "An action is text such as pack.name, or an expression.")
            return Kind.PASS
        if task.get("type") == "workflow" or "workflow" in task:
            return Kind.WORKFLOW
        return KINDS.get(ref, Kind.ACTION)

    def action(self, kind: Kind) -> Template | None:
        if kind in (Kind.PASS, Kind.WAIT):
            return None
        key = "action" if "action" in self._task else "workflow"
        if self._task[key] != "core.workflow":
            return self._place.at(key).template(self._task[key])
        ref = self._input.get("workflow", self._input.get("ref"))
        if ref is None:
            self._place.at("input").error("missing_input", "core.workflow needs `ref`, the workflow to start.")
        return self._place.at("input").at("workflow").template(ref)

    def input(self, kind: Kind) -> Template | None:
        place = self._place.at("input")
        value = self._task.get("input")
        if kind is Kind.WORKFLOW and self._task.get("action") == "core.workflow":
            keys = [key for key in ("inputs", "variables", "input", "parameters") if key in self._input]
            return place.at(keys[0]).template(self._input[keys[0]], secrets=True) if keys else None
        if value is None or kind is Kind.WAIT:
            return None
        if not isinstance(value, Mapping | str):
            place.error("wrong_type", "`input` is a map, or an expression that gives one.")
            return None
        return place.template(value, secrets=True)

    def wait(self, kind: Kind) -> Wait | None:
        if kind is not Kind.WAIT:
            return None
        place = self._place.at("wait" if "wait" in self._task else "input")
        value = self._task.get("wait", self._input)
        if not isinstance(value, Mapping):
            return Wait(seconds=place.duration(value))
        place.known_keys(value, frozenset({"seconds", "until", "duration", "message"}))
        if value.get("until") is not None:
            return Wait(until=place.at("until").time(value["until"]))
        key = "seconds" if "seconds" in value else "duration"
        if key not in value:
            place.error("missing_key", "A wait needs `seconds` or `until`.")
        return Wait(seconds=place.at(key).duration(value.get(key, 0)))


def join_of(task: Mapping[str, Any], place: Place) -> Need | int | None:
    """`all`, `each` or a number; `depends_on` means all."""
    value = task.get("join")
    if value is None:
        return Need.ALL if task.get("depends_on") else None
    if value in ("all", "each"):
        return Need(value)
    if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
        return value
    place.at("join").error("wrong_type", "`join` is all, each or a number of branches from 1.")
    return None


def guard_of(task: Mapping[str, Any], place: Place) -> Template | None:
    """The task's own condition."""
    value = task.get("when")
    if value is None:
        return None
    inner = place.at("when")
    template = inner.template(value)
    if template.is_literal and not isinstance(value, bool):
        inner.error("bad_condition", "The condition of a task is an expression such as {{ vars.wanted }}.")
    return template


def _items(task: Mapping[str, Any], place: Place, kind: Kind) -> Items | None:
    value = task.get("with_items")
    if value is None:
        for key in ("concurrency", "on_item_failure"):
            if key in task:
                place.at(key).error("missing_key", f"{key!r} has no meaning without `with_items`.", subject=key)
        return None
    if kind in (Kind.PASS, Kind.WAIT):
        place.at("with_items").error("items_without_action", "`with_items` needs an action.")
    inner = place.at("with_items")
    names: tuple[str, ...] = ()
    concurrency, expression = task.get("concurrency"), value
    if isinstance(value, Mapping):
        inner.known_keys(value, frozenset({"items", "concurrency", "names"}))
        concurrency = value.get("concurrency", concurrency)
        names = tuple(name for _, name in inner.at("names").names(value["names"])) if "names" in value else ()
        expression, inner = value.get("items"), inner.at("items")
    if isinstance(expression, str) and " in " in expression.split("{{", 1)[0]:
        head, expression = expression.split(" in ", 1)
        names = tuple(part.strip() for part in head.split(","))
    template = inner.template(expression)
    if template.is_literal and not isinstance(expression, list):
        inner.error("wrong_type", "`with_items` is a list, or an expression that gives one.")
    return Items(
        values=template,
        names=names,
        concurrency=None if concurrency is None else place.at("concurrency").count(concurrency),
        policy=_policy(task.get("on_item_failure", "drain"), place.at("on_item_failure")),
    )


def _policy(value: Any, place: Place) -> ItemPolicy:
    if value in ("stop", "drain", "continue"):
        return ItemPolicy(value)
    place.error("wrong_type", "`on_item_failure` is stop, drain or continue.")
    return ItemPolicy.DRAIN


def _retry(value: Any, place: Place) -> Retry | None:
    if value is None:
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        value = {"count": value}
    if not isinstance(value, Mapping):
        place.error("wrong_type", "`retry` is a map with `count`, `delay` …")
        return None
    place.known_keys(value, RETRY_KEYS)
    if "count" not in value:
        place.error("missing_key", "`retry` needs `count`, the number of repetitions.")
    backoff = value.get("backoff", "constant")
    if backoff not in [str(known) for known in Backoff]:
        place.at("backoff").error("wrong_type", "`backoff` is constant, linear or exponential.")
        backoff = "constant"
    if not isinstance(value.get("jitter", False), bool):
        place.at("jitter").error("wrong_type", "`jitter` is true or false.")
    key = "when" if "when" in value else "on_error"
    return Retry(
        count=place.at("count").count(value.get("count", 0)),
        delay=place.at("delay").duration(value["delay"]) if value.get("delay") is not None else None,
        backoff=Backoff(backoff),
        max_delay=place.at("max_delay").duration(value["max_delay"]) if value.get("max_delay") is not None else None,
        jitter=value.get("jitter") is True,
        when=FAILURE if value.get(key) is None else place.at(key).condition(value[key]),
    )


def _max_runs(task: Mapping[str, Any], place: Place) -> int | None:
    value = task.get("max_iterations")
    if value is None:
        return None
    if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
        return value
    place.at("max_iterations").error("wrong_type", "`max_iterations` is a number from 1.")
    return None
