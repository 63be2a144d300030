"""asyncpg's errors in our words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import asyncpg

from models.dal.errors import (
    DatabaseError,
    DeadlineExceeded,
    Duplicate,
    Full,
    Kind,
    ReadOnly,
    StatementFailed,
    Unavailable,
    Violation,
)

DRIVER_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)
_KINDS: dict[str, Kind] = {"23503": "foreign_key", "23502": "not_null", "23514": "check", "23P01": "check"}
_AGAIN = frozenset({"40001", "40P01"})  # serialization failure, deadlock
_STOPPED = frozenset({"57014", "25P03", "25P04"})  # statement, idle or transaction timeout
# connection, resources, operator intervention, system error; lock not available
_ELSEWHERE = ("08", "53", "57", "58", "XX", "55P03", "40")
_LOST = ("08", "57P")
_FULL = "53100"
_READ_ONLY = "25006"
_WRONG_VALUE = "22"


def is_worth_repeating(error: BaseException) -> bool:
    """Whether the same transaction may well succeed when it is run again."""
    return getattr(error, "sqlstate", None) in _AGAIN


def is_refusal(error: BaseException) -> bool:
    """Whether the server, or the driver before it, refused what a statement says: nothing of it was done."""
    return isinstance(translate(error), Duplicate | Violation | StatementFailed)


def is_lost(error: BaseException) -> bool:
    """Whether the connection ended under the statement: a restarted server, a cut network."""
    if isinstance(error, asyncpg.PostgresError):
        return (error.sqlstate or "").startswith(_LOST)
    return isinstance(error, ConnectionError | asyncpg.InternalClientError) or (
        isinstance(error, asyncpg.InterfaceError) and "clos" in str(error)
    )


def spoils_connection(error: BaseException) -> bool:
    """Whether the connection is of no use any more: out of step with the server, or opened to one that takes no writes.

    Whoever connected while the server took none stays so for the life of the connection, also when it takes them again.
    """
    return is_lost(error) or getattr(error, "sqlstate", None) == _READ_ONLY


@contextmanager
def translated() -> Iterator[None]:
    """Raise our errors in place of asyncpg's."""
    try:
        yield
    except DRIVER_ERRORS as error:
        raise translate(error) from error


def translate(error: BaseException) -> BaseException:
    """Our error for one of asyncpg's, which becomes its cause; any other comes back as it is."""
    ours = _ours(error)
    if ours is None:
        return error
    ours.__cause__ = error
    return ours


def _ours(error: BaseException) -> DatabaseError | None:
    if isinstance(error, DatabaseError):
        return None
    if isinstance(error, asyncpg.PostgresError):
        return _server_side(error)
    if isinstance(error, TimeoutError):
        return DeadlineExceeded("the statement ran into its deadline")
    if isinstance(error, OSError):
        return Unavailable(f"PostgreSQL: {error}")
    if isinstance(error, asyncpg.InterfaceError | asyncpg.InternalClientError):
        return _client_side(error)
    return None


def _client_side(error: Exception) -> DatabaseError:
    """asyncpg itself refuses: a closed connection, a value that does not fit, or a call of ours that is wrong."""
    if isinstance(error, ValueError):
        return Violation("value", message=str(error))
    if "clos" in str(error) or isinstance(error, asyncpg.InternalClientError):  # cut off in the middle of something
        return Unavailable(f"PostgreSQL: {error}")
    return StatementFailed(str(error))


def _server_side(error: Any) -> DatabaseError:
    state: str = error.sqlstate or ""
    message = str(error)
    if state == "23505":
        return Duplicate(error.constraint_name or "unknown")
    if state in _KINDS:
        return Violation(_KINDS[state], error.constraint_name or error.column_name, message)
    if state.startswith(_WRONG_VALUE):
        return Violation("value", message=message)
    return _refusal(state)(message)


def _refusal(state: str) -> type[DatabaseError]:
    if state in _STOPPED:
        return DeadlineExceeded
    if state == _READ_ONLY:
        return ReadOnly
    if state == _FULL:
        return Full
    return Unavailable if state.startswith(_ELSEWHERE) else StatementFailed
