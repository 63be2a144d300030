"""What the run history asks the registry: which workflow, and which version of it, an identifier means."""

from __future__ import annotations

import time
from typing import Protocol
from uuid import UUID


class Registered(Protocol):
    """A registered workflow, as far as its runs are concerned."""

    @property
    def id(self) -> UUID:
        """Its id."""
        ...

    @property
    def package_id(self) -> str:
        """`name-version`, the id its runs are listed under."""
        ...

    @property
    def version(self) -> str:
        """Its present version."""
        ...

    @property
    def owner_id(self) -> int | None:
        """Whose it is."""
        ...

    @property
    def community_id(self) -> int | None:
        """Its community."""
        ...


class Found(Protocol):
    """What an identifier means: a registered workflow, or one version of it."""

    @property
    def workflow(self) -> Registered:
        """The workflow."""
        ...

    def package_named(self, identifier: str) -> str | None:
        """The package id of the version that the identifier named, if it named one."""
        ...


class Find(Protocol):
    """Names the registered workflow and the version an identifier means."""

    async def __call__(self, identifier: str, *, removed: bool = False) -> Found | None:
        """What it means; `removed`: also a workflow that was deleted."""
        ...


class Remembered:
    """Asks which workflow an identifier means at most every two seconds: logging must not cost a query per run."""

    TTL_S = 2.0
    SIZE = 4_096

    def __init__(self, find: Find) -> None:
        self._find = find
        self._known: dict[str, tuple[float, Registered | None]] = {}

    async def __call__(self, identifier: str) -> Registered | None:
        """The workflow, or None when no registered one has this id."""
        at = time.monotonic()
        known = self._known.get(identifier)
        if known is not None and at - known[0] < self.TTL_S:
            return known[1]
        found = await self._find(identifier)
        workflow = None if found is None else found.workflow
        if len(self._known) >= self.SIZE:
            self._known.clear()
        self._known[identifier] = at, workflow
        return workflow
