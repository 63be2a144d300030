"""The output of an execution: rendered at every end, checked against its schema."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import orjson
from msgspec import Struct, field

from models.records import ErrorType
from services.engine.contexts import Context
from services.engine.expressions_errors import ExpressionError
from services.engine.graph import Failure, Graph
from services.engine.rebuild import context_before
from services.engine.state import State
from services.engine.statuses import Phase
from services.engine.transitions import overlaid
from services.engine.turn import Turn, Unanswered, invalid

if TYPE_CHECKING:
    from jsonschema.protocols import Validator  # imported with the first schema: it takes a tenth of the server's start

MAX_VIOLATIONS = 20


class Output(Struct):
    """What was rendered, and what was wrong with it."""

    value: Any = None
    errors: list[Failure] = field(default_factory=list)
    """Entries that were left out."""
    broken: Failure | None = None
    """Why a success is none after all."""
    kind: str = "output_rejected"
    """What the error log calls that."""


def render_output(turn: Turn, phase: Phase) -> Output:
    """Render every entry that can be rendered; later entries see earlier ones."""
    output = Output()
    profile = turn.graph.profile
    if profile.output_on_success_only and phase is not Phase.COMPLETED:
        return output
    context = final_context(turn.state)
    values: dict[str, Any] = {}
    for entry in turn.graph.output:
        assert entry.value is not None
        at = turn.standpoint(overlaid(context, values) if values else context)
        at.error = turn.state.fatal
        at.salt = ("output", entry.name)
        try:
            values[entry.name] = turn.evaluate(entry.value, at)
        except ExpressionError as error:
            output.errors.append(invalid(error))
        except Unanswered:
            continue
    turn.ask()
    output.value = values or None
    if output.errors and profile.output_error_fails:
        output.broken = output.errors[0]
    elif phase is Phase.COMPLETED:
        output.broken, output.kind = violation(turn.graph, output.value), "validation"
    return output


def final_context(state: State) -> Context:
    """The variables of all branches, as the output sees them."""
    if not state.runs and not state.graph.profile.output_sees_unstarted:
        return Context()
    whole = state.leaves if state.leaves is not None else state.root
    left = [gathering.context for gathering in state.gatherings.values()]
    left += [token.context for _, token in sorted(state.staged.items())]
    if not state.graph.profile.output_sees_unstarted:
        keys = [key for gathering in state.gatherings.values() for key in gathering.inbound]
        keys += [key for _, token in sorted(state.staged.items()) for key in token.inbound]
        left = [context_before(state, state.runs[key]) for key in dict.fromkeys(keys)]
    scratch = state.histories.scratch()
    for context in left:
        assert context is not None
        whole = scratch.joined(Context(dict(whole.variables), whole.size), context)
    return whole


def violation(graph: Graph, value: Any) -> Failure | None:
    """What is wrong with an output according to the workflow's `out_schema`."""
    if graph.out_schema is None:
        return None
    found = [
        {"path": "/".join(map(str, error.absolute_path)), "message": error.message}
        for _, error in zip(range(MAX_VIOLATIONS), _validator(_text(graph.out_schema)).iter_errors(value), strict=False)
    ]
    if not found:
        return None
    message = f"the output does not satisfy out_schema: {found[0]['message']}"
    return Failure(type=ErrorType.VALIDATION, message=message, details={"violations": found})


def _text(schema: Mapping[str, Any]) -> bytes:
    return orjson.dumps(schema, option=orjson.OPT_SORT_KEYS)


@lru_cache(maxsize=256)
def _validator(schema: bytes) -> Validator:
    from jsonschema import Draft202012Validator
    from referencing import Registry

    return Draft202012Validator(orjson.loads(schema), registry=Registry())
