"""The secrets that workflows may use: one file each, and what must never be seen of them."""

from __future__ import annotations

import contextlib
import html
import json
import re
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

from models.records import ErrorType
from services.actions.outcome import ActionFailed

NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$")
PACKS = ".packs"
SHORTEST_SCRUBBED = 8  # characters; shorter values would blank out ordinary text
MASK = "[secret]"
QUOTES = (("&quot;", "&#x27;"), ("&#34;", "&#39;"), ("&quot;", "&#39;"))
"""How HTML writes them."""


class Secrets:
    """Reads `SECRETS_DIR/NAME`. `NAME.packs`, when there, lists the packs that may use it, one a line."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._known: set[str] = set()
        self._forms: tuple[str, ...] = ()
        self._numbers: set[int] = set()

    def open_to_all(self) -> list[str]:
        """The names of the secrets that every pack may use, because no list says which."""
        try:
            names = {path.name for path in self._folder.iterdir()} if self._folder is not None else set()
        except OSError:
            return []  # said by who uses one
        usable = (name for name in names if NAME.match(name) and not name.endswith(PACKS))
        return sorted(name for name in usable if f"{name}{PACKS}" not in names)

    def packs_named(self) -> frozenset[str]:
        """The packs that a list of some secret names: whoever owned one of them could use that secret."""
        found: set[str] = set()
        for path in self._folder.glob(f"*{PACKS}") if self._folder is not None else ():
            with contextlib.suppress(ActionFailed):  # said by who uses the secret
                found.update(_text(path, path.name).split())
        return frozenset(found)

    def reveal(self, name: str, *, pack: str) -> str:
        """The value. Raises ActionFailed when there is none, or the pack may not have it."""
        fits = NAME.match(name) is not None and not name.endswith(PACKS)
        path = self._folder / name if self._folder is not None and fits else None
        if path is None or not path.is_file():
            raise ActionFailed(f"there is no secret '{name}'", kind=ErrorType.VALIDATION)
        allowed = path.with_name(f"{name}{PACKS}")
        if allowed.is_file() and pack not in _text(allowed, name).split():
            raise ActionFailed(f"pack '{pack}' may not use the secret '{name}'", kind=ErrorType.VALIDATION)
        value = _text(path, name).rstrip("\r\n")
        self._remember(value)
        return value

    def scrub(self, value: Any) -> Any:
        """The value without any secret that was revealed in this process, however it is written there.

        The very same object when none was revealed.
        """
        return self._scrubbed(value) if self._forms else value

    def _remember(self, value: str) -> None:
        if len(value) >= SHORTEST_SCRUBBED and value not in self._known:
            self._known.add(value)
            if value.isascii() and value.isdecimal():
                self._numbers.add(int(value))
            forms = {form for known in self._known for form in _forms(known)}
            self._forms = tuple(sorted(forms, key=len, reverse=True))

    def _scrubbed(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._masked(value)
        if isinstance(value, dict):
            return {self._scrubbed(key): self._scrubbed(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self._scrubbed(item) for item in value]
        if isinstance(value, int | float) and not isinstance(value, bool) and value in self._numbers:
            return MASK
        return value

    def _masked(self, text: str) -> str:
        for form in self._forms:
            if form in text:
                text = text.replace(form, MASK)
        return text


def _text(path: Path, name: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ActionFailed(f"the secret '{name}' cannot be read", kind=ErrorType.VALIDATION) from error


def _forms(value: str) -> Iterator[str]:
    """How a value may be written: as it is, in small letters (hosts), line by line, in a URL, in JSON, in HTML, in base64
    (alone or within more)."""
    yield from (value, value.lower(), quote(value, safe=""), quote(value), quote_plus(value))
    plain = html.escape(value, quote=False)
    yield from (plain, *(plain.replace('"', double).replace("'", single) for double, single in QUOTES))
    yield from (json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1])
    yield from (line for line in value.splitlines() if len(line) >= SHORTEST_SCRUBBED)
    raw = value.encode()
    for lead in range(3):
        first, last = (lead * 8 + 5) // 6, (lead + len(raw)) * 8 // 6  # the characters that are its own
        for encode in (b64encode, urlsafe_b64encode):
            yield encode(bytes(lead) + raw).decode()[first:last]
