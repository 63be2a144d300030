"""How much a process takes on."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How much this process takes on. `slots`: executions driven at once; `shutdown_s`: what running work gets.

    `per_key`: executions of one key driven at once by all workers, 0 = any number. `queued_most`: executions that may wait
    for a slot anywhere before no more are accepted, 0 = any number. `drives` False: it only answers
    requests. `queued`: executions without a driver come back through the queue. `listens` False: it stays so shortly
    that looking every second is enough.
    """

    slots: int = 512
    per_key: int = 0
    queued_most: int = 0
    shutdown_s: float = 20.0
    drives: bool = True
    listens: bool = True
    queued: bool = False
