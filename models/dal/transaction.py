"""Which interactive transaction the running task is in."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar, Token
from typing import Any


class Transaction:
    """An open transaction of one database, owned by the task that began it."""

    __slots__ = ("database", "handle", "open", "outer", "owner")

    def __init__(self, database: object, handle: Any, outer: Transaction | None) -> None:
        self.database = database
        self.handle = handle
        self.outer = outer
        self.open = True
        self.owner = asyncio.current_task()


_current: ContextVar[Transaction | None] = ContextVar("dal_transaction", default=None)
Entered = Token[Transaction | None]


def enter(database: object, handle: Any) -> Entered:
    """Begin to be inside; the answer goes to `leave`."""
    return _current.set(Transaction(database, handle, _current.get()))


def leave(entered: Entered) -> None:
    """No longer be inside, here and in the tasks that inherited the context."""
    transaction = _current.get()
    if transaction is not None:
        transaction.open = False
    _current.reset(entered)


def handle_of(database: object) -> Any:
    """The transaction of this database that the running task owns, or None.

    Raises RuntimeError in a child task, which inherits the context but must not share the connection.
    """
    transaction = _current.get()
    while transaction is not None and (transaction.database is not database or not transaction.open):
        transaction = transaction.outer
    if transaction is None:
        return None
    if transaction.owner is not asyncio.current_task():
        raise RuntimeError("this transaction belongs to another task")
    return transaction.handle
