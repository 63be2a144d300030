"""What an expression can see while it is evaluated."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from services.engine.expressions_errors import TooMuchWork

MAX_STEPS = 250_000
"""A step takes about a microsecond."""

Function = Callable[..., Any]

_NOTHING: Mapping[str, Any] = {}


class Scope:
    """Names, functions and the worker's answers for the evaluation of templates.

    `names[name]` gives a root name (`vars`, `parameters`, a bare variable) and raises KeyError when there is none;
    it may be any mapping, so it can be filled lazily. Values are JSON data or read-only mappings and sequences of it;
    they are shared, never copied, and must not be changed by whoever receives them.
    `functions` are those of this place (`result`, `ctx`, `now` ...): what is missing there cannot be used there;
    a function raises LookupError (with a message) for something that does not exist.
    `answers` maps the id of a `NeedsWorker` request to `{"value": ...}` or `{"error": "..."}`.
    """

    __slots__ = ("answers", "functions", "it", "names", "steps")

    def __init__(
        self,
        names: Mapping[str, Any],
        functions: Mapping[str, Function] = _NOTHING,
        answers: Mapping[str, Mapping[str, Any]] = _NOTHING,
    ) -> None:
        self.names = names
        self.functions = functions
        self.answers = answers
        self.steps = 0
        self.it: Any = None

    def charge(self, units: int) -> None:
        """Count work that grows with the data, so that an expression cannot keep the server busy."""
        self.steps += units
        if self.steps > MAX_STEPS:
            raise TooMuchWork("the expression does too much work on too much data")
