"""Limits that the engine keeps: each says which one was passed, and how to raise it."""

from __future__ import annotations

from models.records import ErrorType
from services.engine.graph import LIMIT_NAMES, Failure
from services.engine.state import Token
from services.engine.turn import LimitReached, Turn


def passed(name: str, message: str, *, node: str | None = None, limit: float | None = None) -> Failure:
    """The failure of an execution that passed a limit; `name` is a field of `Limits`."""
    label = LIMIT_NAMES.get(name, name)
    bound = f"{label}={limit:g}" if limit is not None else label
    return Failure(
        type=ErrorType.LIMIT, message=f"{message} ({bound})", details={"limit": label, "value": limit}, node=node
    )


def passed_by(turn: Turn, token: Token) -> Failure | None:
    """The limit that starting this task now would pass."""
    state, limits = turn.state, turn.state.limits
    node = turn.graph.nodes[token.node]
    rounds = limits.max_loop_iterations if node.max_runs is None else min(node.max_runs, limits.max_loop_iterations)
    latest = state.latest.get((token.node, token.route))
    if latest is not None and latest.round >= rounds:
        return passed("max_loop_iterations", f"the task {node.id!r} ran too often", node=node.id, limit=rounds)
    if state.operations >= limits.max_total_operations:
        bound = limits.max_total_operations
        return passed("max_total_operations", "the execution ran too many tasks", node=node.id, limit=bound)
    if token.context.size > limits.max_context_bytes:
        bound = limits.max_context_bytes
        return passed("max_context_bytes", "the variables grew too large", node=node.id, limit=bound)
    return None


def check_depth(turn: Turn, node: str) -> None:
    """Raise LimitReached when a child execution would be nested too deeply."""
    bound = turn.state.limits.max_loop_depth
    if turn.state.depth >= bound:
        raise LimitReached(passed("max_loop_depth", "sub-workflows are nested too deeply", node=node, limit=bound))


def check_items(turn: Turn, node: str, count: int) -> None:
    """Raise LimitReached when a list has too many items."""
    bound = turn.state.limits.max_items
    if count > bound:
        raise LimitReached(passed("max_items", f"{count} items are too many", node=node, limit=bound))
