"""Changes that can be taken back.

`decide` rehearses its events on the state with the same `evolve` that folds them later, and takes every change back
before it returns. So there is one description of what an event means, and nothing is ever copied.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

_MISSING: Any = object()
_Restore = tuple[Callable[..., Any], tuple[Any, ...]]


class Log:
    """Makes changes, and remembers how to take them back while a rehearsal is open."""

    __slots__ = ("undo",)

    def __init__(self) -> None:
        self.undo: list[_Restore] | None = None

    def open(self) -> None:
        """From now on every change can be taken back."""
        if self.undo is not None:
            raise RuntimeError("a rehearsal is open already")
        self.undo = []

    def keep(self) -> None:
        """Let every change since `open` be."""
        self.undo = None

    def take_back(self) -> None:
        """Take back every change since `open`, latest first."""
        taken, self.undo = self.undo, None
        for restore, arguments in reversed(taken or ()):
            restore(*arguments)

    def set(self, owner: Any, name: str, value: Any) -> None:
        """Set an attribute."""
        if self.undo is not None:
            self.undo.append((setattr, (owner, name, getattr(owner, name))))
        setattr(owner, name, value)

    def put(self, mapping: dict[Any, Any], key: Any, value: Any) -> None:
        """Set an entry."""
        if self.undo is not None:
            before = mapping.get(key, _MISSING)
            restore = (mapping.pop, (key,)) if before is _MISSING else (mapping.__setitem__, (key, before))
            self.undo.append(restore)
        mapping[key] = value

    def drop(self, mapping: dict[Any, Any], key: Any) -> Any:
        """Remove an entry and return it; None when there is none. Taken back, it may stand in another place."""
        value = mapping.pop(key, _MISSING)
        if value is _MISSING:
            return None
        if self.undo is not None:
            self.undo.append((mapping.__setitem__, (key, value)))
        return value

    def push(self, entries: list[Any], value: Any) -> None:
        """Append to a list."""
        if self.undo is not None:
            self.undo.append((entries.pop, ()))
        entries.append(value)

    def take(self, entries: list[Any], position: int) -> Any:
        """Remove an entry of a list and return it."""
        value = entries.pop(position)
        if self.undo is not None:
            self.undo.append((entries.insert, (position, value)))
        return value

    def count(self, mapping: dict[Any, int], key: Any, change: int) -> int:
        """Add to a counter; a counter at zero is removed. Returns what it stands at."""
        value = mapping.get(key, 0) + change
        if value:
            self.put(mapping, key, value)
        else:
            self.drop(mapping, key)
        return value
