"""In which order free actions end: scenarios have to come out the same in all of them."""

import random
from collections.abc import Callable, Mapping
from typing import Any

Pick = Callable[[list[Any]], list[Any]]
"""From the actions in flight, oldest first, those that end next, in order; the rest wait."""


def fifo(free: list[Any]) -> list[Any]:
    """The oldest ends first."""
    return free[:1]


def lifo(free: list[Any]) -> list[Any]:
    """The newest ends first."""
    return free[-1:]


def batches(free: list[Any]) -> list[Any]:
    """All that are in flight end, newest first, before anything that they start."""
    return free[::-1]


def shuffled(seed: int) -> Callable[[], Pick]:
    """One at random ends first."""

    def fresh() -> Pick:
        chance = random.Random(seed)
        return lambda free: [chance.choice(free)]

    return fresh


ORDERS: Mapping[str, Callable[[], Pick]] = {
    "fifo": lambda: fifo,
    "lifo": lambda: lifo,
    "batches": lambda: batches,
    "random-1": shuffled(1),
    "random-2": shuffled(2),
    "random-3": shuffled(3),
}
"""Name of an order -> a fresh one for each run."""
