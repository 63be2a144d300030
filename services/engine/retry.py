"""Whether an attempt is repeated, and when."""

from __future__ import annotations

import hashlib

from msgspec import Struct

from models.records import ErrorType
from services.engine.durations import seconds, whole
from services.engine.expressions_errors import ExpressionError
from services.engine.graph import Backoff, Retry, Template
from services.engine.scopes import Done, Standpoint
from services.engine.state import Run
from services.engine.stopping import is_stopping
from services.engine.transitions import holds
from services.engine.turn import Turn, invalid

_NEVER = frozenset({ErrorType.INTERRUPTED, ErrorType.LIMIT})
_MAX_EXPONENT = 40


class RetryIn(Struct, frozen=True):
    """Repeat after so many seconds; 0 is at once."""

    delay_s: float


class GiveUp(Struct, frozen=True):
    """Do not repeat, and why."""

    reason: str


def next_attempt(turn: Turn, run: Run, done: Done, attempt: int) -> RetryIn | GiveUp:
    """Say when to try again, or why not to. A retry that cannot be evaluated turns `done` into a failure."""
    retry = turn.graph.nodes[run.node].retry
    if retry is None:
        return GiveUp("the task has no retry")
    if done.failure is not None and done.failure.type in _NEVER:
        return GiveUp(f"{done.failure.type} is never repeated")
    spared = turn.graph.profile.fail_waits and turn.state.spares(cleanup=run.cleanup)
    if is_stopping(turn.state) and not spared:
        return GiveUp("the execution is ending")
    at = turn.after(run, done)
    at.salt = (run.node, run.number, "retry")
    try:
        return _judge(turn, retry, at, attempt)
    except (ExpressionError, ValueError) as error:
        done.failure = invalid(error, run.node)
        return GiveUp("the retry cannot be evaluated")


def _judge(turn: Turn, retry: Retry, at: Standpoint, attempt: int) -> RetryIn | GiveUp:
    limit = whole(turn.evaluate(retry.count, at))
    if attempt > limit:
        return GiveUp(f"ended {attempt} times")
    if not holds(turn, retry.when, at):
        return GiveUp("its condition is false")
    delay_s = backed_off(retry.backoff, _seconds(turn, retry.delay, at), attempt)
    if retry.max_delay is not None:
        delay_s = min(delay_s, seconds(turn.evaluate(retry.max_delay, at)))
    if retry.jitter:
        delay_s *= 1 - fraction("/".join(map(str, (turn.state.execution_id, turn.state.events, *at.salt, attempt)))) / 2
    return RetryIn(delay_s)


def _seconds(turn: Turn, delay: Template | None, at: Standpoint) -> float:
    if delay is None:
        return 0.0
    value = turn.evaluate(delay, at)
    return float(whole(value)) if turn.graph.profile.strict_numbers else seconds(value)


def backed_off(backoff: Backoff, delay_s: float, attempt: int) -> float:
    """The delay after the nth attempt."""
    if backoff is Backoff.LINEAR:
        return delay_s * attempt
    if backoff is Backoff.EXPONENTIAL:
        return delay_s * float(2 ** min(attempt - 1, _MAX_EXPONENT))
    return delay_s


def fraction(salt: str) -> float:
    """A number from 0 up to 1 that looks random and is always the same for the same text."""
    return int.from_bytes(hashlib.blake2b(salt.encode(), digest_size=6).digest(), "big") / (1 << 48)
