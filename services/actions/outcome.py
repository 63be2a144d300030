"""What goes into an action and what comes out of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct, field

from models.records import ErrorType

LONGEST_LINE = 10_000
"""Characters of one line of a node's log; the rest is cut off."""


class Call(Struct, kw_only=True):
    """One attempt at one action. `key` stays the same over retries and take-over, so a target can tell a repetition."""

    ref: str
    input: Any
    key: str = ""
    attempt: int = 1
    execution_id: str = ""
    node: str = ""
    timeout_s: float | None = None
    traceparent: str | None = None
    workflow: Mapping[str, Any] = field(default_factory=dict)
    logs: list[dict[str, Any]] = field(default_factory=list)
    times_itself: bool = False  # whether the action keeps `timeout_s` on its own

    def log(self, message: str, level: str = "info") -> None:
        """Add a line to the node's own log."""
        self.logs.append({"level": level, "message": message[:LONGEST_LINE]})


class Outcome(Struct, frozen=True, kw_only=True):
    """How an attempt ended: an output, or what went wrong."""

    output: Any = None
    error: Mapping[str, Any] | None = None  # {type, message, details}
    logs: tuple[Mapping[str, Any], ...] = ()

    @property
    def succeeded(self) -> bool:
        """Whether the attempt did what it was asked to do."""
        return self.error is None


class ActionFailed(Exception):
    """The action says that it failed."""

    def __init__(
        self, message: str, *, kind: ErrorType = ErrorType.EXECUTION, details: Any = None, output: Any = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.kind = kind
        self.details = details
        self.output = output

    def outcome(self, logs: list[dict[str, Any]]) -> Outcome:
        """The same as a value."""
        error = {"type": self.kind.value, "message": self.message, "details": self.details}
        return Outcome(output=self.output, error=error, logs=tuple(logs))
