"""How a database is opened."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Limits and sizes of a database connection; the defaults suit one server process."""

    statement_timeout_s: float = 30.0  # a statement that runs longer is stopped
    acquire_timeout_s: float = 15.0  # how long a call waits for a free connection
    connect_timeout_s: float = 5.0
    idle_transaction_s: float = 5.0  # SQLite: an interactive transaction silent for longer is rolled back
    application_name: str = "millrace"
    pool_size: int = 10  # PostgreSQL connections at most
    pgbouncer: bool = False  # transaction pooling without prepared statements: nothing is kept on a connection
    busy_timeout_s: float = 10.0  # SQLite: how long to wait for another process that writes
    readers: int = 2  # SQLite reader threads
    group_limit: int = 256  # members of one commit at most; 1 commits each alone
    synchronous: Literal["FULL", "NORMAL"] = "FULL"
    shapes: int = 2000  # compiled statements kept
    on_commit: Callable[[float], None] | None = None  # told how long a grouped commit took, in seconds; from any thread
    debug: bool = False  # warn about statements that were built and never awaited
