"""Variables that follow their branch.

A `Context` maps a name to its value and to the `Write` that put it there. Writes of one name form a history (each
points at the writes it came after), so that where branches meet each write counts once: a branch that did not touch a
variable never resets what another branch wrote, and of two branches that both wrote, the one arriving later wins.

A context has one owner until it is `shared`; the owner changes it in place, anybody else copies it first. A chain of
tasks therefore never copies its variables, and a fork copies them once per branch that publishes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from services.engine.undo import Log


class Write:
    """One assignment in the history of one variable."""

    __slots__ = ("delta", "id", "parents")

    def __init__(self, number: int, parents: tuple[Write, ...], delta: Any = None) -> None:
        self.id = number
        self.parents = parents
        self.delta = delta
        """The object that was merged in, for writes that merge; None for writes that replace."""

    def after(self, other: Write) -> bool:
        """Whether `other` is this write or one that it came after. Numbers grow along a history."""
        if self is other:
            return True
        work, seen = list(self.parents), set()
        while work:
            write = work.pop()
            if write is other:
                return True
            if write.id > other.id and write.id not in seen:
                seen.add(write.id)
                work.extend(write.parents)
        return False


class Variable:
    """A value, where it came from and roughly how many bytes it has as JSON."""

    __slots__ = ("size", "value", "write")

    def __init__(self, value: Any, write: Write, size: int) -> None:
        self.value = value
        self.write = write
        self.size = size


class Context:
    """The variables of one branch."""

    __slots__ = ("shared", "size", "variables")

    def __init__(self, variables: dict[str, Variable] | None = None, size: int = 0) -> None:
        self.variables: dict[str, Variable] = {} if variables is None else variables
        self.size = size
        """Bytes of all values, roughly."""
        self.shared = False

    def __contains__(self, name: str) -> bool:
        return name in self.variables

    def __getitem__(self, name: str) -> Any:
        return self.variables[name].value

    def __iter__(self) -> Iterator[str]:
        return iter(self.variables)

    def values(self) -> dict[str, Any]:
        """All variables as a plain mapping."""
        return {name: variable.value for name, variable in self.variables.items()}


class Histories:
    """Numbers the writes of one execution; `log` takes changes back after a rehearsal."""

    __slots__ = ("log", "next")

    def __init__(self, log: Log) -> None:
        self.log = log
        self.next = 0

    def scratch(self) -> Histories:
        """Numbers for contexts that are only looked at."""
        other = Histories(Log())
        other.next = self.next
        return other

    def published(self, context: Context, delta: Mapping[str, Any], merged: Iterable[str] = ()) -> Context:
        """The context with these variables set (or merged, for the names in `merged`)."""
        if not delta:
            return context
        target = self.owned(context)
        for name, value in delta.items():
            self._write(target, name, value, merging=name in merged)
        return target

    def owned(self, context: Context) -> Context:
        """The context itself while it has one owner, else a copy."""
        return Context(context.variables.copy(), context.size) if context.shared else context

    def joined(self, left: Context | None, right: Context) -> Context:
        """Both contexts, `right` having arrived later. `left` may be changed in place, `right` is left alone."""
        if left is None or left is right:
            return right
        target = left
        for name, theirs in right.variables.items():
            ours = target.variables.get(name)
            if ours is not None and (ours.write is theirs.write or ours.write.after(theirs.write)):
                continue
            target = self.owned(target)
            self._put(target, name, theirs if ours is None else self._met(ours, theirs))
        return target

    def _met(self, ours: Variable, theirs: Variable) -> Variable:
        """What a variable is after two branches meet that have not seen each other's writes."""
        if theirs.write.after(ours.write):
            return theirs
        write = Write(self._number(), (ours.write, theirs.write))
        unseen = _unseen_merges(theirs.write, ours.write)
        if unseen is None:
            return Variable(theirs.value, write, theirs.size)
        value = ours.value
        for delta in unseen:
            value = merged_value(value, delta)
        return Variable(value, write, weigh(value))

    def _write(self, context: Context, name: str, value: Any, *, merging: bool) -> None:
        before = context.variables.get(name)
        parents = () if before is None else (before.write,)
        if merging and isinstance(value, Mapping):
            write = Write(self._number(), parents, value)
            value = value if before is None else merged_value(before.value, value)
        else:
            write = Write(self._number(), parents)
        self._put(context, name, Variable(value, write, weigh(value)))

    def _put(self, context: Context, name: str, variable: Variable) -> None:
        before = context.variables.get(name)
        grown = variable.size - (0 if before is None else before.size)
        self.log.set(context, "size", context.size + grown)
        self.log.put(context.variables, name, variable)

    def _number(self) -> int:
        self.next += 1
        return self.next


def _unseen_merges(theirs: Write, ours: Write) -> list[Any] | None:
    """Deltas merged on their side only, oldest first; None when their side replaced the value meanwhile."""
    found: dict[int, Any] = {}
    seen: set[int] = set()
    work = [theirs]
    while work:
        write = work.pop()
        if write.id in seen or ours.after(write):
            continue
        seen.add(write.id)
        if len(write.parents) < 2:
            if write.delta is None:
                return None
            found[write.id] = write.delta
        work.extend(write.parents)
    return [found[number] for number in sorted(found)]


def merged_value(old: Any, new: Any) -> Any:
    """Objects merged key by key, recursively; anything else is replaced."""
    if not (isinstance(old, Mapping) and isinstance(new, Mapping)):
        return new
    merged = dict(old)
    for key, value in new.items():
        merged[key] = merged_value(merged[key], value) if key in merged else value
    return merged


def weigh(value: Any) -> int:
    """Roughly how many bytes a value has as JSON."""
    if isinstance(value, str):
        return len(value) + 2
    if isinstance(value, Mapping):
        return 2 + sum(len(key) + 4 + weigh(entry) for key, entry in value.items())
    if isinstance(value, list | tuple):
        return 2 + sum(1 + weigh(entry) for entry in value)
    return 8
