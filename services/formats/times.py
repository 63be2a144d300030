"""Times as clients write them: RFC 3339 texts, and nothing that could be a number. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime

WANTED = "must be a time such as 2026-01-17T12:00:00Z"
_TEXT = re.compile(r"\d{4}-\d\d-\d\d(?:[Tt ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:[Zz]|[+-]\d\d:?\d\d)?)?", re.ASCII)


def read(text: str) -> datetime:
    """The time that a text names, in UTC where it says its zone; a day alone is its midnight. Raises ValueError."""
    if not _TEXT.fullmatch(text):
        raise ValueError(WANTED)
    try:
        found = datetime.fromisoformat(text.upper())
        return found if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(WANTED) from None
