"""What AsyncDAL asks of a database."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from models.dal.call import Answer, Op

M_contra = TypeVar("M_contra", contravariant=True)
R_co = TypeVar("R_co", covariant=True)
OnFatal = Callable[[BaseException], None]
OnRefused = Callable[[BaseException], None]


class Lane(Protocol[M_contra, R_co]):
    """Collects what waits and writes it together: see `AsyncDAL.grouped`."""

    async def submit(self, member: M_contra) -> R_co:
        """The outcome of this member, after COMMIT."""
        ...


class Backend(Protocol):
    """SQLite or PostgreSQL, behind asyncio."""

    async def open(self) -> None:
        """Connect."""
        ...

    async def close(self) -> None:
        """Let go of every connection."""
        ...

    async def run(
        self, ops: Sequence[Op], *, write: bool, within: Any = None, deadline_s: float | None = None
    ) -> list[Answer]:
        """Run statements as one unit, inside a transaction or on their own."""
        ...

    async def begin(self, *, isolation: str | None = None, readonly: bool = False) -> Any:
        """Begin an interactive transaction."""
        ...

    async def end(self, handle: Any, *, commit: bool) -> None:
        """End it."""
        ...

    async def migrate(self, folder: Path, upto: int | None = None) -> list[str]:
        """Apply what is missing; the names of what was applied."""
        ...

    async def columns(self) -> Mapping[str, set[str]]:
        """Table name to column names."""
        ...
