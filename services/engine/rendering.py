"""From templates to what is performed: action, input, effect, timeout."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from models.records import Effect
from services.engine.commands import work_key
from services.engine.durations import seconds
from services.engine.expressions_secrets import extract_secrets
from services.engine.graph import Kind, Node
from services.engine.limits import check_depth
from services.engine.questions import check_question
from services.engine.scopes import Standpoint
from services.engine.turn import BadValue, Turn


class Call(Struct, frozen=True, kw_only=True):
    """One attempt, rendered."""

    kind: Kind
    action: str | None = None
    input: Any = None
    secrets: tuple[Mapping[str, Any], ...] = ()
    effect: Effect = Effect.NONE
    timeout_s: float | None = None


NO_SECRETS = "a secret cannot be given to a workflow: name it in the input of the action that needs it"


def render_call(turn: Turn, node: Node, at: Standpoint) -> Call:
    """What a task (or one item of it) asks for; raises ExpressionError, BadValue, ValueError."""
    timeout_s = None if node.timeout is None else seconds(turn.evaluate(node.timeout, at))
    if node.kind in (Kind.PASS, Kind.WAIT):
        value, secrets = _input(turn, node, at)
        return Call(kind=node.kind, input=value, secrets=secrets, timeout_s=timeout_s)
    assert node.action is not None
    action = turn.evaluate(node.action, at)
    if not isinstance(action, str) or not action:
        raise BadValue(f"the action of {node.id!r} is {action!r}, not the name of an action")
    facts = turn.action_facts(action, literal=action == node.action.source)
    kind = facts.kind if node.kind is Kind.ACTION else node.kind
    if kind is Kind.WORKFLOW:
        check_depth(turn, node.id)
    value, secrets = _input(turn, node, at)
    if secrets and kind is Kind.WORKFLOW:
        raise BadValue(NO_SECRETS)
    if kind is Kind.INQUIRY:
        check_question(value or {})
    return Call(
        kind=kind,
        action=action,
        input=value,
        secrets=secrets,
        effect=facts.effect if kind is Kind.ACTION else Effect.NONE,
        timeout_s=timeout_s,
    )


def _input(turn: Turn, node: Node, at: Standpoint) -> tuple[Any, tuple[Mapping[str, Any], ...]]:
    if node.input is None:
        return None, ()
    value = turn.evaluate(node.input, at)
    if not isinstance(value, Mapping):
        raise BadValue(f"the input of {node.id!r} is not an object")
    if not node.input.secrets:
        return value, ()
    masked, places = extract_secrets(value)
    return masked, tuple(places)


def child_id(execution_id: str, key: tuple[str, int, int | None], attempt: int) -> str:
    """The child execution of a piece of work: always the same for the same work and attempt."""
    name = work_key(*key) if attempt == 1 else f"{work_key(*key)}#{attempt}"
    try:
        parent = uuid.UUID(execution_id)
    except ValueError:
        parent = uuid.uuid5(uuid.NAMESPACE_OID, execution_id)
    return str(uuid.uuid5(parent, name))
