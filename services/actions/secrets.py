"""The secrets that workflows may use: one file each, and what must never be seen of them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from models.records import ErrorType
from services.actions.outcome import ActionFailed

NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$")
SHORTEST_SCRUBBED = 8  # characters; shorter values would blank out ordinary text
MASK = "[secret]"


class Secrets:
    """Reads `SECRETS_DIR/NAME`. `NAME.packs`, when there, lists the packs that may use it, one a line."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._known: set[str] = set()
        self._pattern: re.Pattern[str] | None = None

    def reveal(self, name: str, *, pack: str) -> str:
        """The value. Raises ActionFailed when there is none, or the pack may not have it."""
        path = self._folder / name if self._folder is not None and NAME.match(name) else None
        if path is None or not path.is_file():
            raise ActionFailed(f"there is no secret '{name}'", kind=ErrorType.VALIDATION)
        allowed = path.with_name(f"{name}.packs")
        if allowed.is_file() and pack not in allowed.read_text(encoding="utf-8").split():
            raise ActionFailed(f"pack '{pack}' may not use the secret '{name}'", kind=ErrorType.VALIDATION)
        value = path.read_text(encoding="utf-8").rstrip("\r\n")
        self._remember(value)
        return value

    def scrub(self, value: Any) -> Any:
        """The value without any secret that was revealed in this process; the very same object when there is none."""
        if self._pattern is None:
            return value
        return self._scrubbed(self._pattern, value)

    def _remember(self, value: str) -> None:
        if len(value) >= SHORTEST_SCRUBBED and value not in self._known:
            self._known.add(value)
            longest_first = sorted(self._known, key=len, reverse=True)
            self._pattern = re.compile("|".join(re.escape(known) for known in longest_first))

    def _scrubbed(self, pattern: re.Pattern[str], value: Any) -> Any:
        if isinstance(value, str):
            return pattern.sub(MASK, value)
        if isinstance(value, dict):
            return {pattern.sub(MASK, key): self._scrubbed(pattern, item) for key, item in value.items()}
        if isinstance(value, list):
            return [self._scrubbed(pattern, item) for item in value]
        return value
