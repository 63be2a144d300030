"""A unit of writing as a conversation: written once, had with SQLite's writer thread or with PostgreSQL.

A conversation is a generator that yields calls `(method, *arguments)` of a writer and is sent their answers. It runs
inside one transaction and holds no connection itself, so both databases share the decisions and differ in SQL only.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, TypeVar

T = TypeVar("T")
Step = tuple[Any, ...]
Conversation = Generator[Step, Any, T]


def drive(conversation: Conversation[T], *writers: Any) -> T:
    """Have the conversation with writers whose methods answer at once; the first that has a method is asked."""
    try:
        step = next(conversation)
        while True:
            step = conversation.send(_method(writers, step[0])(*step[1:]))
    except StopIteration as end:
        result: T = end.value
        return result


async def drive_async(conversation: Conversation[T], *writers: Any) -> T:
    """Have the conversation with writers whose methods are awaited."""
    try:
        step = next(conversation)
        while True:
            step = conversation.send(await _method(writers, step[0])(*step[1:]))
    except StopIteration as end:
        result: T = end.value
        return result


def _method(writers: tuple[Any, ...], name: str) -> Any:
    return next(getattr(writer, name) for writer in writers if hasattr(writer, name))
