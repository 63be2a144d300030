"""Transitions of the native language, and all the short ways to write them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from services.engine.dialects.native_values import OUTCOMES, Place
from services.engine.graph import Assignment, Command, Transition
from services.engine.statuses import ANY_END, SUCCESS

COMMANDS: Mapping[str, Command] = {
    "fail": Command.FAIL,
    "noop": Command.NOOP,
    "end": Command.END,
    "continue": Command.END,
}
TRANSITION_KEYS = frozenset({"when", "publish", "merge", "do", "message", "description", "label"})
SUGAR: Mapping[str, str] = {
    "on_success": "succeeded",
    "on_failure": "failed",
    "on_complete": "completed",
    "on_timeout": "timed_out",
}
FLOW_KEYS = frozenset({"next", "decision", "depends_on", "join", *SUGAR})
"""Keys that say where a task leads or how it is entered."""


def transitions(task: Mapping[str, Any], place: Place) -> tuple[Transition, ...]:
    """Everything that says what follows a task, folded into transitions."""
    return (*_next(task, place), *_sugar(task, place), *_decision(task, place))


def _next(task: Mapping[str, Any], place: Place) -> list[Transition]:
    value = task.get("next")
    inner = place.at("next")
    if value is None:
        return []
    if isinstance(value, str):
        return [Transition(when=SUCCESS, do=targets(value, inner))]
    if isinstance(value, Mapping):
        return [_transition(value, inner)]
    if not isinstance(value, list):
        inner.error("wrong_type", "`next` is a list of transitions.")
        return []
    return [_entry(entry, inner.at(index)) for index, entry in enumerate(value)]


def _entry(entry: Any, place: Place) -> Transition:
    if isinstance(entry, str):
        return Transition(when=SUCCESS, do=targets(entry, place))
    if isinstance(entry, Mapping):
        return _transition(entry, place)
    place.error("wrong_type", "A transition is a map with when, publish and do.")
    return Transition()


def _transition(entry: Mapping[str, Any], place: Place) -> Transition:
    place.known_keys(entry, TRANSITION_KEYS)
    when = entry.get("when")
    message = entry.get("message")
    publish = place.at("publish").assignments(entry.get("publish"))
    merge = place.at("merge").assignments(entry.get("merge"), merge=True)
    return Transition(
        when=None if when is None else place.at("when").condition(when),
        publish=(*publish, *merge),
        do=targets(entry["do"], place.at("do")) if "do" in entry else (),
        message=None if message is None else place.at("message").template(message),
    )


def targets(value: Any, place: Place) -> tuple[str, ...]:
    """Names of tasks and commands; whether the tasks exist is seen to later."""
    found: dict[str, None] = {}
    for inner, name in place.names(value):
        if not name:
            inner.error("undefined_task", "A target has no name.")
        elif COMMANDS.get(name, name) in found:
            inner.warning("repeated_target", f"{name!r} stands here twice.", subject=name)
        found[str(COMMANDS.get(name, name))] = None
    return tuple(name for name in found if name)


def _sugar(task: Mapping[str, Any], place: Place) -> list[Transition]:
    return [
        Transition(when=None if OUTCOMES[word] is ANY_END else OUTCOMES[word], do=targets(task[key], place.at(key)))
        for key, word in SUGAR.items()
        if task.get(key) is not None
    ]


def _decision(task: Mapping[str, Any], place: Place) -> list[Transition]:
    """The first entry that holds is taken, the default when none does; only after success."""
    entries = task.get("decision")
    inner = place.at("decision")
    if entries is None:
        return []
    if not isinstance(entries, list):
        inner.error("wrong_type", "`decision` is a list of {when, next} and {default}.")
        return []
    steps = [_choice(entry, inner.at(index)) for index, entry in enumerate(entries)]
    return [step for step in steps if step.when is not None] + [step for step in steps if step.when is None]


def _choice(entry: Any, place: Place) -> Transition:
    if not isinstance(entry, Mapping):
        place.error("wrong_type", "An entry of a decision is {when, next} or {default: task}.")
        return Transition(when=frozenset())
    place.known_keys(entry, frozenset({"when", "next", "do", "default", "publish"}))
    default = entry.get("default")
    target = next((entry[key] for key in ("next", "do") if key in entry), None)
    if isinstance(default, str):
        target = default
    if target is None:
        place.error("missing_key", "This entry does not say which task is next.")
    if "when" not in entry and not default:
        place.error("missing_key", "This entry needs `when`, or it is the `default`.")
    is_default = bool(default) or "when" not in entry
    return Transition(
        when=None if is_default else place.at("when").condition(entry["when"]),
        on=SUCCESS,
        choice=0,
        publish=place.at("publish").assignments(entry.get("publish")),
        do=() if target is None else targets(target, place.at("next")),
    )


def with_publish(steps: tuple[Transition, ...], publish: tuple[Assignment, ...]) -> tuple[Transition, ...]:
    """`publish` and `merge` of a task: on all its ways after success, else on its first transition, else on its own."""
    if not publish:
        return steps
    after = [SUCCESS in (step.when, step.on) for step in steps]
    if not any(after):
        after[:1] = [True for _ in steps[:1]]
    if not steps:
        return (Transition(when=SUCCESS, publish=publish),)
    return tuple(
        replace(step, publish=(*publish, *step.publish)) if chosen else step
        for step, chosen in zip(steps, after, strict=True)
    )
