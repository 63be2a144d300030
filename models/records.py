"""Ids, enums and canonical text: the small facts every layer shares. Pure."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterator
from enum import StrEnum
from functools import lru_cache


class _Chance:
    """Random bytes of the operating system, fetched many at a time.

    Each fetch lets other threads run; under load, getting the interpreter back then takes longer than all the rest.
    """

    __slots__ = ("_tens",)

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Begin anew: a forked process must not go on with its parent's bytes."""
        self._tens: Iterator[bytes] = iter(())

    def ten_bytes(self) -> bytes:
        """The next ten; never given twice, whichever thread asks, because one step of an iterator is never shared."""
        ten = next(self._tens, None)
        if ten is None:
            block = os.urandom(4_000)
            self._tens = tens = iter([block[place : place + 10] for place in range(0, 4_000, 10)])
            ten = next(tens)
        return ten


_CHANCE = _Chance()
os.register_at_fork(after_in_child=_CHANCE.forget)


_WITHOUT_VERSION = ~((0xF << 76) | (0x3 << 62))
_VERSION = (0x7 << 76) | (0x2 << 62)


def uuid7(at_ms: int | None = None) -> uuid.UUID:
    """A time-ordered id (RFC 9562, version 7): 48 bits of milliseconds since 1970, 74 random bits."""
    return uuid.UUID(int=_uuid7_number(at_ms))


def uuid7_text(at_ms: int | None = None) -> str:
    """The same as text, without the object."""
    text = f"{_uuid7_number(at_ms):032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


@lru_cache(maxsize=8192)
def uuid_text(id_: uuid.UUID) -> str:
    """`str(id_)`, remembered: for ids of which there are few, such as those of workflows and keys."""
    return str(id_)


def _uuid7_number(at_ms: int | None) -> int:
    millis = time.time_ns() // 1_000_000 if at_ms is None else at_ms
    value = (millis << 80) | int.from_bytes(_CHANCE.ten_bytes(), "big")
    return (value & _WITHOUT_VERSION) | _VERSION


class ExecutionStatus(StrEnum):
    """What the API says of an execution."""

    PENDING = "pending"
    RUNNING = "running"
    PAUSED = "paused"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class NodeStatus(StrEnum):
    """What the API says of one run of a node."""

    PENDING = "pending"
    READY = "ready"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"
    PAUSED = "paused"


class ErrorType(StrEnum):
    """Why a node or an execution failed."""

    VALIDATION = "validation"
    EXECUTION = "execution"
    TIMEOUT = "timeout"
    API_ERROR = "api_error"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"
    LIMIT = "limit"


class RunStatus(StrEnum):
    """How a run of the history stands."""

    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"


class Effect(StrEnum):
    """What calling an action does to the world, and so what a crash or a dry run may do with it."""

    NONE = "none"
    READ = "read"
    WRITE = "write"
    IRREVERSIBLE = "irreversible"


class Flag(StrEnum):
    """What a grant on a workflow may allow."""

    VIEW = "can_view"
    EDIT = "can_edit"
    EXECUTE = "can_execute"
    DELETE = "can_delete"
    MANAGE_PERMISSIONS = "can_manage_permissions"
